//! `enclave-os call`: WAVE in, WAVE out.

use enclave_os_client::{AppSchema, ExportSchema, Params, Reply};
use serde_json::Value;

use crate::args::Call;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::session::Session;
use crate::wave;

pub(crate) fn run(session: &Session, args: &Call) -> Result<(), Failure> {
    let (name, rest) = wave::split_call(&args.call);
    if name.is_empty() {
        return Err(Failure::usage("the call names no function").hint(EXAMPLE));
    }
    session.warn();
    let mut enclave = session.framed()?;
    let schema = enclave.schema(&args.app)?;
    let export = find(&schema, name).map_err(|failure| match failure.hint {
        Some(_) => failure,
        None => failure.hint(format!("`enclave-os schema {}` shows its functions", args.app)),
    })?;
    let params = match &args.params {
        Some(_) if !rest.is_empty() => {
            return Err(Failure::usage("parameters are given twice, in the call and with --params"));
        }
        Some(json) => json_params(json)?,
        None => Params::Positional(wave::parse_params(rest, export).map_err(|message| {
            let expected = wave::signature(export);
            Failure::usage(format!("`{}`: {message}", args.call)).hint(format!("its signature is {expected}"))
        })?),
    };
    let returns = enclave.call(&args.app, &export.name, params)?;
    if session.json {
        output::json(&Reply::Ok { returns });
        return Ok(());
    }
    for (index, value) in returns.iter().enumerate() {
        let value = value.get("value").unwrap_or(&Value::Null);
        let text = match export.results.get(index) {
            Some(ty) => wave::show(value, ty),
            None => Err("a result that the schema does not have".into()),
        };
        match text {
            Ok(text) => output::line(&text),
            Err(message) => {
                return Err(Failure::new(Exit::Connection, "protocol", format!("the result: {message}"))
                    .hint("--json prints it as it came"));
            }
        }
    }
    Ok(())
}

const EXAMPLE: &str = "for example: enclave-os call test-app 'kv-store(\"greeting\", \"hi\")'";

fn json_params(text: &str) -> Result<Params, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Array(values)) => Ok(Params::Positional(values)),
        Ok(Value::Object(values)) => Ok(Params::Named(values)),
        Ok(_) => Err(Failure::usage("--params is a JSON array (by position) or object (by name)")),
        Err(error) => Err(Failure::usage(format!("--params is not JSON: {error}"))),
    }
}

/// The export that `name` means: its whole name, without version, or the function alone where that is unambiguous.
fn find<'a>(schema: &'a AppSchema, name: &str) -> Result<&'a ExportSchema, Failure> {
    if let Some(export) = schema.exports.iter().find(|export| export.name == name) {
        return Ok(export);
    }
    let matches: Vec<_> = schema.exports.iter().filter(|export| means(&export.name, name)).collect();
    match matches.as_slice() {
        [export] => Ok(export),
        [] => Err(Failure::new(Exit::Refused, "unknown-function", format!("there is no function `{name}`"))),
        several => {
            let names: Vec<_> = several.iter().map(|export| export.name.as_str()).collect();
            Err(Failure::new(
                Exit::Refused,
                "ambiguous-function",
                format!("`{name}` could be any of several"),
            )
            .hint(format!("write one of {}", names.join(", "))))
        }
    }
}

fn means(full: &str, name: &str) -> bool {
    let Some((interface, function)) = full.split_once('#') else { return false };
    let unversioned = interface.split('@').next().unwrap_or(interface);
    let short = unversioned.rsplit('/').next().unwrap_or(unversioned);
    match name.split_once('#') {
        None => name == function,
        Some((given, given_function)) => {
            given_function == function && [interface, unversioned, short].contains(&given)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(names: &[&str]) -> AppSchema {
        let export = |name: &&str| ExportSchema { name: (*name).into(), params: vec![], results: vec![] };
        AppSchema { exports: names.iter().map(export).collect() }
    }

    #[test]
    fn a_function_is_found_by_any_unambiguous_name() {
        let schema = schema(&["hello", "a:b/c@1.0.0#run", "a:b/d@1.0.0#run", "a:b/d@1.0.0#stop"]);
        for (given, found) in [
            ("hello", "hello"),
            ("c#run", "a:b/c@1.0.0#run"),
            ("a:b/d#run", "a:b/d@1.0.0#run"),
            ("a:b/d@1.0.0#run", "a:b/d@1.0.0#run"),
            ("stop", "a:b/d@1.0.0#stop"),
        ] {
            assert_eq!(find(&schema, given).unwrap().name, found);
        }
        assert_eq!(find(&schema, "run").unwrap_err().code, "ambiguous-function");
        assert_eq!(find(&schema, "walk").unwrap_err().code, "unknown-function");
    }
}
