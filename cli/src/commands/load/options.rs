//! The options of a load, from what was typed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use enclave_os_client::{Access, DataPolicy, LoadOptions, LogPolicy, Secret};

use crate::args::{self, Load};
use crate::failure::Failure;

pub(super) fn resolve(args: &Load) -> Result<(String, LoadOptions), Failure> {
    let name = match &args.name {
        Some(name) if is_name(name) => name.clone(),
        Some(name) => return Err(Failure::usage(format!("`{name}` cannot be a name")).hint(NAME_RULE)),
        None => name_of(&args.file).ok_or_else(|| {
            Failure::usage(format!("no name can be made from `{}`", args.file.display()))
                .hint("give --name NAME")
        })?,
    };
    let egress = if args.no_egress {
        Some(Vec::new())
    } else {
        Some(args.egress.clone()).filter(|hosts| !hosts.is_empty())
    };
    let options = LoadOptions {
        hostname: args.hostname.clone(),
        route_prefix: args.route_prefix.clone(),
        encryption_key: args.key_file.as_deref().map(key).transpose()?,
        max_fuel: args.max_fuel.as_deref().map(count).transpose()?,
        max_memory_bytes: args.max_memory.as_deref().map(size).transpose()?,
        max_store_bytes: args.max_store.as_deref().map(size).transpose()?,
        max_store_keys: args.max_store_keys.as_deref().map(count).transpose()?,
        timeout_ms: args.timeout.as_deref().map(milliseconds).transpose()?,
        env: args.env.iter().map(|text| pair(text)).collect::<Result<_, _>>()?,
        secrets: secrets(&args.secret)?,
        egress,
        version: args.app_version.clone(),
        data_policy: args.data_policy.map(|policy| match policy {
            args::DataPolicy::CodeHash => DataPolicy::CodeHash,
            args::DataPolicy::Operator => DataPolicy::Operator,
        }),
        log_policy: args.log_policy.map(|policy| match policy {
            args::LogPolicy::Host => LogPolicy::Host,
            args::LogPolicy::None => LogPolicy::None,
        }),
        access: args.access.map(|access| match access {
            args::Access::Open => Access::Open,
            args::Access::Token => Access::Token,
        }),
        http_max_fuel: args.http_max_fuel.as_deref().map(count).transpose()?,
        http_idle_timeout_ms: args.http_idle_timeout.as_deref().map(milliseconds).transpose()?,
        http_timeout_ms: args.http_timeout.as_deref().map(milliseconds).transpose()?,
        http_max_request_bytes: args.http_max_request.as_deref().map(size).transpose()?,
        http_max_response_bytes: args.http_max_response.as_deref().map(size).transpose()?,
    };
    Ok((name, options))
}

const NAME_RULE: &str = "1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'";

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `Wasm_Example.cwasm` -> `wasm-example`.
fn name_of(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    let allowed = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    let name: String = stem.chars().map(allowed).collect();
    let name: String = name.trim_matches('-').chars().take(63).collect();
    Some(name.trim_matches('-').to_owned()).filter(|name| is_name(name))
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("`--env {text}` is not KEY=VALUE"))),
    }
}

fn secrets(given: &[String]) -> Result<BTreeMap<String, Secret>, Failure> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => match value.strip_prefix('@') {
                Some(path) => {
                    let path = Path::new(path);
                    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
                    (name, text.strip_suffix('\n').unwrap_or(&text).to_owned())
                }
                None => (name, value.to_owned()),
            },
            None => {
                let value = std::env::var(text).map_err(|_| {
                    Failure::usage(format!("`--secret {text}`: {text} is not in this shell's environment"))
                        .hint("export it, or give KEY=VALUE or KEY=@FILE")
                })?;
                (text.as_str(), value)
            }
        };
        if name.is_empty() || secrets.insert(name.to_owned(), Secret::new(value)).is_some() {
            return Err(Failure::usage(format!("the secret `{name}` has no name or is given twice")));
        }
    }
    Ok(secrets)
}

fn key(path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
    let text = text.trim();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Secret::new(text));
    }
    Err(Failure::usage(format!("{} does not hold a key", path.display()))
        .hint("64 hex digits are wanted; `openssl rand -hex 32` makes such a key"))
}

fn count(text: &str) -> Result<u64, Failure> {
    let digits = text.replace('_', "");
    digits.parse().map_err(|_| Failure::usage(format!("`{text}` is not a whole number")))
}

/// Bytes: `1048576`, `64MiB`, `64M`, `500kB`.
fn size(text: &str) -> Result<u64, Failure> {
    let units =
        [("k", 1 << 10), ("ki", 1 << 10), ("m", 1 << 20), ("mi", 1 << 20), ("g", 1 << 30), ("gi", 1 << 30)];
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    scaled(bare, &units).ok_or_else(|| Failure::usage(format!("`{text}` is not a size such as 64MiB")))
}

pub(in crate::commands) fn milliseconds(text: &str) -> Result<u64, Failure> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000)];
    scaled(text, &units)
        .filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()))
        .ok_or_else(|| Failure::usage(format!("`{text}` is not a time such as 10s or 500ms")))
}

/// A number and the longest unit that it ends with.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let factor = match unit {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    digits.trim_end().replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_file_names() {
        for (file, name) in [
            ("dir/wasm_example.cwasm", Some("wasm-example")),
            ("My App!.wasm", Some("my-app")),
            ("___.wasm", None),
            ("é.wasm", None),
        ] {
            assert_eq!(name_of(Path::new(file)).as_deref(), name, "{file}");
        }
        let long = format!("{}.wasm", "a".repeat(100));
        assert_eq!(name_of(Path::new(&long)).unwrap().len(), 63);
    }

    #[test]
    fn sizes_and_times_have_units() {
        for (text, bytes) in [("100", 100), ("64MiB", 64 << 20), ("64m", 64 << 20), ("1_000k", 1000 << 10)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000)] {
            assert_eq!(milliseconds(text).unwrap(), ms, "{text}");
        }
        for bad in ["", "x", "-1", "1.5GiB", "99999999999999999999", "1q", "99999999999999999g"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(milliseconds("10").is_err(), "a time without unit is a guess");
    }

    #[test]
    fn secrets_come_from_files_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\n").unwrap();
        let given = [format!("A=@{}", file.path().display()), "B=x=y".into()];
        let secrets = secrets(&given).unwrap();
        assert_eq!(secrets["A"].expose(), "s3cret");
        assert_eq!(secrets["B"].expose(), "x=y");
        assert!(super::secrets(&["A=1".into(), "A=2".into()]).is_err());
    }

    #[test]
    fn a_key_is_64_hex_digits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{}\n", "a1".repeat(32))).unwrap();
        assert_eq!(key(file.path()).unwrap().expose(), "a1".repeat(32));
        fs::write(file.path(), "a1").unwrap();
        assert_eq!(key(file.path()).unwrap_err().exit, crate::failure::Exit::Usage);
    }
}
