//! From the component model to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundary_wire::client::WitType;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1.
const EXACT: u64 = (1 << 53) - 1;

/// The bare form of a value. `ty` is its type; where the two differ, which the engine rules out, the
/// value's own shape decides.
pub(super) fn encode(value: &Val, ty: &WitType) -> Value {
    match value {
        Val::Bool(v) => Value::Bool(*v),
        Val::S8(v) => Value::from(*v),
        Val::U8(v) => Value::from(*v),
        Val::S16(v) => Value::from(*v),
        Val::U16(v) => Value::from(*v),
        Val::S32(v) => Value::from(*v),
        Val::U32(v) => Value::from(*v),
        Val::S64(v) if v.unsigned_abs() > EXACT => Value::String(v.to_string()),
        Val::S64(v) => Value::from(*v),
        Val::U64(v) if *v > EXACT => Value::String(v.to_string()),
        Val::U64(v) => Value::from(*v),
        // Through the shortest decimal, so that 0.1 stays 0.1.
        Val::Float32(v) => {
            float(if v.is_finite() { v.to_string().parse().unwrap_or(f64::from(*v)) } else { f64::from(*v) })
        }
        Val::Float64(v) => float(*v),
        Val::Char(v) => Value::String(v.to_string()),
        Val::String(v) | Val::Enum(v) => Value::String(v.clone()),
        Val::List(items) | Val::FixedLengthList(items) => list(items, ty),
        Val::Tuple(items) => match ty {
            WitType::Tuple(types) => items.iter().zip(types).map(|(v, ty)| encode(v, ty)).collect(),
            _ => Value::Null,
        },
        Val::Record(fields) => record(fields, ty),
        Val::Variant(name, payload) => variant(name, payload.as_deref(), ty),
        Val::Option(inner) => match (inner, ty) {
            (Some(inner), WitType::Option(ty)) => some(encode(inner, ty), ty),
            _ => Value::Null,
        },
        Val::Result(result) => match (result, ty) {
            (Ok(value), WitType::Result { ok, .. }) => one("ok", payload(value.as_deref(), ok.as_deref())),
            (Err(value), WitType::Result { err, .. }) => {
                one("err", payload(value.as_deref(), err.as_deref()))
            }
            _ => Value::Null,
        },
        Val::Flags(names) => names.iter().map(String::as_str).collect(),
        // No export that gives one of these can be called.
        Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
            Value::Null
        }
    }
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

fn list(items: &[Val], ty: &WitType) -> Value {
    let WitType::List(ty) = ty else { return Value::Null };
    if **ty != WitType::U8 {
        return items.iter().map(|item| encode(item, ty)).collect();
    }
    let bytes: Vec<u8> = items.iter().map(|item| if let Val::U8(byte) = item { *byte } else { 0 }).collect();
    Value::String(STANDARD.encode(bytes))
}

fn record(fields: &[(String, Val)], ty: &WitType) -> Value {
    let WitType::Record(types) = ty else { return Value::Null };
    let encoded = fields.iter().zip(types).map(|((name, value), ty)| (name.clone(), encode(value, &ty.ty)));
    Value::Object(encoded.collect())
}

fn variant(name: &str, value: Option<&Val>, ty: &WitType) -> Value {
    let WitType::Variant(cases) = ty else { return Value::Null };
    let ty = cases.iter().find(|case| case.name == name).and_then(|case| case.ty.as_ref());
    one(name, payload(value, ty))
}

fn payload(value: Option<&Val>, ty: Option<&WitType>) -> Value {
    match (value, ty) {
        (Some(value), Some(ty)) => encode(value, ty),
        _ => Value::Null,
    }
}

/// `some` of an option: written out where the value inside could itself be `null`.
fn some(value: Value, ty: &WitType) -> Value {
    if matches!(ty, WitType::Option(_)) { one("some", value) } else { value }
}

fn one(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}
