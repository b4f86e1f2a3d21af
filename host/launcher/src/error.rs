//! Why the host did not start or did not stop in order, how to mend it, and its exit code.

use std::io;
use std::path::PathBuf;

use host_services::network::ListenError;
use host_services::storage::StorageError;

use crate::data_dir::DataDirError;
use crate::policy::PolicyError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the policy {path}: {source}")]
    Policy { path: PathBuf, source: PolicyError },
    #[error("this build has no enclave image, so it cannot run on platform {0}")]
    NoImage(&'static str),
    #[error("the software CPU: {0}")]
    Cpu(#[from] sgx_emu::CpuError),
    #[error("{doing} failed: {source}")]
    System { doing: &'static str, source: io::Error },
    #[error("{0}")]
    Launch(#[from] launcher_native::StartError),
    #[error("the enclave refused to start: {0}")]
    Refused(String),
    #[error("the enclave stopped: {0}")]
    Stopped(String),
    #[error("the enclave did not stop in time")]
    Stuck,
}

impl HostError {
    /// As `--help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::System { .. } | Self::Launch(_) | Self::Stopped(_) | Self::Stuck => 1,
            Self::Listen(_) => 3,
            Self::DataDir(_) | Self::Storage(_) => 4,
            Self::Policy { .. } => 5,
            Self::NoImage(_) | Self::Cpu(_) => 6,
            Self::Refused(_) => 7,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoImage(_) => Some("use --platform native, which protects nothing, for development"),
            Self::Policy { .. } => Some("a policy for development is one line: development = true"),
            Self::Stopped(_) | Self::Stuck => {
                Some("start it again with the same --data-dir: what it acknowledged is sealed there")
            }
            _ => None,
        }
    }
}
