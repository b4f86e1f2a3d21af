//! What a platform does for the host: start an enclave, say who it is, stop it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_services::log::Log;
use host_services::network::Listener;
use host_services::quoting::Quoting;
use host_services::seats::Events;
use host_services::station::Services;

use crate::args::{Args, PlatformChoice};
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::native::NativeLaunch;

/// What every platform needs to start an enclave.
pub(crate) struct Setup<'a> {
    pub(crate) data_dir: &'a DataDir,
    pub(crate) workers: Option<u16>,
    pub(crate) services: Arc<Services>,
    pub(crate) listener: Listener,
    pub(crate) events: Events,
}

/// A platform with what is to run on it, before there is an enclave.
pub(crate) trait Launch {
    /// As in `--platform`.
    fn name(&self) -> &'static str;

    /// The image's measurement; None where nothing is measured.
    fn mrenclave(&self) -> Option<[u8; 32]>;

    /// What everybody should know who runs on it.
    fn warning(&self) -> Option<&'static str>;

    /// Whether the policy is one for development.
    fn development(&self) -> bool;

    /// What a missing policy means, if there is none.
    fn without_policy(&self) -> Option<&'static str> {
        None
    }

    /// Who makes quotes for enclaves on this platform; says so in the log.
    fn quoting(
        &self,
        args: &Args,
        data_dir: &DataDir,
        log: &Log,
    ) -> Result<Option<Arc<dyn Quoting>>, HostError>;

    /// Whether another enclave can be started when one has crashed.
    fn can_start_again(&self) -> bool;

    /// Starts the enclave.
    fn launch(&self, setup: Setup<'_>) -> Result<Box<dyn Running>, HostError>;
}

/// An enclave that runs.
pub(crate) trait Running {
    /// Its measurement.
    fn mrenclave(&self) -> [u8; 32];

    /// How many threads will end.
    fn threads(&self) -> usize;

    /// Asks it to drain within `grace`, flush, seal and end.
    fn shutdown(&self, grace: Duration);

    /// Exits by kind, where there are any.
    fn exits(&self) -> Option<String> {
        None
    }

    /// Waits for its threads, which have ended or are about to.
    fn join(self: Box<Self>);
}

/// A platform, and why it is this one.
pub(crate) struct Chosen {
    pub(crate) launch: Box<dyn Launch>,
    pub(crate) why: Option<String>,
}

/// The platform that was asked for, or the best that there is.
pub(crate) fn choose(args: &Args) -> Result<Chosen, HostError> {
    let asked_for = |launch| Chosen { launch, why: None };
    match args.platform {
        PlatformChoice::Native if args.image.is_some() => Err(HostError::ImageOnNative),
        PlatformChoice::Native => Ok(asked_for(native(args)?)),
        PlatformChoice::Emulated => Ok(asked_for(image::emulated(args, find(args)?)?)),
        PlatformChoice::Sgx => Ok(asked_for(image::sgx(args, find(args)?)?)),
        PlatformChoice::Auto => auto(args),
    }
}

fn auto(args: &Args) -> Result<Chosen, HostError> {
    let hardware = image::hardware();
    match (find(args), hardware) {
        (Ok(path), Ok(())) => {
            let why = format!("this machine has SGX: using platform sgx with {}", path.display());
            Ok(Chosen { launch: image::sgx(args, path)?, why: Some(why) })
        }
        (Ok(path), Err(lacks)) => {
            let why = format!("no SGX hardware ({lacks}): using platform emulated with {}", path.display());
            Ok(Chosen { launch: image::emulated(args, path)?, why: Some(why) })
        }
        (Err(error), _) if args.image.is_some() => Err(error),
        (Err(_), _) => {
            let why = "there is no enclave image (`cargo xtask image` makes one): using platform native";
            Ok(Chosen { launch: native(args)?, why: Some(why.to_owned()) })
        }
    }
}

fn native(args: &Args) -> Result<Box<dyn Launch>, HostError> {
    Ok(Box::new(NativeLaunch::new(args.policy.as_deref())?))
}

/// The image to run: the one that was named, else the one beside this program, else the one that was made in this
/// directory.
pub(crate) fn find(args: &Args) -> Result<PathBuf, HostError> {
    if let Some(path) = &args.image {
        return Ok(path.clone());
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(IMAGE)));
    let made = Path::new("target/image").join(IMAGE);
    let candidates: Vec<PathBuf> = beside.into_iter().chain([made]).collect();
    candidates.iter().find(|path| path.is_file()).cloned().ok_or(HostError::NoImage(candidates))
}

const IMAGE: &str = "enclave-os.sgxs";

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::image;

/// SGX images are for x86-64 Linux.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod image {
    use std::path::PathBuf;

    use super::{Args, HostError, Launch};

    pub(super) fn hardware() -> Result<(), String> {
        Err("SGX is for x86-64 Linux".to_owned())
    }

    pub(super) fn emulated(_: &Args, _: PathBuf) -> Result<Box<dyn Launch>, HostError> {
        Err(HostError::NotHere)
    }

    pub(super) fn sgx(_: &Args, _: PathBuf) -> Result<Box<dyn Launch>, HostError> {
        Err(HostError::NotHere)
    }
}
