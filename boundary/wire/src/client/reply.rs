//! What the enclave answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::Exited;

/// One answer. Field names, their order and the status words are the protocol's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Reply {
    /// To `wasm_load`.
    Loaded {
        /// What was taken in.
        app: AppInfo,
    },
    /// To `wasm_call`.
    Ok {
        /// Results of the function, each `{"type":T,"value":V}`.
        returns: Vec<Value>,
    },
    /// To `wasm_call` with a `command`.
    Exited(Exited),
    /// To `wasm_list`.
    Apps {
        /// In name order.
        apps: Vec<AppInfo>,
    },
    /// To `wasm_unload`.
    Unloaded {
        /// Its name.
        name: String,
    },
    /// To `wasm_unload` of an application that is not there.
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// To `wasm_schema`.
    Schema {
        /// The application's name.
        app: String,
        /// Its exports with their WIT types; [`super::AppSchema`] reads it.
        schema: Value,
    },
    /// To `challenge`.
    Challenge {
        /// One-time nonce of this connection, base64url without padding.
        nonce: String,
    },
    /// To `attest`.
    Attested {
        /// The quote, base64.
        quote: String,
        /// What a verifier needs beside it, if the enclave has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collateral: Option<Value>,
        /// When, by the enclave's clock: `YYYY-MM-DDTHH:MM:SSZ`.
        issued: String,
    },
    /// To anything that failed.
    Error(ErrorReply),
    /// To `"Ping"`: the text `"Pong"`.
    #[serde(skip)]
    Pong,
    /// To `"Healthz"`: `{"Healthz":{"status":"ok"}}`.
    #[serde(skip)]
    Healthz,
}

/// Why a request failed: `{"status":"error","code":…,"message":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Stable, kebab-case, for programs.
    pub code: String,
    /// What is wrong and how to mend it, for people.
    pub message: String,
}

/// An application as `wasm_load` and `wasm_list` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Its name.
    pub name: String,
    /// Server name of its own certificate.
    pub hostname: String,
    /// SHA-256 of the artifact as it was sent, hex.
    pub code_hash: String,
    /// `generated` or `byok`.
    pub key_source: String,
    /// Its functions.
    pub exports: Vec<AppExport>,
    /// Present only while the application cannot answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AppState>,
    /// What it keeps in the store; in lists, of an application that can answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

/// What an application keeps in the store, and may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes kept: contents of files and buckets, and what describes them.
    pub bytes: u64,
    /// `max_store_bytes` of its load.
    pub max_bytes: u64,
    /// Records kept.
    pub records: u64,
    /// Most records of any application.
    pub max_records: u64,
    /// Keys kept in buckets; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// `max_store_keys` of its load.
    #[serde(default)]
    pub max_keys: u64,
}

impl Storage {
    /// Whether more than nine tenths of what it may keep are used.
    pub fn is_short(&self) -> bool {
        let short = |used: u64, most: u64| used > most - most / 10;
        short(self.bytes, self.max_bytes)
            || short(self.records, self.max_records)
            || self.keys.is_some_and(|keys| keys > 0 && short(keys, self.max_keys))
    }
}

/// Why a loaded application does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// The enclave restarted and waits for the caller's own key.
    Locked,
}

/// A function of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppExport {
    /// As `wasm_call` takes it.
    pub name: String,
    /// How many parameters it takes.
    pub param_count: usize,
    /// How many results it gives.
    pub result_count: usize,
}

impl Reply {
    /// A failure with a stable code and a message for people.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Error(ErrorReply { code: code.into(), message: message.into() })
    }
}
