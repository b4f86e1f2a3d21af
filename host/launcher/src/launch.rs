//! What a platform does for the host: start an enclave, say who it is, stop it.

use std::sync::Arc;
use std::time::Duration;

use host_services::network::Listener;
use host_services::station::Services;

use crate::args::PlatformChoice;
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::native::NativeLaunch;

/// What every platform needs to start an enclave.
pub(crate) struct Setup<'a> {
    pub(crate) data_dir: &'a DataDir,
    pub(crate) policy_page: Vec<u8>,
    pub(crate) workers: u16,
    pub(crate) services: Arc<Services>,
    pub(crate) listener: Listener,
    pub(crate) events: Box<dyn Fn(Event) + Send + Sync>,
}

/// What the enclave's threads have to say.
#[derive(Debug)]
pub(crate) enum Event {
    /// The enclave takes connections.
    Serving,
    /// One of its threads has left for good. `Err`: why it gave up.
    Ended { result: Result<(), String> },
    /// The host can do nothing more for one of its threads.
    StationStopped { thread: u16, error: String },
}

/// A platform, before there is an enclave on it.
pub(crate) trait Launch {
    /// As in `--platform`.
    fn name(&self) -> &'static str;

    /// What everybody should know who runs on it.
    fn warning(&self) -> Option<&'static str>;

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

    /// Waits for its threads, which have ended or are about to.
    fn join(self: Box<Self>);
}

/// The platform that was asked for, or the best that there is.
pub(crate) fn choose(choice: PlatformChoice) -> Result<Box<dyn Launch>, HostError> {
    match choice {
        PlatformChoice::Auto | PlatformChoice::Native => Ok(Box::new(NativeLaunch)),
        PlatformChoice::Emulated => Err(HostError::NoImage("emulated")),
        PlatformChoice::Sgx => Err(HostError::NoImage("sgx")),
    }
}
