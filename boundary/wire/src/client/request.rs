//! What a client asks.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::command::CommandInput;
use super::secret::Secret;
use super::strict;

/// What one frame of a client holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `"Ping"`.
    Ping,
    /// `"Healthz"`.
    Healthz,
    /// A command, with or without a credential.
    Envelope(Envelope),
}

/// Exactly one command, and beside it the credential that allows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// An operator token (JWT).
    pub auth: Option<Secret>,
    /// What to do.
    pub command: Command,
}

/// The commands of the framed protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `wasm_load`: take an application in.
    Load(Box<Load>),
    /// `wasm_call`: call an exported function.
    Call(Call),
    /// `wasm_list`: the applications that are loaded.
    List,
    /// `wasm_unload`: let an application go, and its data with it.
    Unload(Unload),
    /// `wasm_schema`: the exports of an application with their WIT types.
    Schema(Schema),
    /// `challenge`: a one-time nonce of this connection for a manager's token.
    Challenge,
    /// `attest`: a quote bound to this very connection.
    Attest(Attest),
}

/// `wasm_load`. Everything but the name and the bytes is optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The application's name in later requests.
    pub name: String,
    /// The artifact: `bytes` as integers, or `bytes_base64`, on the wire.
    pub bytes: Vec<u8>,
    /// Server name (SNI) of the application's own certificate; the name if absent.
    pub hostname: Option<String>,
    /// 64 hex digits: the caller's own key for the application's data (BYOK).
    pub encryption_key: Option<Secret>,
    /// Where its HTTP handler answers; `/<name>` if absent.
    pub route_prefix: Option<String>,
    /// Fuel of one call.
    pub max_fuel: Option<u64>,
    /// Linear memory of one call.
    pub max_memory_bytes: Option<u64>,
    /// Bytes that all its calls together may keep in the store.
    pub max_store_bytes: Option<u64>,
    /// Keys that all its calls together may keep in buckets.
    pub max_store_keys: Option<u64>,
    /// Wall-clock time of one call.
    pub timeout_ms: Option<u64>,
    /// Environment variables, measured with their values.
    pub env: BTreeMap<String, String>,
    /// Environment variables measured by name and salted hash only.
    pub secrets: BTreeMap<String, Secret>,
    /// Hosts it may reach; absent means any, and an empty list none.
    pub egress: Option<Vec<String>>,
    /// The application's version, for its configuration leaf and its environment.
    pub version: Option<String>,
    /// Who may keep the data when the code is replaced.
    pub data_policy: Option<DataPolicy>,
    /// Where its log goes.
    pub log_policy: Option<LogPolicy>,
    /// Who may call it.
    pub access: Option<Access>,
    /// Fuel of one HTTP request.
    pub http_max_fuel: Option<u64>,
    /// Wall-clock time in which nothing of an HTTP request or its answer moves.
    pub http_idle_timeout_ms: Option<u64>,
    /// Wall-clock time of one HTTP request with its answer.
    pub http_timeout_ms: Option<u64>,
    /// Bytes of the body of an HTTP request.
    pub http_max_request_bytes: Option<u64>,
    /// Bytes of the body of the answer to one.
    pub http_max_response_bytes: Option<u64>,
}

/// To whom an application's data belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataPolicy {
    /// To exactly this code: a replacement starts empty.
    #[default]
    CodeHash,
    /// To whoever may load: a replacement keeps the data, and every verifier sees that.
    Operator,
}

/// Where an application's log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPolicy {
    /// To the host, in clear.
    #[default]
    Host,
    /// Nowhere.
    None,
}

/// Who may call an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anyone who can connect.
    #[default]
    Open,
    /// Whoever holds an operator's or the application's token.
    Token,
}

/// `wasm_call`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The application's name.
    pub app: String,
    /// The export: `function`, `interface#function` or `pkg:name/interface@1.0.0#function`.
    pub function: String,
    /// Its arguments, none if absent.
    #[serde(default)]
    pub params: Params,
    /// Runs the export as a program with standard streams of its own, which the caller gives and gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandInput>,
}

impl Call {
    /// The name of the one function of a program, whichever 0.2 version it was built for.
    pub const RUN: &str = "wasi:cli/run#run";

    /// A call of a function.
    pub fn new(app: &str, function: &str, params: Params) -> Self {
        Self { app: app.to_owned(), function: function.to_owned(), params, command: None }
    }

    /// A run of a program.
    pub fn run(app: &str, command: CommandInput) -> Self {
        Self { command: Some(command), ..Self::new(app, Self::RUN, Params::default()) }
    }
}

/// Arguments of a call: typed (`{"type":T,"value":V}`) or bare values.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    /// In the order of the signature.
    Positional(Vec<Value>),
    /// By the names of the signature.
    Named(Map<String, Value>),
}

/// `wasm_unload`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unload {
    /// The application's name.
    pub name: String,
}

/// `wasm_schema`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The application's name.
    pub app: String,
}

