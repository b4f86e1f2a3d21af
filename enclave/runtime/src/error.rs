//! How loading and calling fail, whose fault it is, and how to mend it.

use crate::queue::Full;
use crate::value::BadParams;

/// The runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine or its pools.
    #[error(transparent)]
    Machine(#[from] enclave_wasm_platform::StartError),
    /// The CPU gave no randomness for the stacks' canary.
    #[error(transparent)]
    Random(#[from] enclave_platform::RandomError),
    /// The interfaces of the enclave do not link.
    #[error("the host interfaces do not link: {0}")]
    Linker(String),
}

/// An app was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The artifact is not one this enclave takes, or there is no room for its code.
    #[error(transparent)]
    Artifact(#[from] enclave_wasm_platform::LoadError),
    /// The component needs what the enclave does not have.
    #[error(
        "the component imports what this enclave does not have: {}. It has {}, where 0.2 is every 0.2.x: build for \
         wasm32-wasip2 or its like in other languages",
        .0.join(", "),
        enclave_wasi::packages()
    )]
    Imports(Vec<String>),
    /// A limit that no call could run under.
    #[error("the limits are not usable: {0}")]
    Limits(&'static str),
    /// The egress list has an entry that is not a host.
    #[error(transparent)]
    Egress(#[from] enclave_wasi::EgressError),
}

impl LoadError {
    /// Stable, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        use enclave_wasm_platform::{ArtifactError as A, LoadError as L};
        match self {
            LoadError::Artifact(L::Artifact(A::NotAnArtifact)) => "not-an-artifact",
            LoadError::Artifact(L::Artifact(A::Module)) => "not-a-component",
            LoadError::Artifact(L::Artifact(A::Damaged { .. })) => "artifact-damaged",
            LoadError::Artifact(L::Artifact(
                A::EngineVersion { .. } | A::Target { .. } | A::Settings { .. },
            )) => "artifact-incompatible",
            LoadError::Artifact(L::Room(_)) => "no-room",
            LoadError::Imports(_) => "unsupported-imports",
            LoadError::Limits(_) => "bad-limits",
            LoadError::Egress(_) => "bad-egress",
        }
    }
}

/// A call did not give a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such export.
    #[error("there is no function `{name}`. The app exports: {}", some(.exports))]
    UnknownFunction {
        /// What was asked for.
        name: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// Several exports have that name.
    #[error("`{name}` is ambiguous. Write one of: {}", some(.candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// The parameters do not fit the signature.
    #[error("{function}: {source}")]
    BadParams {
        /// The export.
        function: String,
        /// Which parameter, and what would be right.
        #[source]
        source: BadParams,
    },
    /// The export is called as a program and is none.
    #[error(
        "{function} takes parameters or gives results: a program is an export like `run` of wasi:cli/run; call this one \
         without `command`"
    )]
    NotAProgram {
        /// The export.
        function: String,
    },
    /// The arguments of a program are more than it may have.
    #[error("a program is given at most 1024 arguments of 128 KiB together: send more on its standard input")]
    TooManyArguments,
    /// The guest used up its fuel.
    #[error("the call used up its fuel ({limit}): load the app with a higher max_fuel")]
    FuelExhausted {
        /// The limit.
        limit: u64,
    },
    /// The guest asked for more memory than it may have, and then gave up.
    #[error(
        "the call needs more memory than it may have ({limit} bytes): load the app with a higher max_memory_bytes"
    )]
    MemoryLimit {
        /// The limit.
        limit: u64,
    },
    /// The call took too long.
    #[error("the call did not end within {limit_ms} ms: load the app with a higher timeout_ms")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// The guest trapped.
    #[error("trap: {trap}{}", backtrace(.frames))]
    Trap {
        /// The engine's words for it.
        trap: String,
        /// Guest functions, innermost first, where the artifact names them.
        frames: Vec<String>,
    },
    /// The guest ended itself before it returned.
    #[error("the guest exited with code {0} instead of returning")]
    Exit(i32),
    /// The result, or what the guest handed to a host function, is larger than the enclave takes.
    #[error("the guest handed out more data at once than the enclave takes: return less, or store it")]
    TooMuchData,
    /// As many calls as there may be are running and waiting, or there is no memory for one more.
    #[error("{0}")]
    Overloaded(String),
    /// The host lied about what the app had stored.
    #[error("{0}")]
    HostMisbehaved(String),
    /// What the call wrote could not be stored.
    #[error("what the call wrote was not stored: {message}")]
    Storage {
        /// Stable, for programs.
        code: &'static str,
        /// Why.
        message: String,
    },
}

impl From<Full> for CallError {
    fn from(full: Full) -> CallError {
        CallError::Overloaded(full.to_string())
    }
}

impl CallError {
    /// Stable, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CallError::UnknownFunction { .. } => "unknown-function",
            CallError::Ambiguous { .. } => "ambiguous-function",
            CallError::BadParams { .. } => "bad-params",
            CallError::NotAProgram { .. } => "not-a-program",
            CallError::TooManyArguments => "too-many-arguments",
            CallError::FuelExhausted { .. } => "fuel-exhausted",
            CallError::MemoryLimit { .. } => "memory-limit",
            CallError::Deadline { .. } => "deadline",
            CallError::Trap { .. } => "trap",
            CallError::Exit(_) => "exit",
            CallError::TooMuchData => "result-too-large",
            CallError::Overloaded(_) => "overloaded",
            CallError::HostMisbehaved(_) => "host-misbehaved",
            CallError::Storage { code, .. } => code,
        }
    }
}

/// The first of many names: an app may have thousands, and the schema shows them all.
fn some(names: &[String]) -> String {
    const MOST: usize = 30;
    let mut text: Vec<String> =
        names.iter().take(MOST).map(|name| name.chars().take(200).collect()).collect();
    if let Some(more) = names.len().checked_sub(MOST + 1) {
        text.push(format!("and {} more, which the schema shows", more + 1));
    }
    text.join(", ")
}

fn backtrace(frames: &[String]) -> String {
    frames.iter().enumerate().map(|(n, frame)| format!("\n  {n}: {frame}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_some_of_many_exports() {
        let error = |count: usize| CallError::UnknownFunction {
            name: "f".to_owned(),
            exports: (0..count).map(|n| format!("export-{n}")).collect(),
        };
        assert!(error(30).to_string().ends_with("export-28, export-29"));
        let text = error(100_000).to_string();
        assert!(text.ends_with("export-29, and 99970 more, which the schema shows"), "{text}");
    }
}
