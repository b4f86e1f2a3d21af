//! From the component model to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundary_wire::client::WitType;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1.
const EXACT: u64 = (1 << 53) - 1;

/// The JSON of a result takes more memory than the enclave gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Bytes that the JSON of one call's results may still take, in memory or as text, whichever is more.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// What was taken of a budget of `bytes`.
    pub(super) fn taken(&self, bytes: usize) -> usize {
        bytes - self.0
    }

    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.0 = self.0.checked_sub(bytes).ok_or(TooLarge)?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), TooLarge> {
        self.take(written(text))
    }

    /// An object with that many members, whose names and values are taken besides.
    fn object(&mut self, members: usize) -> Result<(), TooLarge> {
        self.take(members.div_ceil(NODE_MEMBERS).max(1).saturating_mul(NODE))
    }
}

/// Members in one node of the tree behind a JSON object, and what a node takes.
const NODE_MEMBERS: usize = 11;
/// See [`NODE_MEMBERS`].
const NODE: usize = 16 + NODE_MEMBERS * (size_of::<String>() + size_of::<Value>());

/// Bytes of a string in JSON text (RFC 8259 §7), quotes included.
fn written(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

/// The bare form of a value. `ty` is its type; where the two differ, which the engine rules out, the
/// value's own shape decides. Each value takes its place in memory from the budget, which is more than a number's
/// text; what lies behind it is taken where it is made.
pub(super) fn encode(value: Val, ty: &WitType, budget: &mut Budget) -> Result<Value, TooLarge> {
    budget.take(size_of::<Value>())?;
    Ok(match value {
        Val::Bool(v) => Value::Bool(v),
        Val::S8(v) => Value::from(v),
        Val::U8(v) => Value::from(v),
        Val::S16(v) => Value::from(v),
        Val::U16(v) => Value::from(v),
        Val::S32(v) => Value::from(v),
        Val::U32(v) => Value::from(v),
        Val::S64(v) if v.unsigned_abs() > EXACT => string(v.to_string(), budget)?,
        Val::S64(v) => Value::from(v),
        Val::U64(v) if v > EXACT => string(v.to_string(), budget)?,
        Val::U64(v) => Value::from(v),
        // Through the shortest decimal, so that 0.1 stays 0.1.
        Val::Float32(v) => {
            float(if v.is_finite() { v.to_string().parse().unwrap_or(f64::from(v)) } else { f64::from(v) })
        }
        Val::Float64(v) => float(v),
        Val::Char(v) => string(v.to_string(), budget)?,
        Val::String(v) | Val::Enum(v) => string(v, budget)?,
        Val::List(items) | Val::FixedLengthList(items) => list(items, ty, budget)?,
        Val::Tuple(items) => match ty {
            WitType::Tuple(types) => {
                items.into_iter().zip(types).map(|(v, ty)| encode(v, ty, budget)).collect::<Result<_, _>>()?
            }
            _ => Value::Null,
        },
        Val::Record(fields) => record(fields, ty, budget)?,
        Val::Variant(name, payload) => variant(name, payload, ty, budget)?,
        Val::Option(inner) => match (inner, ty) {
            (Some(inner), WitType::Option(ty)) => some(*inner, ty, budget)?,
            _ => Value::Null,
        },
        Val::Result(result) => match (result, ty) {
            (Ok(value), WitType::Result { ok, .. }) => {
                let value = payload(value, ok.as_deref(), budget)?;
                one("ok".to_owned(), value, budget)?
            }
            (Err(value), WitType::Result { err, .. }) => {
                let value = payload(value, err.as_deref(), budget)?;
                one("err".to_owned(), value, budget)?
            }
            _ => Value::Null,
        },
        Val::Flags(names) => {
            for name in &names {
                budget.take(size_of::<Value>())?;
                budget.text(name)?;
            }
            names.into_iter().map(Value::String).collect()
        }
        // No export that gives one of these can be called.
        Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
            Value::Null
        }
    })
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

fn string(text: String, budget: &mut Budget) -> Result<Value, TooLarge> {
    budget.text(&text)?;
    Ok(Value::String(text))
}

fn list(items: Vec<Val>, ty: &WitType, budget: &mut Budget) -> Result<Value, TooLarge> {
    let WitType::List(ty) = ty else { return Ok(Value::Null) };
    if **ty != WitType::U8 {
        return items.into_iter().map(|item| encode(item, ty, budget)).collect();
    }
    let byte = |item: &Val| if let Val::U8(byte) = item { *byte } else { 0 };
    // Four characters for three bytes (RFC 4648 §4).
    budget.take(items.len().div_ceil(3).saturating_mul(4))?;
    let bytes: Vec<u8> = items.iter().map(byte).collect();
    drop(items);
    Ok(Value::String(STANDARD.encode(bytes)))
}

fn record(fields: Vec<(String, Val)>, ty: &WitType, budget: &mut Budget) -> Result<Value, TooLarge> {
    let WitType::Record(types) = ty else { return Ok(Value::Null) };
    budget.object(fields.len())?;
    let encoded = fields.into_iter().zip(types).map(|((name, value), ty)| {
        budget.text(&name)?;
        Ok((name, encode(value, &ty.ty, budget)?))
    });
    Ok(Value::Object(encoded.collect::<Result<_, _>>()?))
}

fn variant(
    name: String,
    value: Option<Box<Val>>,
    ty: &WitType,
    budget: &mut Budget,
) -> Result<Value, TooLarge> {
    let WitType::Variant(cases) = ty else { return Ok(Value::Null) };
    let ty = cases.iter().find(|case| case.name == name).and_then(|case| case.ty.as_ref());
    let value = payload(value, ty, budget)?;
    one(name, value, budget)
}

fn payload(value: Option<Box<Val>>, ty: Option<&WitType>, budget: &mut Budget) -> Result<Value, TooLarge> {
    match (value, ty) {
        (Some(value), Some(ty)) => encode(*value, ty, budget),
        _ => Ok(Value::Null),
    }
}

/// `some` of an option: written out where the value inside could itself be `null`.
fn some(value: Val, ty: &WitType, budget: &mut Budget) -> Result<Value, TooLarge> {
    let value = encode(value, ty, budget)?;
    if matches!(ty, WitType::Option(_)) { one("some".to_owned(), value, budget) } else { Ok(value) }
}

fn one(name: String, value: Value, budget: &mut Budget) -> Result<Value, TooLarge> {
    budget.object(1)?;
    budget.text(&name)?;
    Ok(Value::Object(Map::from_iter([(name, value)])))
}
