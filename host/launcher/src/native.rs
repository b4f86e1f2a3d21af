//! The enclave in this process.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host_services::log::Log;
use host_services::quoting::Quoting;
use launcher_native::Native;
use sgx_emu::{SECRETS_FILE_NAME, SoftwareCpu};

use crate::args::Args;
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::launch::{Launch, Running, Setup};
use crate::policy::Policy;
use crate::quoting;

/// A worker that nobody asked for by number gets no more company than this.
const MAX_DEFAULT_WORKERS: usize = 64;

pub(crate) struct NativeLaunch {
    policy: Policy,
    given: bool,
}

struct NativeEnclave {
    native: Native,
    threads: usize,
}

impl NativeLaunch {
    pub(crate) fn new(policy: Option<&Path>) -> Result<NativeLaunch, HostError> {
        let read = Policy::read(policy).map_err(|source| HostError::Policy {
            path: policy.map(Into::into).unwrap_or_default(),
            source,
        })?;
        Ok(NativeLaunch { policy: read, given: policy.is_some() })
    }
}

impl Launch for NativeLaunch {
    fn name(&self) -> &'static str {
        "native"
    }

    fn mrenclave(&self) -> Option<[u8; 32]> {
        None
    }

    fn warning(&self) -> Option<&'static str> {
        Some("platform native protects nothing: whoever runs this host can read everything in the enclave")
    }

    fn development(&self) -> bool {
        self.policy.development
    }

    fn without_policy(&self) -> Option<&'static str> {
        (!self.given).then_some("no --policy: nobody may load code")
    }

    fn quoting(
        &self,
        args: &Args,
        data_dir: &DataDir,
        log: &Log,
    ) -> Result<Option<Arc<dyn Quoting>>, HostError> {
        quoting::development(args, data_dir, log)
    }

    fn can_start_again(&self) -> bool {
        // A panic has ended the process.
        false
    }

    fn launch(&self, setup: Setup<'_>) -> Result<Box<dyn Running>, HostError> {
        let Setup { data_dir, workers, services, listener, events } = setup;
        let workers = workers.unwrap_or_else(|| default_workers(MAX_DEFAULT_WORKERS));
        let cpu = SoftwareCpu::open(&data_dir.path().join(SECRETS_FILE_NAME))?;
        // The enclave's panic is the end of all its tenants, on every platform.
        launcher_native::abort_on_panic();
        let page = self.policy.page.clone();
        let native = Native::start(cpu, page, workers, services, listener, events)?;
        Ok(Box::new(NativeEnclave { native, threads: usize::from(workers) + 1 }))
    }
}

/// One per core, as far as there is room.
pub(crate) fn default_workers(most: usize) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u16::try_from(cores.min(most)).unwrap_or(1).max(1)
}

impl Running for NativeEnclave {
    fn mrenclave(&self) -> [u8; 32] {
        self.native.identity().mrenclave
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn shutdown(&self, grace: Duration) {
        self.native.shutdown(grace);
    }

    fn join(self: Box<Self>) {
        self.native.join();
    }
}
