//! A request that is not carried out: one code for programs, one sentence for people.

use std::borrow::Cow;

use boundary_wire::client::Reply;
use http::StatusCode;

use crate::budget::Overloaded;

/// Why a request was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    code: Cow<'static, str>,
    message: String,
}

impl Refusal {
    /// A refusal with a stable kebab-case code and what is wrong and how to mend it.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Refusal {
        Refusal { code: code.into(), message: message.into() }
    }

    /// For programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As an answer of the framed protocol.
    pub fn into_reply(self) -> Reply {
        Reply::error(self.code, self.message)
    }

    /// As a status of HTTP.
    pub fn status(&self) -> StatusCode {
        match self.code() {
            "bad-path"
            | "bad-request"
            | "bad-host"
            | "bad-option"
            | "bad-app-name"
            | "bad-hostname"
            | "bad-route-prefix"
            | "bad-key"
            | "bad-params"
            | "not-a-program"
            | "too-many-arguments"
            | "bad-limits"
            | "bad-egress"
            | "bad-env"
            | "not-an-artifact"
            | "not-compiled"
            | "bad-certificate"
            | "code-hash-differs"
            | "not-a-component"
            | "artifact-damaged"
            | "artifact-incompatible"
            | "unsupported-imports" => StatusCode::BAD_REQUEST,
            "unauthenticated" => StatusCode::UNAUTHORIZED,
            code if code.starts_with("token-") || code.starts_with("nonce-") => StatusCode::UNAUTHORIZED,
            "no-operators" | "role-too-low" | "app-not-allowed" | "not-granted" | "not-here" => {
                StatusCode::FORBIDDEN
            }
            "not-found" | "unknown-app" | "unknown-function" | "unknown-leaf" => StatusCode::NOT_FOUND,
            "method-not-allowed" => StatusCode::METHOD_NOT_ALLOWED,
            "timeout" => StatusCode::REQUEST_TIMEOUT,
            "hostname-taken" | "hostname-reserved" | "route-prefix-taken" | "key-mismatch"
            | "data-policy-fixed" | "ambiguous-function" => StatusCode::CONFLICT,
            "frame-too-large" | "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
            "unsupported-media-type" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "misdirected" | "attestation-stale" => StatusCode::MISDIRECTED_REQUEST,
            "bad-artifact" | "trap" | "fuel-exhausted" | "memory-limit" | "exit" | "instantiation"
            | "result-too-large" => StatusCode::UNPROCESSABLE_ENTITY,
            "quota-exceeded" => StatusCode::INSUFFICIENT_STORAGE,
            "app-locked" => StatusCode::LOCKED,
            "not-available" => StatusCode::NOT_IMPLEMENTED,
            "overloaded" | "stopping" | "app-busy" | "app-changing" | "app-damaged" | "storage-full"
            | "no-quote" | "no-room" => StatusCode::SERVICE_UNAVAILABLE,
            "deadline" => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Overloaded> for Refusal {
    fn from(overloaded: Overloaded) -> Refusal {
        Refusal::new("overloaded", overloaded.to_string())
    }
}

impl From<enclave_access::Denied> for Refusal {
    fn from(denied: enclave_access::Denied) -> Refusal {
        Refusal::new(denied.code(), denied.message())
    }
}

impl From<enclave_access::NotApproved> for Refusal {
    fn from(refused: enclave_access::NotApproved) -> Refusal {
        Refusal::new(refused.code(), refused.to_string())
    }
}

impl From<enclave_access::names::NameError> for Refusal {
    fn from(refused: enclave_access::names::NameError) -> Refusal {
        Refusal::new(refused.code(), refused.to_string())
    }
}

/// The enclave has no such app, or not on this connection.
pub(crate) fn unknown_app(name: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::new("unknown-app", format!("there is no app {name:?} here; `wasm_list` shows what is loaded"))
}
