//! How a command fails: a word for programs, a sentence and a hint for people, an exit code for scripts.

use std::path::Path;
use std::process::ExitCode;

use enclave_os_client::{ClientError, Fault};

use crate::output;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Refused,
    Usage,
    Connection,
    Verification,
    Local,
    /// That of a program of an application (`run`).
    Program(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Connection => 3,
            Exit::Verification => 4,
            Exit::Local => 5,
            Exit::Program(code) => code,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Standard output has the outcome already, as JSON if that was asked for.
    told: bool,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn local(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Local, code, message)
    }

    pub(crate) fn verification(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Verification, code, message)
    }

    pub(crate) fn file(path: &Path, what: &str, error: &std::io::Error) -> Self {
        Self::local("file", format!("cannot {what} {}: {error}", path.display()))
    }

    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: None, told: false }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Standard output has told what there is to tell.
    pub(crate) fn told(mut self) -> Self {
        self.told = true;
        self
    }

    pub(crate) fn report(&self, json: bool) -> ExitCode {
        // A program that failed has said why, in its own words.
        if !matches!(self.exit, Exit::Program(_)) {
            output::error(&self.message, self.hint.as_deref());
        }
        if json && !self.told {
            output::json(&serde_json::json!({
                "status": "error",
                "code": self.code,
                "message": self.message,
            }));
        }
        ExitCode::from(self.exit.code())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match error.fault() {
            Fault::Caller => Exit::Usage,
            Fault::Connection => Exit::Connection,
            Fault::Verification => Exit::Verification,
            Fault::Refused => Exit::Refused,
        };
        let hint = match &error {
            ClientError::Connect { .. } => {
                Some("is enclave-os-host running there? --server HOST:PORT names another server".to_owned())
            }
            ClientError::Tls { .. } => {
                Some("the server speaks TLS 1.3 only; is this the port of an enclave?".to_owned())
            }
            ClientError::Untrusted { .. } => Some(
                "--ca takes the certificate of the enclave's CA or of the operator above it; --server-name \
                 sets the name that the certificate must have"
                    .to_owned(),
            ),
            ClientError::NoAudience => Some("without --key the command asks without a token".to_owned()),
            ClientError::Certificate(_) => {
                Some("the server answered with a certificate that is not an enclave's".to_owned())
            }
            ClientError::Refused(reply) => hint_of(&reply.code).map(str::to_owned),
            _ => None,
        };
        Self { exit, code: error.code().to_owned(), message: error.to_string(), hint, told: false }
    }
}

fn hint_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "unknown-app" => "`enclave-os list` shows what is loaded",
        "unknown-function" => "`enclave-os schema APP` shows its functions",
        "bad-params" => "`enclave-os schema APP` shows the types",
        "fuel-exhausted" => "load it with a higher --max-fuel",
        "memory-limit" => "load it with a higher --max-memory",
        "deadline" => "load it with a higher --timeout",
        "app-locked" => "load it again with its --key-file",
        "unauthenticated" => "--key FILE (or ENCLAVE_OS_KEY) names the operator's key",
        "token-key" => {
            "`enclave-os key show FILE` prints the policy lines of a key; another policy is another image"
        }
        "role-too-low" | "token-role" | "app-not-allowed" | "token-apps" => {
            "the key is not for this: `enclave-os key show FILE` says what it is for"
        }
        "token-expired" | "token-not-yet-valid" => "compare this machine's clock with the enclave's",
        "unknown-leaf" => "`enclave-os proof` lists all leaves",
        _ => return None,
    })
}
