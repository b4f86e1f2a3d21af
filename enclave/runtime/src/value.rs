//! Values between JSON and the component model, by the signature (`docs/formats/values.md`).

mod decode;
mod encode;
mod wit;

use std::fmt;

use boundary_wire::client::{NamedType, Params, WitType};
use serde_json::{Value, json};
use wasmtime::component::Val;

pub(crate) use encode::TooLarge;
pub(crate) use wit::{has_flags, of_type, text};

/// Values of one call's parameters, list elements included: what bounds the memory they take.
pub const MAX_VALUES: usize = 1 << 20;

/// A parameter that does not fit the signature: which one, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadParams(pub String);

/// The arguments of a call, in the order of the signature.
///
/// # Errors
/// [`BadParams`] names the argument and what it should be.
pub(crate) fn arguments(params: &Params, signature: &[NamedType]) -> Result<Vec<Val>, BadParams> {
    let mut budget = MAX_VALUES;
    match params {
        Params::Positional(values) => {
            if values.len() != signature.len() {
                return Err(BadParams(format!(
                    "{} given, {} needed: ({})",
                    count(values.len()),
                    signature.len(),
                    wit::params(signature)
                )));
            }
            let pairs = values.iter().zip(signature);
            pairs
                .map(|(value, param)| {
                    decode::decode(value, &param.ty, &Path::Param(&param.name), &mut budget)
                })
                .collect()
        }
        Params::Named(values) => {
            if let Some(unknown) = values.keys().find(|name| signature.iter().all(|p| p.name != **name)) {
                return Err(BadParams(format!(
                    "there is no parameter `{unknown}`: ({})",
                    wit::params(signature)
                )));
            }
            let absent = |param: &NamedType| match param.ty {
                WitType::Option(_) => Ok(Val::Option(None)),
                _ => Err(BadParams(format!(
                    "parameter `{}` is missing: it is {}",
                    param.name,
                    text(&param.ty)
                ))),
            };
            signature
                .iter()
                .map(|param| match values.get(&param.name) {
                    Some(value) => decode::decode(value, &param.ty, &Path::Param(&param.name), &mut budget),
                    None => absent(param),
                })
                .collect()
        }
    }
}

fn count(n: usize) -> String {
    if n == 1 { "1 parameter".to_owned() } else { format!("{n} parameters") }
}

/// Bytes that the JSON of one call's results may take, in memory or as text.
pub(crate) const MAX_RESULTS: usize = 64 << 20;

/// The results of a call, each as the outer form `{"type":T,"value":V}`, and what their JSON takes of
/// [`MAX_RESULTS`].
///
/// # Errors
/// [`TooLarge`] when that is not enough.
pub(crate) fn results(values: Vec<Val>, types: &[WitType]) -> Result<(Vec<Value>, usize), TooLarge> {
    let mut budget = encode::Budget::new(MAX_RESULTS);
    let result = |(value, ty)| {
        let value = encode::encode(value, ty, &mut budget)?;
        Ok(json!({ "type": wit::kind(ty), "value": value }))
    };
    let results = values.into_iter().zip(types).map(result).collect::<Result<_, _>>()?;
    Ok((results, budget.taken(MAX_RESULTS)))
}

/// Where in the arguments a value stands.
enum Path<'a> {
    Param(&'a str),
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Param(name) => f.write_str(name),
            Path::Field(outer, name) => write!(f, "{outer}.{name}"),
            Path::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests;
