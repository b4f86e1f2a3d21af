//! The enclave as a signed image, on a software SGX CPU or on hardware.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host_services::log::Log;
use host_services::quoting::Quoting;
use launcher_image::hardware::Hardware;
use launcher_image::{Cpu, Emulated, ImageFiles, RunningImage, features};
use sgx_emu::{Attributes, SECRETS_FILE_NAME, SoftwareCpu};

use crate::args::Args;
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::launch::{Launch, Running, Setup};
use crate::native::default_workers;
use crate::quoting;

struct ImageLaunch {
    image: ImageFiles,
    on: On,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Emulated,
    Sgx,
}

struct ImageEnclave {
    running: RunningImage,
    mrenclave: [u8; 32],
    threads: usize,
}

/// Whether SGX hardware can be used; `Err`: what it lacks.
pub(crate) fn hardware() -> Result<(), String> {
    launcher_image::hardware::usable().map_err(|error| error.to_string())
}

pub(crate) fn emulated(args: &Args, path: PathBuf) -> Result<Box<dyn Launch>, HostError> {
    open(args, path, On::Emulated)
}

pub(crate) fn sgx(args: &Args, path: PathBuf) -> Result<Box<dyn Launch>, HostError> {
    open(args, path, On::Sgx)
}

fn open(args: &Args, path: PathBuf, on: On) -> Result<Box<dyn Launch>, HostError> {
    if let Some(policy) = &args.policy {
        return Err(HostError::PolicyOfImage { policy: policy.clone(), image: path });
    }
    let image = ImageFiles::open(&path)?;
    if on == On::Sgx {
        image.require_production()?;
    }
    features::require(&image.manifest().cpu_features, image.manifest().xfrm)?;
    Ok(Box::new(ImageLaunch { image, on }))
}

impl Launch for ImageLaunch {
    fn name(&self) -> &'static str {
        match self.on {
            On::Emulated => "emulated",
            On::Sgx => "sgx",
        }
    }

    fn mrenclave(&self) -> Option<[u8; 32]> {
        Some(self.image.mrenclave())
    }

    fn warning(&self) -> Option<&'static str> {
        match self.on {
            On::Emulated => Some(
                "platform emulated protects nothing: it runs the signed image on a software CPU, and whoever runs \
                 this host can read everything in the enclave",
            ),
            On::Sgx => None,
        }
    }

    fn development(&self) -> bool {
        self.image.manifest().development
    }

    fn quoting(
        &self,
        args: &Args,
        data_dir: &DataDir,
        log: &Log,
    ) -> Result<Option<Arc<dyn Quoting>>, HostError> {
        match self.on {
            On::Emulated => quoting::development(args, data_dir, log),
            On::Sgx => quoting::hardware(args, data_dir, log),
        }
    }

    fn can_start_again(&self) -> bool {
        true
    }

    fn launch(&self, setup: Setup<'_>) -> Result<Box<dyn Running>, HostError> {
        let Setup { data_dir, workers, services, listener, events } = setup;
        let cpu: Box<dyn Cpu> = match self.on {
            On::Emulated => {
                let cpu = Arc::new(SoftwareCpu::open(&data_dir.path().join(SECRETS_FILE_NAME))?);
                Box::new(Emulated::load(cpu, &self.image, Attributes::Signed)?)
            }
            On::Sgx => Box::new(Hardware::load(&self.image)?),
        };
        let most = cpu.tcs().len().saturating_sub(1);
        let workers = workers.unwrap_or_else(|| default_workers(most));
        let running = RunningImage::start(cpu, workers, services, &listener, events)?;
        let threads = usize::from(workers) + 1;
        Ok(Box::new(ImageEnclave { running, mrenclave: self.image.mrenclave(), threads }))
    }
}

impl Running for ImageEnclave {
    fn mrenclave(&self) -> [u8; 32] {
        self.mrenclave
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn shutdown(&self, grace: Duration) {
        self.running.shutdown(grace);
    }

    fn exits(&self) -> Option<String> {
        Some(self.running.exits().to_string())
    }

    fn join(self: Box<Self>) {
        self.running.join();
    }
}
