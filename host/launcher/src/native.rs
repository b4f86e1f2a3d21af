//! The enclave in this process.

use std::time::Duration;

use launcher_native::Native;
use sgx_emu::{SECRETS_FILE_NAME, SoftwareCpu};

use crate::error::HostError;
use crate::launch::{Event, Launch, Running, Setup};

pub(crate) struct NativeLaunch;

struct NativeEnclave {
    native: Native,
    threads: usize,
}

impl Launch for NativeLaunch {
    fn name(&self) -> &'static str {
        "native"
    }

    fn warning(&self) -> Option<&'static str> {
        Some("platform native protects nothing: whoever runs this host can read everything in the enclave")
    }

    fn launch(&self, setup: Setup<'_>) -> Result<Box<dyn Running>, HostError> {
        let Setup { data_dir, policy_page, workers, services, listener, events } = setup;
        let cpu = SoftwareCpu::open(&data_dir.path().join(SECRETS_FILE_NAME))?;
        let events = Box::new(move |event| events(translate(event)));
        // The enclave's panic is the end of all its tenants, on every platform.
        launcher_native::abort_on_panic();
        let native = Native::start(cpu, policy_page, workers, services, listener, events)?;
        Ok(Box::new(NativeEnclave { native, threads: usize::from(workers) + 1 }))
    }
}

fn translate(event: launcher_native::Event) -> Event {
    match event {
        launcher_native::Event::Serving => Event::Serving,
        launcher_native::Event::Ended { result, .. } => Event::Ended { result },
        launcher_native::Event::StationStopped { thread, error } => {
            Event::StationStopped { thread, error: error.to_string() }
        }
    }
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
