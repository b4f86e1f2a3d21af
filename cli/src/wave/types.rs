//! Types: of the schema, of WAVE, and as WIT text.

use enclave_os_client::{ExportSchema, NamedType, WitType};
use wasm_wave::value::Type;

/// The WAVE type of a WIT type.
pub(super) fn wave_type(ty: &WitType) -> Result<Type, String> {
    let optional = |ty: &Option<Box<WitType>>| ty.as_deref().map(wave_type).transpose();
    Ok(match ty {
        WitType::Bool => Type::BOOL,
        WitType::S8 => Type::S8,
        WitType::U8 => Type::U8,
        WitType::S16 => Type::S16,
        WitType::U16 => Type::U16,
        WitType::S32 => Type::S32,
        WitType::U32 => Type::U32,
        WitType::S64 => Type::S64,
        WitType::U64 => Type::U64,
        WitType::F32 => Type::F32,
        WitType::F64 => Type::F64,
        WitType::Char => Type::CHAR,
        WitType::String => Type::STRING,
        WitType::List(element) => Type::list(wave_type(element)?),
        WitType::Option(some) => Type::option(wave_type(some)?),
        WitType::Result { ok, err } => Type::result(optional(ok)?, optional(err)?),
        WitType::Record(fields) => {
            let fields = fields.iter().map(|field| Ok((field.name.as_str(), wave_type(&field.ty)?)));
            Type::record(fields.collect::<Result<Vec<_>, String>>()?).ok_or_else(|| empty("record"))?
        }
        WitType::Tuple(elements) => {
            let elements: Vec<Type> = elements.iter().map(wave_type).collect::<Result<_, _>>()?;
            Type::tuple(elements).ok_or_else(|| empty("tuple"))?
        }
        WitType::Variant(cases) => {
            let cases = cases
                .iter()
                .map(|case| Ok((case.name.as_str(), case.ty.as_ref().map(wave_type).transpose()?)));
            Type::variant(cases.collect::<Result<Vec<_>, String>>()?).ok_or_else(|| empty("variant"))?
        }
        WitType::Enum(cases) => {
            Type::enum_ty(cases.iter().map(String::as_str)).ok_or_else(|| empty("enum"))?
        }
        WitType::Flags(flags) => {
            Type::flags(flags.iter().map(String::as_str)).ok_or_else(|| empty("flags type"))?
        }
        WitType::Resource => return Err("it takes a resource, which only another component can give".into()),
    })
}

fn empty(what: &str) -> String {
    format!("the schema has a {what} without members")
}

/// `kv-store: func(key: string, value: string) -> string;`
pub(crate) fn signature(export: &ExportSchema) -> String {
    let params = fields(&export.params);
    let results: Vec<_> = export.results.iter().map(wit).collect();
    match results.as_slice() {
        [] => format!("{}: func({params});", export.name),
        results => format!("{}: func({params}) -> {};", export.name, results.join(", ")),
    }
}

fn fields(fields: &[NamedType]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name, wit(&field.ty))).collect();
    fields.join(", ")
}

/// WIT with named types written out.
fn wit(ty: &WitType) -> String {
    let many = |types: &[WitType]| types.iter().map(wit).collect::<Vec<_>>().join(", ");
    match ty {
        WitType::Bool => "bool".into(),
        WitType::S8 => "s8".into(),
        WitType::U8 => "u8".into(),
        WitType::S16 => "s16".into(),
        WitType::U16 => "u16".into(),
        WitType::S32 => "s32".into(),
        WitType::U32 => "u32".into(),
        WitType::S64 => "s64".into(),
        WitType::U64 => "u64".into(),
        WitType::F32 => "f32".into(),
        WitType::F64 => "f64".into(),
        WitType::Char => "char".into(),
        WitType::String => "string".into(),
        WitType::Resource => "resource".into(),
        WitType::List(element) => format!("list<{}>", wit(element)),
        WitType::Option(some) => format!("option<{}>", wit(some)),
        WitType::Tuple(elements) => format!("tuple<{}>", many(elements)),
        WitType::Record(members) => format!("record {{ {} }}", fields(members)),
        WitType::Enum(cases) => format!("enum {{ {} }}", cases.join(", ")),
        WitType::Flags(flags) => format!("flags {{ {} }}", flags.join(", ")),
        WitType::Result { ok, err } => match (ok, err) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", wit(ok)),
            (None, Some(err)) => format!("result<_, {}>", wit(err)),
            (Some(ok), Some(err)) => format!("result<{}, {}>", wit(ok), wit(err)),
        },
        WitType::Variant(cases) => {
            let case = |case: &enclave_os_client::Variant| match &case.ty {
                Some(ty) => format!("{}({})", case.name, wit(ty)),
                None => case.name.clone(),
            };
            format!("variant {{ {} }}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
        }
    }
}
