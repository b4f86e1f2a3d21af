//! The CPU that a scenario's enclave runs on.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;

/// Which platform a scenario is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// The enclave crates in the host's process, with software keys. Protects nothing.
    Native,
    /// The signed image on a software SGX CPU. Protects nothing.
    Emulated,
    /// The signed image on SGX hardware.
    Sgx,
}

impl Platform {
    /// The best there is on this machine for the image.
    #[must_use]
    pub fn of_the_image() -> Self {
        if Path::new("/dev/sgx_enclave").exists() { Self::Sgx } else { Self::Emulated }
    }

    /// As `--platform` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Emulated => "emulated",
            Self::Sgx => "sgx",
        }
    }

    /// What its artifacts are compiled for; `None`: this machine.
    #[must_use]
    pub fn target(self) -> Option<&'static str> {
        match self {
            Self::Native => None,
            Self::Emulated | Self::Sgx => Some("x86_64-fortanix-unknown-sgx"),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes a test of each function, once on every platform: `native::NAME` and `emulated::NAME`.
///
/// Each takes the [`Platform`] and returns what a test may return.
#[macro_export]
macro_rules! on_each_platform {
    ($($scenario:ident),+ $(,)?) => {
        mod native {
            $(#[test]
            fn $scenario() -> impl std::process::Termination {
                super::$scenario($crate::platform::Platform::Native)
            })+
        }

        mod emulated {
            $(#[test]
            fn $scenario() -> impl std::process::Termination {
                super::$scenario($crate::platform::Platform::Emulated)
            })+
        }
    };
}
