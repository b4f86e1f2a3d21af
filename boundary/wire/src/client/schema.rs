//! The exports of an application with their types, as `wasm_schema` gives them.

use serde::{Deserialize, Serialize};

/// `{"exports":[…]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSchema {
    /// In the component's order.
    pub exports: Vec<ExportSchema>,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSchema {
    /// As `wasm_call` takes it.
    pub name: String,
    /// Its parameters, in order.
    pub params: Vec<NamedType>,
    /// Its results: none or one.
    pub results: Vec<WitType>,
}

/// A parameter or a record's field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedType {
    /// Its WIT name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: WitType,
}

/// A variant's case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Its WIT name.
    pub name: String,
    /// What it carries, if anything.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<WitType>,
}

/// A WIT type: a word (`"u32"`) or an object with one key (`{"list":"u8"}`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitType {
    /// `bool`.
    Bool,
    /// `s8`.
    S8,
    /// `u8`.
    U8,
    /// `s16`.
    S16,
    /// `u16`.
    U16,
    /// `s32`.
    S32,
    /// `u32`.
    U32,
    /// `s64`.
    S64,
    /// `u64`.
    U64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `char`.
    Char,
    /// `string`.
    String,
    /// `{"list":T}`.
    List(Box<WitType>),
    /// `{"record":[{"name":…,"type":…}]}`.
    Record(Vec<NamedType>),
    /// `{"tuple":[T,…]}`.
    Tuple(Vec<WitType>),
    /// `{"variant":[{"name":…,"type":…}]}`; a case without a value has no `type`.
    Variant(Vec<Variant>),
    /// `{"enum":["a",…]}`.
    Enum(Vec<String>),
    /// `{"option":T}`.
    Option(Box<WitType>),
    /// `{"result":{"ok":T,"err":T}}`; a side without a value is absent.
    Result {
        /// The value of success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ok: Option<Box<WitType>>,
        /// The value of failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        err: Option<Box<WitType>>,
    },
    /// `{"flags":["a",…]}`.
    Flags(Vec<String>),
    /// A handle: shown, but no value of it can be sent.
    Resource,
}
