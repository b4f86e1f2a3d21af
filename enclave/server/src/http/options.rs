//! The options of a load over HTTP: names and values from the query or a form.

use boundary_wire::client::{Load, Secret};
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// Puts one option into `load`.
pub(super) fn set(load: &mut Load, name: &str, value: String) -> Result<(), Refusal> {
    match name {
        "hostname" => once(&mut load.hostname, name, value),
        "route_prefix" => once(&mut load.route_prefix, name, value),
        "version" => once(&mut load.version, name, value),
        "max_fuel" => number(&mut load.max_fuel, name, &value),
        "max_memory_bytes" => number(&mut load.max_memory_bytes, name, &value),
        "max_store_bytes" => number(&mut load.max_store_bytes, name, &value),
        "max_store_keys" => number(&mut load.max_store_keys, name, &value),
        "timeout_ms" => number(&mut load.timeout_ms, name, &value),
        "data_policy" => word(&mut load.data_policy, name, value),
        "log_policy" => word(&mut load.log_policy, name, value),
        "access" => word(&mut load.access, name, value),
        "http_max_fuel" => number(&mut load.http_max_fuel, name, &value),
        "http_idle_timeout_ms" => number(&mut load.http_idle_timeout_ms, name, &value),
        "http_timeout_ms" => number(&mut load.http_timeout_ms, name, &value),
        "http_max_request_bytes" => number(&mut load.http_max_request_bytes, name, &value),
        "http_max_response_bytes" => number(&mut load.http_max_response_bytes, name, &value),
        "egress" => {
            let hosts = load.egress.get_or_insert_default();
            hosts.extend(value.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned));
            Ok(())
        }
        "env" => {
            let (key, value) = pair(name, &value)?;
            twice(load.env.insert(key, value).is_some(), name)
        }
        "secret" => {
            let (key, value) = pair(name, &value)?;
            twice(load.secrets.insert(key, Secret::new(value)).is_some(), name)
        }
        "encryption_key" => once(&mut load.encryption_key, name, Secret::new(value)),
        _ => Err(bad(format!(
            "there is no option `{}`; options are hostname, route_prefix, version, max_fuel, max_memory_bytes, \
             max_store_bytes, max_store_keys, timeout_ms, data_policy, log_policy, access, http_max_fuel, http_idle_timeout_ms, \
             http_timeout_ms, http_max_request_bytes, http_max_response_bytes, egress, env, secret and encryption_key",
            name.chars().take(40).collect::<String>()
        ))),
    }
}

fn once<T>(option: &mut Option<T>, name: &str, value: T) -> Result<(), Refusal> {
    twice(option.replace(value).is_some(), name)
}

fn twice(was_there: bool, name: &str) -> Result<(), Refusal> {
    if was_there { Err(bad(format!("option `{name}` is given twice"))) } else { Ok(()) }
}

fn number(option: &mut Option<u64>, name: &str, value: &str) -> Result<(), Refusal> {
    let number =
        value.parse().map_err(|_| bad(format!("option `{name}` is a whole number of at most 64 bits")))?;
    once(option, name, number)
}

fn word<T: DeserializeOwned>(option: &mut Option<T>, name: &str, value: String) -> Result<(), Refusal> {
    let word = serde_json::from_value(serde_json::Value::String(value))
        .map_err(|error| bad(format!("option `{name}`: {error}")))?;
    once(option, name, word)
}

fn pair(name: &str, value: &str) -> Result<(String, String), Refusal> {
    let (key, value) =
        value.split_once('=').ok_or_else(|| bad(format!("option `{name}` has the form NAME=value")))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn bad(message: String) -> Refusal {
    Refusal::new("bad-option", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(options: &[(&str, &str)]) -> Result<Load, Refusal> {
        let mut load = Load::default();
        for (name, value) in options {
            set(&mut load, name, (*value).to_owned())?;
        }
        Ok(load)
    }

    #[test]
    fn options_become_fields() {
        let options = [
            ("hostname", "a.example"),
            ("max_fuel", "18446744073709551615"),
            ("data_policy", "operator"),
            ("egress", "a.example, b.example"),
            ("egress", "c.example"),
            ("env", "A=b=c"),
            ("secret", "S=x"),
        ];
        let load = load(&options).unwrap();
        assert_eq!(load.max_fuel, Some(u64::MAX));
        assert_eq!(load.egress.unwrap(), ["a.example", "b.example", "c.example"]);
        assert_eq!(load.env["A"], "b=c");
        assert_eq!(load.secrets["S"].expose(), "x");
        assert_eq!(self::load(&[("egress", "")]).unwrap().egress, Some(vec![]));
    }

    #[test]
    fn bad_options_are_named() {
        for options in [
            &[("max_fuel", "-1")][..],
            &[("max_fuel", "1e3")],
            &[("data_policy", "mine")],
            &[("env", "A")],
            &[("env", "A=1"), ("env", "A=2")],
            &[("hostname", "a"), ("hostname", "b")],
            &[("colour", "red")],
        ] {
            let refusal = load(options).unwrap_err();
            assert_eq!(refusal.code(), "bad-option");
            assert!(refusal.message().contains(options[0].0), "{refusal}");
        }
    }
}
