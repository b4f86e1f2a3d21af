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
    #[error("there is no enclave image; looked for {}", .0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and "))]
    NoImage(Vec<PathBuf>),
    #[error(
        "--image is for the platforms sgx and emulated; native runs the enclave that is part of this program"
    )]
    ImageOnNative,
    #[error(
        "the image {image} carries its own policy, measured with it, and --policy {policy} cannot change it: make an \
         image with that policy by `cargo xtask image --policy {policy}`"
    )]
    PolicyOfImage { policy: PathBuf, image: PathBuf },
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error(transparent)]
    Image(#[from] launcher_image::FilesError),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error(transparent)]
    Features(#[from] launcher_image::MissingFeatures),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error("the software CPU refuses the image: {0}")]
    Emulated(#[from] sgx_emu::LoadError),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error(transparent)]
    Hardware(#[from] launcher_image::hardware::HardwareError),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error(transparent)]
    StartImage(#[from] launcher_image::StartError),
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    #[error("SGX images run on x86-64 Linux only")]
    NotHere,
    #[error("the software CPU: {0}")]
    Cpu(#[from] sgx_emu::CpuError),
    #[error(transparent)]
    Pccs(#[from] host_services::quoting::PccsError),
    #[error("--pccs-ca {path}: {source}")]
    PccsCa { path: PathBuf, source: io::Error },
    #[error("{0}")]
    DevelopmentQuoting(#[from] host_services::quoting::DevelopmentQuotingError),
    #[error(
        "no folder for the development PKI: the environment has neither ENCLAVE_OS_DEV_PKI nor XDG_DATA_HOME nor HOME; name one with --dev-pki"
    )]
    NoDevPki,
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
            Self::ImageOnNative | Self::PolicyOfImage { .. } | Self::Pccs(_) | Self::PccsCa { .. } => 2,
            Self::Listen(_) => 3,
            Self::DataDir(_) | Self::Storage(_) => 4,
            Self::Policy { .. } => 5,
            Self::Refused(_) => 7,
            // What is left is about the platform.
            _ => 6,
        }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoImage(_) => Some(
                "`cargo xtask image` makes one, --image names another; --platform native, which protects nothing, \
                 needs none",
            ),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Hardware(_) => {
                Some("enclave-os-host --check-platform says what this machine has and lacks")
            }
            Self::Policy { .. } => Some("a policy for development is one line: development = true"),
            Self::Stopped(_) | Self::Stuck => {
                Some("start it again with the same --data-dir: what it acknowledged is sealed there")
            }
            _ => None,
        }
    }
}