/// `attest`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// The client's nonce: 32 bytes in base64url without padding.
    pub nonce: String,
}

impl Attest {
    /// With this nonce, which the client draws anew for each request.
    pub fn new(nonce: &[u8; 32]) -> Self {
        Self { nonce: URL_SAFE_NO_PAD.encode(nonce) }
    }

    /// The nonce's bytes; `None` if it is anything else than 32 bytes in base64url without padding.
    pub fn nonce(&self) -> Option<[u8; 32]> {
        URL_SAFE_NO_PAD.decode(&self.nonce).ok()?.try_into().ok()
    }
}

/// `{}`: a command without arguments.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Envelope {
    /// The command without a credential.
    pub fn new(command: Command) -> Self {
        Self { auth: None, command }
    }
}

impl From<Command> for Envelope {
    fn from(command: Command) -> Self {
        Self::new(command)
    }
}

impl Command {
    /// Its key in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "wasm_load",
            Self::Call(_) => "wasm_call",
            Self::List => "wasm_list",
            Self::Unload(_) => "wasm_unload",
            Self::Schema(_) => "wasm_schema",
            Self::Challenge => "challenge",
            Self::Attest(_) => "attest",
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::Positional(Vec::new())
    }
}

impl Params {
    /// How many arguments there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Positional(values) => values.len(),
            Self::Named(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ping => serializer.serialize_str("Ping"),
            Self::Healthz => serializer.serialize_str("Healthz"),
            Self::Envelope(envelope) => envelope.serialize(serializer),
        }
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(auth) = &self.auth {
            map.serialize_entry("auth", auth)?;
        }
        let name = self.command.name();
        match &self.command {
            Command::Load(load) => map.serialize_entry(name, load)?,
            Command::Call(call) => map.serialize_entry(name, call)?,
            Command::List | Command::Challenge => map.serialize_entry(name, &Map::new())?,
            Command::Unload(unload) => map.serialize_entry(name, unload)?,
            Command::Schema(schema) => map.serialize_entry(name, schema)?,
            Command::Attest(attest) => map.serialize_entry(name, attest)?,
        }
        map.end()
    }
}

impl Serialize for Load {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("bytes", &self.bytes)?;
        entry(&mut map, "hostname", self.hostname.as_ref())?;
        entry(&mut map, "encryption_key", self.encryption_key.as_ref())?;
        entry(&mut map, "route_prefix", self.route_prefix.as_ref())?;
        entry(&mut map, "max_fuel", self.max_fuel.as_ref())?;
        entry(&mut map, "max_memory_bytes", self.max_memory_bytes.as_ref())?;
        entry(&mut map, "max_store_bytes", self.max_store_bytes.as_ref())?;
        entry(&mut map, "max_store_keys", self.max_store_keys.as_ref())?;
        entry(&mut map, "timeout_ms", self.timeout_ms.as_ref())?;
        entry(&mut map, "env", Some(&self.env).filter(|env| !env.is_empty()))?;
        entry(&mut map, "secrets", Some(&self.secrets).filter(|secrets| !secrets.is_empty()))?;
        entry(&mut map, "egress", self.egress.as_ref())?;
        entry(&mut map, "version", self.version.as_ref())?;
        entry(&mut map, "data_policy", self.data_policy.as_ref())?;
        entry(&mut map, "log_policy", self.log_policy.as_ref())?;
        entry(&mut map, "access", self.access.as_ref())?;
        entry(&mut map, "http_max_fuel", self.http_max_fuel.as_ref())?;
        entry(&mut map, "http_idle_timeout_ms", self.http_idle_timeout_ms.as_ref())?;
        entry(&mut map, "http_timeout_ms", self.http_timeout_ms.as_ref())?;
        entry(&mut map, "http_max_request_bytes", self.http_max_request_bytes.as_ref())?;
        entry(&mut map, "http_max_response_bytes", self.http_max_response_bytes.as_ref())?;
        map.end()
    }
}

fn entry<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, value: Option<&T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Positional(values) => values.serialize(serializer),
            Self::Named(values) => values.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match strict::value(deserializer)? {
            Value::Array(values) => Ok(Self::Positional(values)),
            Value::Object(values) => Ok(Self::Named(values)),
            _ => Err(de::Error::custom("`params` is an array (by position) or an object (by name)")),
        }
    }
}

/// A load as its text says it, before the artifact is put in.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLoad {
    name: String,
    bytes: Option<Vec<u8>>,
    bytes_base64: Option<String>,
    hostname: Option<String>,
    encryption_key: Option<Secret>,
    route_prefix: Option<String>,
    max_fuel: Option<u64>,
    max_memory_bytes: Option<u64>,
    max_store_bytes: Option<u64>,
    max_store_keys: Option<u64>,
    timeout_ms: Option<u64>,
    #[serde(default, deserialize_with = "strict::map")]
    env: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "strict::map")]
    secrets: BTreeMap<String, Secret>,
    egress: Option<Vec<String>>,
    version: Option<String>,
    data_policy: Option<DataPolicy>,
    log_policy: Option<LogPolicy>,
    access: Option<Access>,
    http_max_fuel: Option<u64>,
    http_idle_timeout_ms: Option<u64>,
    http_timeout_ms: Option<u64>,
    http_max_request_bytes: Option<u64>,
    http_max_response_bytes: Option<u64>,
}

