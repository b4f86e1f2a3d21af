//! Values: from WAVE to the protocol's JSON and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enclave_os_client::WitType;
use serde_json::{Map, Number, Value as Json, json};
use wasm_wave::value::Value;
use wasm_wave::wasm::{WasmValue, WasmValueError};

use super::types::wave_type;

/// A value that WAVE has checked against `ty`, as the protocol writes it.
pub(super) fn to_json(value: &Value, ty: &WitType) -> Result<Json, String> {
    Ok(match ty {
        WitType::Bool => value.unwrap_bool().into(),
        WitType::S8 => value.unwrap_s8().into(),
        WitType::U8 => value.unwrap_u8().into(),
        WitType::S16 => value.unwrap_s16().into(),
        WitType::U16 => value.unwrap_u16().into(),
        WitType::S32 => value.unwrap_s32().into(),
        WitType::U32 => value.unwrap_u32().into(),
        WitType::S64 => value.unwrap_s64().into(),
        WitType::U64 => value.unwrap_u64().into(),
        WitType::F32 => float(value.unwrap_f32().into()),
        WitType::F64 => float(value.unwrap_f64()),
        WitType::Char => value.unwrap_char().to_string().into(),
        WitType::String => value.unwrap_string().into_owned().into(),
        WitType::List(element) => {
            Json::Array(value.unwrap_list().map(|item| to_json(&item, element)).collect::<Result<_, _>>()?)
        }
        WitType::Tuple(elements) => {
            let items = value.unwrap_tuple().zip(elements).map(|(item, ty)| to_json(&item, ty));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        WitType::Record(fields) => {
            let members = value
                .unwrap_record()
                .zip(fields)
                .map(|((name, item), field)| Ok((name.into_owned(), to_json(&item, &field.ty)?)));
            Json::Object(members.collect::<Result<Map<_, _>, String>>()?)
        }
        WitType::Enum(_) => value.unwrap_enum().into_owned().into(),
        WitType::Flags(_) => value.unwrap_flags().map(|flag| Json::from(flag.into_owned())).collect(),
        WitType::Variant(cases) => {
            let (name, payload) = value.unwrap_variant();
            let ty = cases.iter().find(|case| case.name == *name).and_then(|case| case.ty.as_ref());
            match (payload, ty) {
                (Some(payload), Some(ty)) => json!({ name.as_ref(): to_json(&payload, ty)? }),
                _ => name.into_owned().into(),
            }
        }
        WitType::Option(some) => match value.unwrap_option() {
            None => Json::Null,
            Some(inner) if matches!(**some, WitType::Option(_)) => json!({ "some": to_json(&inner, some)? }),
            Some(inner) => to_json(&inner, some)?,
        },
        WitType::Result { ok, err } => {
            let payload = |value: Option<_>, ty: &Option<Box<WitType>>| match (value, ty.as_deref()) {
                (Some(value), Some(ty)) => to_json(&value as &std::borrow::Cow<'_, Value>, ty),
                _ => Ok(Json::Null),
            };
            match value.unwrap_result() {
                Ok(value) => json!({ "ok": payload(value, ok)? }),
                Err(value) => json!({ "err": payload(value, err)? }),
            }
        }
        WitType::Resource => return Err("a resource has no value".into()),
    })
}

fn float(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The protocol's JSON as a value of `ty`. It comes from the server: anything may be wrong with it.
pub(super) fn from_json(json: &Json, ty: &WitType) -> Result<Value, String> {
    let wrong = || format!("{json} is not a value of the type it should have");
    let made = |result: Result<Value, WasmValueError>| result.map_err(|e| e.to_string());
    Ok(match ty {
        WitType::Bool => Value::make_bool(json.as_bool().ok_or_else(wrong)?),
        WitType::S8 => Value::make_s8(integer(json).ok_or_else(wrong)?),
        WitType::U8 => Value::make_u8(integer(json).ok_or_else(wrong)?),
        WitType::S16 => Value::make_s16(integer(json).ok_or_else(wrong)?),
        WitType::U16 => Value::make_u16(integer(json).ok_or_else(wrong)?),
        WitType::S32 => Value::make_s32(integer(json).ok_or_else(wrong)?),
        WitType::U32 => Value::make_u32(integer(json).ok_or_else(wrong)?),
        WitType::S64 => Value::make_s64(integer(json).ok_or_else(wrong)?),
        WitType::U64 => Value::make_u64(integer(json).ok_or_else(wrong)?),
        WitType::F32 => Value::make_f32(from_float(json).ok_or_else(wrong)? as f32),
        WitType::F64 => Value::make_f64(from_float(json).ok_or_else(wrong)?),
        WitType::Char => {
            let mut chars = json.as_str().ok_or_else(wrong)?.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Value::make_char(c),
                _ => return Err(wrong()),
            }
        }
        WitType::String => Value::make_string(json.as_str().ok_or_else(wrong)?.into()),
        WitType::List(element) => {
            let items: Vec<Value> = match (&**element, json) {
                (WitType::U8, Json::String(text)) => {
                    let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
                    bytes.into_iter().map(Value::make_u8).collect()
                }
                (element, json) => {
                    let items = json.as_array().ok_or_else(wrong)?;
                    items.iter().map(|item| from_json(item, element)).collect::<Result<_, _>>()?
                }
            };
            made(Value::make_list(&wave_type(ty)?, items))?
        }
        WitType::Tuple(elements) => {
            let items = json.as_array().filter(|items| items.len() == elements.len()).ok_or_else(wrong)?;
            let items: Vec<Value> =
                items.iter().zip(elements).map(|(item, ty)| from_json(item, ty)).collect::<Result<_, _>>()?;
            made(Value::make_tuple(&wave_type(ty)?, items))?
        }
        WitType::Record(fields) => {
            let members = json.as_object().ok_or_else(wrong)?;
            let members: Vec<(&str, Value)> = fields
                .iter()
                .map(|field| {
                    let item = members.get(&field.name).unwrap_or(&Json::Null);
                    Ok((field.name.as_str(), from_json(item, &field.ty)?))
                })
                .collect::<Result<_, String>>()?;
            made(Value::make_record(&wave_type(ty)?, members))?
        }
        WitType::Enum(_) => made(Value::make_enum(&wave_type(ty)?, json.as_str().ok_or_else(wrong)?))?,
        WitType::Flags(_) => {
            let names: Vec<&str> =
                json.as_array().ok_or_else(wrong)?.iter().filter_map(Json::as_str).collect();
            made(Value::make_flags(&wave_type(ty)?, names))?
        }
        WitType::Variant(cases) => {
            let (name, payload) = case(json).ok_or_else(wrong)?;
            let ty_of = cases.iter().find(|case| case.name == name).and_then(|case| case.ty.as_ref());
            let payload = match (payload, ty_of) {
                (Some(payload), Some(ty)) => Some(from_json(payload, ty)?),
                _ => None,
            };
            made(Value::make_variant(&wave_type(ty)?, name, payload))?
        }
        WitType::Option(some) => {
            let value = match (json, &**some) {
                (Json::Null, _) => None,
                (json, WitType::Option(_)) => Some(from_json(json.get("some").ok_or_else(wrong)?, some)?),
                (json, some) => Some(from_json(json, some)?),
            };
            made(Value::make_option(&wave_type(ty)?, value))?
        }
        WitType::Result { ok, err } => {
            let (name, payload) = case(json).ok_or_else(wrong)?;
            let side = match name {
                "ok" => ok,
                "err" => err,
                _ => return Err(wrong()),
            };
            let payload = match (payload, side) {
                (Some(payload), Some(ty)) => Some(from_json(payload, ty)?),
                _ => None,
            };
            let value = if name == "ok" { Ok(payload) } else { Err(payload) };
            made(Value::make_result(&wave_type(ty)?, value))?
        }
        WitType::Resource => return Err("a resource cannot be shown".into()),
    })
}

/// `"name"` or `{"name":payload}`.
fn case(json: &Json) -> Option<(&str, Option<&Json>)> {
    match json {
        Json::String(name) => Some((name, None)),
        Json::Object(members) if members.len() == 1 => {
            members.iter().next().map(|(name, payload)| (name.as_str(), Some(payload)))
        }
        _ => None,
    }
}

/// 64-bit integers may come as strings.
fn integer<T: TryFrom<i128>>(json: &Json) -> Option<T> {
    let wide = match json {
        Json::Number(number) => {
            number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))?
        }
        Json::String(text) => text.parse().ok()?,
        _ => return None,
    };
    T::try_from(wide).ok()
}

fn from_float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}
