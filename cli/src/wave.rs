//! WAVE, the text form of component values, against the types an application reports.

mod types;
mod values;

use std::error::Error as _;

use enclave_os_client::{ExportSchema, WitType};
use serde_json::Value as Json;
use wasm_wave::parser::ParserError;
use wasm_wave::untyped::UntypedFuncCall;
use wasm_wave::value::{Type, Value};

pub(crate) use types::signature;

/// `name(…)` as its name and its parenthesised parameters (empty if there are none).
pub(crate) fn split_call(call: &str) -> (&str, &str) {
    let call = call.trim();
    let at = call.find('(').unwrap_or(call.len());
    let (name, rest) = call.split_at(at);
    (name.trim(), rest)
}

/// Parameters `("a", 1)` as JSON, checked against the export's types.
pub(crate) fn parse_params(text: &str, export: &ExportSchema) -> Result<Vec<Json>, String> {
    // The name of an export may have characters that WAVE labels have not.
    let text = if text.is_empty() { "()" } else { text };
    let source = format!("f{text}");
    let call = UntypedFuncCall::parse(&source).map_err(|e| parse_error(&e, &source))?;
    let types: Vec<Type> =
        export.params.iter().map(|param| types::wave_type(&param.ty)).collect::<Result<_, _>>()?;
    let values: Vec<Value> = match call.params_node() {
        None if export.params.iter().all(|param| matches!(param.ty, WitType::Option(_))) => {
            return Ok(vec![Json::Null; types.len()]);
        }
        None => return Err(format!("{} parameters are missing", types.len())),
        Some(_) => call.to_wasm_params(&types).map_err(|e| parse_error(&e, &source))?,
    };
    if values.len() != export.params.len() {
        return Err(format!("it takes {} parameters, not {}", export.params.len(), values.len()));
    }
    values.iter().zip(&export.params).map(|(value, param)| values::to_json(value, &param.ty)).collect()
}

/// With the text that is wrong in place of its offset.
fn parse_error(error: &ParserError, source: &str) -> String {
    let what = match (error.source(), error.detail()) {
        (Some(cause), _) => format!("{}: {cause}", error.kind()),
        (None, Some(detail)) => format!("{}: {detail}", error.kind()),
        (None, None) => error.kind().to_string(),
    };
    let text = source.get(error.span()).map(str::trim).unwrap_or_default();
    let text: String = text.chars().take(40).collect();
    match text.as_str() {
        "" | ")" => what,
        text => format!("{what} at `{text}`"),
    }
}

/// A result in WAVE.
pub(crate) fn show(value: &Json, ty: &WitType) -> Result<String, String> {
    let value = values::from_json(value, ty)?;
    wasm_wave::to_string(&value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