impl RawLoad {
    /// `captured`: the artifact if a [`super::FrameDecoder`] took it out of the text as it arrived.
    fn complete(self, captured: Option<Vec<u8>>) -> Result<Load, String> {
        let bytes = match (captured, self.bytes, self.bytes_base64) {
            (Some(bytes), None, None) | (None, Some(bytes), None) => bytes,
            (None, None, Some(text)) => {
                STANDARD.decode(text).map_err(|e| format!("`bytes_base64` is not base64: {e}"))?
            }
            (None, None, None) => return Err("missing field `bytes` (or `bytes_base64`)".into()),
            _ => return Err("give the artifact once, as `bytes` or as `bytes_base64`".into()),
        };
        Ok(Load {
            name: self.name,
            bytes,
            hostname: self.hostname,
            encryption_key: self.encryption_key,
            route_prefix: self.route_prefix,
            max_fuel: self.max_fuel,
            max_memory_bytes: self.max_memory_bytes,
            max_store_bytes: self.max_store_bytes,
            max_store_keys: self.max_store_keys,
            timeout_ms: self.timeout_ms,
            env: self.env,
            secrets: self.secrets,
            egress: self.egress,
            version: self.version,
            data_policy: self.data_policy,
            log_policy: self.log_policy,
            access: self.access,
            http_max_fuel: self.http_max_fuel,
            http_idle_timeout_ms: self.http_idle_timeout_ms,
            http_timeout_ms: self.http_timeout_ms,
            http_max_request_bytes: self.http_max_request_bytes,
            http_max_response_bytes: self.http_max_response_bytes,
        })
    }
}

impl<'de> Deserialize<'de> for Load {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawLoad::deserialize(deserializer)?.complete(None).map_err(de::Error::custom)
    }
}

/// An envelope whose artifact may still be outside of it.
pub(super) struct RawEnvelope {
    auth: Option<Secret>,
    command: RawCommand,
}

enum RawCommand {
    Load(Box<RawLoad>),
    Other(Command),
}

impl RawEnvelope {
    pub(super) fn complete(self, captured: Option<Vec<u8>>) -> Result<Envelope, String> {
        let command = match self.command {
            RawCommand::Load(load) => Command::Load(Box::new(load.complete(captured)?)),
            RawCommand::Other(command) => command,
        };
        Ok(Envelope { auth: self.auth, command })
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawEnvelope::deserialize(deserializer)?.complete(None).map_err(de::Error::custom)
    }
}

const FIELDS: &[&str] =
    &["auth", "wasm_load", "wasm_call", "wasm_list", "wasm_unload", "wasm_schema", "challenge", "attest"];

impl<'de> Deserialize<'de> for RawEnvelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = RawEnvelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one command, such as {\"wasm_list\":{}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEnvelope, A::Error> {
        let mut auth: Option<Option<Secret>> = None;
        let mut command: Option<(&'static str, RawCommand)> = None;
        while let Some(key) = map.next_key::<String>()? {
            let Some(&field) = FIELDS.iter().find(|field| **field == key) else {
                return Err(de::Error::unknown_field(&key, FIELDS));
            };
            if field == "auth" {
                if auth.replace(map.next_value()?).is_some() {
                    return Err(de::Error::duplicate_field("auth"));
                }
                continue;
            }
            match &command {
                Some((first, _)) if *first == field => return Err(de::Error::duplicate_field(field)),
                Some((first, _)) => {
                    return Err(de::Error::custom(format_args!(
                        "an envelope holds exactly one command, this one has `{first}` and `{field}`"
                    )));
                }
                None => command = Some((field, command_value(field, &mut map)?)),
            }
        }
        let (_, command) = command.ok_or_else(|| {
            de::Error::custom("the envelope has no command: one of `wasm_load`, `wasm_call`, `wasm_list`, …")
        })?;
        Ok(RawEnvelope { auth: auth.flatten(), command })
    }
}

fn command_value<'de, A: MapAccess<'de>>(field: &str, map: &mut A) -> Result<RawCommand, A::Error> {
    Ok(RawCommand::Other(match field {
        "wasm_load" => return Ok(RawCommand::Load(Box::new(map.next_value()?))),
        "wasm_call" => Command::Call(map.next_value()?),
        "wasm_unload" => Command::Unload(map.next_value()?),
        "wasm_schema" => Command::Schema(map.next_value()?),
        "attest" => Command::Attest(map.next_value()?),
        "challenge" => map.next_value().map(|Nothing {}| Command::Challenge)?,
        _ => map.next_value().map(|Nothing {}| Command::List)?,
    }))
}
