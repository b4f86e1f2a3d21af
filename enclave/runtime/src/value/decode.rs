//! From JSON to the component model. Everything here comes from a client.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use boundary_wire::client::{NamedType, Variant, WitType};
use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::{BadParams, MAX_VALUES, Path, wit};

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads one value of type `ty`, typed or bare. Recursion follows the type, whose depth the component's
/// validation bounds; `budget` is how many values there may still be.
pub(super) fn decode(
    json: &Value,
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    let json = bare(json, ty, path)?;
    spend(budget, 1)?;
    let wrong = || mismatch(json, ty, path);
    match ty {
        WitType::Bool => json.as_bool().map(Val::Bool),
        WitType::S8 => signed(json).map(Val::S8),
        WitType::U8 => unsigned(json).map(Val::U8),
        WitType::S16 => signed(json).map(Val::S16),
        WitType::U16 => unsigned(json).map(Val::U16),
        WitType::S32 => signed(json).map(Val::S32),
        WitType::U32 => unsigned(json).map(Val::U32),
        WitType::S64 => json.as_i64().or_else(|| decimal(json)).map(Val::S64),
        WitType::U64 => json.as_u64().or_else(|| decimal(json)).map(Val::U64),
        WitType::F32 => float32(json).map(Val::Float32),
        WitType::F64 => float(json).map(Val::Float64),
        WitType::Char => json.as_str().and_then(only_char).map(Val::Char),
        WitType::String => json.as_str().map(|s| Val::String(s.to_owned())),
        WitType::List(item) => return list(json, item, ty, path, budget),
        WitType::Record(fields) => return record(json, fields, ty, path, budget),
        WitType::Tuple(types) => {
            let items = json.as_array().filter(|items| items.len() == types.len()).ok_or_else(wrong)?;
            let items = items.iter().zip(types).enumerate();
            return items
                .map(|(i, (item, ty))| decode(item, ty, &Path::Item(path, i), budget))
                .collect::<Result<_, _>>()
                .map(Val::Tuple);
        }
        WitType::Variant(cases) => return variant(json, cases, ty, path, budget),
        WitType::Enum(names) => {
            json.as_str().filter(|s| names.iter().any(|n| n == s)).map(|s| Val::Enum(s.to_owned()))
        }
        WitType::Option(inner) => return option(json, inner, ty, path, budget),
        WitType::Result { ok, err } => return result(json, ok.as_deref(), err.as_deref(), ty, path, budget),
        WitType::Flags(names) => flags(json, names).map(Val::Flags),
        WitType::Resource => {
            return Err(BadParams(format!("`{path}`: a handle cannot be sent; call this from a component")));
        }
    }
    .ok_or_else(wrong)
}

/// Takes the value out of `{"type":T,"value":V}`, after checking T.
fn bare<'a>(json: &'a Value, ty: &WitType, path: &Path<'_>) -> Result<&'a Value, BadParams> {
    let Value::Object(object) = json else { return Ok(json) };
    let (2, Some(word), Some(value)) = (object.len(), object.get("type"), object.get("value")) else {
        return Ok(json);
    };
    match word.as_str() {
        Some(word) if wit::means(word, ty) => Ok(value),
        _ => {
            Err(BadParams(format!("`{path}` is given as type {}, but it is {}", shown(word), wit::text(ty))))
        }
    }
}

fn spend(budget: &mut usize, values: usize) -> Result<(), BadParams> {
    *budget = budget.checked_sub(values).ok_or_else(|| {
        BadParams(format!("the parameters have more than {MAX_VALUES} values, list elements included"))
    })?;
    Ok(())
}

fn signed<T: TryFrom<i64>>(json: &Value) -> Option<T> {
    T::try_from(json.as_i64()?).ok()
}

fn unsigned<T: TryFrom<u64>>(json: &Value) -> Option<T> {
    T::try_from(json.as_u64()?).ok()
}

/// A 64-bit integer as a string: digits, for signed types with a minus.
fn decimal<T: std::str::FromStr>(json: &Value) -> Option<T> {
    json.as_str().filter(|s| !s.starts_with('+'))?.parse().ok()
}

fn float(json: &Value) -> Option<f64> {
    match json.as_str() {
        None => json.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
    }
}

