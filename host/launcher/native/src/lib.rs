//! How does the enclave run in-process, without SGX?
//!
//! The enclave crates are compiled for the host and run in its process: same code, same rings, same four
//! operations, but nothing keeps the host (or anybody who can read its memory or its data directory) out. It
//! is for development, tests and profilers. [`Native`] is the whole enclave; [`NativePlatform`] is what it
//! takes for its CPU: keys and reports from a software CPU, `notify` as a call of the thread's station.

#![forbid(unsafe_code)]

mod panic;
mod platform;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use enclave_image::{Enclave, EnclaveError, StartConfig};
use enclave_platform::{Identity, Platform, ThreadIndex};
use host_services::network::Listener;
use host_services::station::Services;
use sgx_emu::SoftwareCpu;

pub use host_services::seats::{Event, Events};
pub use panic::abort_on_panic;
pub use platform::{NativePlatform, StartError};

/// Time for peers to take what is pending when the enclave has ended.
const LINGER: Duration = Duration::from_secs(2);

/// An enclave that runs in this process.
pub struct Native {
    platform: Arc<NativePlatform>,
    enclave: Arc<Enclave>,
    threads: Vec<JoinHandle<()>>,
}

impl Native {
    /// Starts `workers` threads that serve clients, and the control thread. What happens from then on is told
    /// through `events`, by the enclave's threads.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        cpu: SoftwareCpu,
        policy_page: Vec<u8>,
        workers: u16,
        services: Arc<Services>,
        listener: Listener,
        events: Events,
    ) -> Result<Native, StartError> {
        let (platform, channels) =
            NativePlatform::new(cpu, policy_page, workers, services, listener, events)?;
        let enclave = Arc::new(Enclave::new(platform.clone(), StartConfig { workers })?);
        let mut threads = Vec::with_capacity(channels.len());
        for (index, channel) in (0u16..).map(ThreadIndex).zip(channels) {
            enclave.init_channel(index, channel)?;
            threads.push(spawn(&platform, &enclave, index)?);
        }
        Ok(Native { platform, enclave, threads })
    }

    /// Who the enclave is.
    pub fn identity(&self) -> &Identity {
        self.platform.identity()
    }

    /// Asks the enclave to drain within `grace`, seal and end. Each thread's end is an event.
    pub fn shutdown(&self, grace: Duration) {
        self.platform.seats().drain(grace);
        self.enclave.shutdown();
    }

    /// Waits until every thread has ended.
    pub fn join(self) {
        for thread in self.threads {
            // A panic has aborted the process before it could get here.
            drop(thread.join());
        }
    }
}

fn spawn(
    platform: &Arc<NativePlatform>,
    enclave: &Arc<Enclave>,
    index: ThreadIndex,
) -> Result<JoinHandle<()>, StartError> {
    let (platform, enclave) = (platform.clone(), enclave.clone());
    let name = if index == enclave.control() { "control".to_owned() } else { format!("worker-{}", index.0) };
    let run = move || {
        let result: Result<(), EnclaveError> = enclave.run(index);
        platform.seats().ended(index.0, result.map_err(|error| error.to_string()), LINGER);
    };
    Builder::new().name(name).spawn(run).map_err(StartError::Thread)
}
