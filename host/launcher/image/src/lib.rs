//! How is a signed image loaded, entered and served?
//!
//! [`ImageFiles`] reads an image. [`Emulated`] puts it on a software SGX CPU, [`hardware::Hardware`] on a real one;
//! both are a [`Cpu`] with an entry of the same ABI, and everything above is the same: [`RunningImage`] starts the
//! image's first thread and serves what its threads leave for, each on the thread of the host that entered
//! ([`Exits`] counts it). [`check`] says what a machine has and lacks.
//!
//! Nothing here is trusted: an enclave checks every address and every answer that it gets. And nothing that an
//! enclave asks for is believed either, so that a broken one fails with a message and not in the host.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

pub mod check;
mod cpu;
mod dcap_library;
mod driver;
mod emulated;
mod enter;
mod exits;
pub mod features;
mod files;
pub mod hardware;
mod memory;
mod park;
mod text;
mod time;
mod usercalls;

use std::sync::Arc;
use std::time::Duration;

use host_services::network::Listener;
use host_services::seats::{Events, Seats, SeatsError};
use host_services::station::Services;

pub use cpu::{Cpu, RestrictError};
pub use dcap_library::DcapLibrary;
pub use driver::{DriverError, Intercept};
pub use emulated::Emulated;
pub use enter::{Entry, Exception, Registers};
pub use exits::{Exits, Kind};
pub use features::MissingFeatures;
pub use files::{FilesError, ImageFiles, MAKE};

use driver::Driver;

/// Why an enclave that was loaded does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No channels or stations.
    #[error(transparent)]
    Seats(#[from] SeatsError),
    /// No thread, or not enough of them in the image.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// An image that runs.
pub struct RunningImage {
    driver: Arc<Driver>,
}

impl RunningImage {
    /// Starts the enclave on `cpu`: its control thread, which asks for `workers` more. What happens from then on is
    /// told through `events`, by the enclave's threads: each of `workers + 1` ends once.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        cpu: Box<dyn Cpu>,
        workers: u16,
        services: Arc<Services>,
        listener: &Listener,
        events: Events,
    ) -> Result<RunningImage, StartError> {
        Self::start_intercepted(cpu, workers, services, listener, events, None)
    }

    /// As [`start`](Self::start), with somebody who answers calls of the enclave first.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_intercepted(
        cpu: Box<dyn Cpu>,
        workers: u16,
        services: Arc<Services>,
        listener: &Listener,
        events: Events,
        intercept: Option<Box<dyn Intercept>>,
    ) -> Result<RunningImage, StartError> {
        // The enclave's ends of the channels are addresses; the host's ends keep the memory.
        let (seats, _) = Seats::new(workers, services, listener, events)?;
        Ok(RunningImage { driver: Driver::start(cpu, seats, intercept)? })
    }

    /// Asks the enclave to drain within `grace`, seal and end.
    pub fn shutdown(&self, grace: Duration) {
        self.driver.seats.drain(grace);
    }

    /// What it left for so far.
    pub fn exits(&self) -> Exits {
        self.driver.exits()
    }

    /// ELRANGE.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.driver.cpu.range()
    }

    /// Waits until every thread has left.
    pub fn join(self) {
        self.driver.join();
    }
}
