//! Types: from the engine's, and in words.

use boundary_wire::client::{NamedType, Variant, WitType};
use wasmtime::component::Type;

/// The type as clients see it. Handles, futures and streams have no values a client could send.
pub(crate) fn of_type(ty: &Type) -> WitType {
    match ty {
        Type::Bool => WitType::Bool,
        Type::S8 => WitType::S8,
        Type::U8 => WitType::U8,
        Type::S16 => WitType::S16,
        Type::U16 => WitType::U16,
        Type::S32 => WitType::S32,
        Type::U32 => WitType::U32,
        Type::S64 => WitType::S64,
        Type::U64 => WitType::U64,
        Type::Float32 => WitType::F32,
        Type::Float64 => WitType::F64,
        Type::Char => WitType::Char,
        Type::String => WitType::String,
        Type::List(list) => WitType::List(Box::new(of_type(&list.ty()))),
        Type::Record(record) => WitType::Record(
            record.fields().map(|f| NamedType { name: f.name.to_owned(), ty: of_type(&f.ty) }).collect(),
        ),
        Type::Tuple(tuple) => WitType::Tuple(tuple.types().map(|ty| of_type(&ty)).collect()),
        Type::Variant(variant) => WitType::Variant(
            variant
                .cases()
                .map(|case| Variant { name: case.name.to_owned(), ty: case.ty.as_ref().map(of_type) })
                .collect(),
        ),
        Type::Enum(names) => WitType::Enum(names.names().map(str::to_owned).collect()),
        Type::Option(option) => WitType::Option(Box::new(of_type(&option.ty()))),
        Type::Result(result) => WitType::Result {
            ok: result.ok().map(|ty| Box::new(of_type(&ty))),
            err: result.err().map(|ty| Box::new(of_type(&ty))),
        },
        Type::Flags(names) => WitType::Flags(names.names().map(str::to_owned).collect()),
        Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => WitType::Resource,
    }
}

/// Whether a value of the type can hold flags.
pub(crate) fn has_flags(ty: &WitType) -> bool {
    match ty {
        WitType::Flags(_) => true,
        WitType::List(inner) | WitType::Option(inner) => has_flags(inner),
        WitType::Record(fields) => fields.iter().any(|field| has_flags(&field.ty)),
        WitType::Tuple(types) => types.iter().any(has_flags),
        WitType::Variant(cases) => cases.iter().filter_map(|case| case.ty.as_ref()).any(has_flags),
        WitType::Result { ok, err } => ok.iter().chain(err).any(|ty| has_flags(ty)),
        _ => false,
    }
}

/// The word in `{"type":…}`.
pub(crate) fn kind(ty: &WitType) -> &'static str {
    match ty {
        WitType::Bool => "bool",
        WitType::S8 => "s8",
        WitType::U8 => "u8",
        WitType::S16 => "s16",
        WitType::U16 => "u16",
        WitType::S32 => "s32",
        WitType::U32 => "u32",
        WitType::S64 => "s64",
        WitType::U64 => "u64",
        WitType::F32 => "f32",
        WitType::F64 => "f64",
        WitType::Char => "char",
        WitType::String => "string",
        WitType::List(item) if **item == WitType::U8 => "bytes",
        WitType::List(_) => "list",
        WitType::Record(_) => "record",
        WitType::Tuple(_) => "tuple",
        WitType::Variant(_) => "variant",
        WitType::Enum(_) => "enum",
        WitType::Option(_) => "option",
        WitType::Result { .. } => "result",
        WitType::Flags(_) => "flags",
        WitType::Resource => "resource",
    }
}

/// Whether `word` in `{"type":…}` means `ty`: its kind, or the type written out as in WIT.
pub(crate) fn means(word: &str, ty: &WitType) -> bool {
    word == kind(ty) || (word == "list" && kind(ty) == "bytes") || word == text(ty)
}

/// The type as WIT writes it; named types, which WIT would refer to by name, are written out.
pub(crate) fn text(ty: &WitType) -> String {
    match ty {
        WitType::List(item) => format!("list<{}>", text(item)),
        WitType::Record(fields) => format!("record {{ {} }}", params(fields)),
        WitType::Tuple(items) => format!("tuple<{}>", joined(items.iter().map(text))),
        WitType::Variant(cases) => format!("variant {{ {} }}", joined(cases.iter().map(case))),
        WitType::Enum(names) => format!("enum {{ {} }}", names.join(", ")),
        WitType::Option(inner) => format!("option<{}>", text(inner)),
        WitType::Result { ok: None, err: None } => "result".to_owned(),
        WitType::Result { ok: Some(ok), err: None } => format!("result<{}>", text(ok)),
        WitType::Result { ok, err: Some(err) } => {
            format!("result<{}, {}>", ok.as_ref().map_or("_".to_owned(), |ok| text(ok)), text(err))
        }
        WitType::Flags(names) => format!("flags {{ {} }}", names.join(", ")),
        simple => kind(simple).to_owned(),
    }
}

/// `name: type, …`
pub(crate) fn params(params: &[NamedType]) -> String {
    joined(params.iter().map(|p| format!("{}: {}", p.name, text(&p.ty))))
}

fn case(case: &Variant) -> String {
    case.ty.as_ref().map_or_else(|| case.name.clone(), |ty| format!("{}({})", case.name, text(ty)))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