/// Rounds as every conversion to `f32` does, but a finite number stays finite.
#[allow(clippy::cast_possible_truncation)]
fn float32(json: &Value) -> Option<f32> {
    let wide = float(json)?;
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

fn only_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn list(
    json: &Value,
    item: &WitType,
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    if *item == WitType::U8
        && let Value::String(text) = json
    {
        // Four characters make three bytes at most.
        spend(budget, text.len() / 4 * 3)?;
        let bytes = BASE64.decode(text).map_err(|_| mismatch(json, ty, path))?;
        return Ok(Val::List(bytes.into_iter().map(Val::U8).collect()));
    }
    let items = json.as_array().ok_or_else(|| mismatch(json, ty, path))?;
    let items = items.iter().enumerate();
    items
        .map(|(i, value)| decode(value, item, &Path::Item(path, i), budget))
        .collect::<Result<_, _>>()
        .map(Val::List)
}

fn record(
    json: &Value,
    fields: &[NamedType],
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    let object = json.as_object().ok_or_else(|| mismatch(json, ty, path))?;
    if let Some(unknown) = object.keys().find(|name| fields.iter().all(|f| f.name != **name)) {
        return Err(BadParams(format!("`{path}` has no field `{unknown}`: it is {}", wit::text(ty))));
    }
    let read = |field: &NamedType| {
        let value = match object.get(&field.name) {
            Some(value) => decode(value, &field.ty, &Path::Field(path, &field.name), budget)?,
            None if matches!(field.ty, WitType::Option(_)) => Val::Option(None),
            None => {
                return Err(BadParams(format!(
                    "`{path}.{}` is missing: it is {}",
                    field.name,
                    wit::text(&field.ty)
                )));
            }
        };
        Ok((field.name.clone(), value))
    };
    fields.iter().map(read).collect::<Result<_, _>>().map(Val::Record)
}

fn variant(
    json: &Value,
    cases: &[Variant],
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    let wrong = || mismatch(json, ty, path);
    let (name, value) = match json {
        Value::String(name) => (name, &Value::Null),
        _ => only_field(json).ok_or_else(wrong)?,
    };
    let case = cases.iter().find(|case| case.name == *name).ok_or_else(wrong)?;
    let payload = payload(value, case.ty.as_ref(), &Path::Field(path, name), budget)?;
    Ok(Val::Variant(case.name.clone(), payload))
}

fn option(
    json: &Value,
    inner: &WitType,
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    if json.is_null() {
        return Ok(Val::Option(None));
    }
    let value = match inner {
        WitType::Option(_) => match only_field(json) {
            Some((name, value)) if name == "some" => value,
            _ => return Err(mismatch(json, ty, path)),
        },
        _ => json,
    };
    let value = decode(value, inner, path, budget)?;
    Ok(Val::Option(Some(Box::new(value))))
}

fn result(
    json: &Value,
    ok: Option<&WitType>,
    err: Option<&WitType>,
    ty: &WitType,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Val, BadParams> {
    match only_field(json) {
        Some((name, value)) if name == "ok" => {
            payload(value, ok, &Path::Field(path, "ok"), budget).map(|v| Val::Result(Ok(v)))
        }
        Some((name, value)) if name == "err" => {
            payload(value, err, &Path::Field(path, "err"), budget).map(|v| Val::Result(Err(v)))
        }
        _ => Err(mismatch(json, ty, path)),
    }
}

fn payload(
    json: &Value,
    ty: Option<&WitType>,
    path: &Path<'_>,
    budget: &mut usize,
) -> Result<Option<Box<Val>>, BadParams> {
    match ty {
        Some(ty) => decode(json, ty, path, budget).map(|value| Some(Box::new(value))),
        None if json.is_null() => Ok(None),
        None => Err(BadParams(format!("`{path}` carries no value: give null"))),
    }
}

fn flags(json: &Value, names: &[String]) -> Option<Vec<String>> {
    let given = json.as_array()?;
    if given.len() > names.len() {
        return None;
    }
    given
        .iter()
        .map(|name| name.as_str().filter(|s| names.iter().any(|n| n == s)).map(str::to_owned))
        .collect()
}

fn only_field(json: &Value) -> Option<(&String, &Value)> {
    json.as_object().filter(|object: &&Map<_, _>| object.len() == 1)?.iter().next()
}

fn mismatch(json: &Value, ty: &WitType, path: &Path<'_>) -> BadParams {
    BadParams(format!("`{path}` is {}, given {}: {}", wit::text(ty), shown(json), hint(ty)))
}

/// What JSON the type takes.
fn hint(ty: &WitType) -> String {
    let range = |low: i128, high: i128| format!("a whole number from {low} to {high}");
    match ty {
        WitType::Bool => "true or false".to_owned(),
        WitType::S8 => range(i8::MIN.into(), i8::MAX.into()),
        WitType::U8 => range(0, u8::MAX.into()),
        WitType::S16 => range(i16::MIN.into(), i16::MAX.into()),
        WitType::U16 => range(0, u16::MAX.into()),
        WitType::S32 => range(i32::MIN.into(), i32::MAX.into()),
        WitType::U32 => range(0, u32::MAX.into()),
        WitType::S64 => range(i64::MIN.into(), i64::MAX.into()) + ", as a number or a string",
        WitType::U64 => range(0, u64::MAX.into()) + ", as a number or a string",
        WitType::F32 | WitType::F64 => {
            "a number in range, or \"NaN\", \"Infinity\", \"-Infinity\"".to_owned()
        }
        WitType::Char => "a string of one character".to_owned(),
        WitType::String => "a string".to_owned(),
        WitType::List(item) if **item == WitType::U8 => "base64 in a string, or an array of bytes".to_owned(),
        WitType::List(_) => "an array".to_owned(),
        WitType::Record(_) => "an object with these fields".to_owned(),
        WitType::Tuple(items) => format!("an array of {}", items.len()),
        WitType::Variant(_) => "an object with one of the cases as its only field".to_owned(),
        WitType::Enum(_) => "one of the names as a string".to_owned(),
        WitType::Option(inner) if matches!(**inner, WitType::Option(_)) => {
            "null, or {\"some\": value}".to_owned()
        }
        WitType::Option(_) => "null or the value".to_owned(),
        WitType::Result { .. } => "{\"ok\": value} or {\"err\": value}".to_owned(),
        WitType::Flags(_) => "an array with some of the names".to_owned(),
        WitType::Resource => "nothing can be sent for it".to_owned(),
    }
}

/// A value in a message: its beginning only.
fn shown(json: &Value) -> String {
    const SHOWN: usize = 40;
    let text = match json {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::String(text) if text.len() > SHOWN => format!("a string of {} bytes", text.len()),
        other => other.to_string(),
    };
    if text.chars().count() > SHOWN { text.chars().take(SHOWN).collect::<String>() + "…" } else { text }
}
