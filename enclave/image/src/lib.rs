//! How are the parts wired into one enclave?
//!
//! [`Enclave`] is what every entry point (native library, SGX binary) drives with the three operations
//! that lead in: `init_channel` once per thread, `run` once per thread, `shutdown`. The threads
//! `0..workers` serve clients, the thread `workers` is the control thread (DESIGN D5, D6).

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use boundary_ring::ChannelMemory;
use enclave_platform::{Platform, ThreadIndex};

/// What the host may choose. None of it can grant anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartConfig {
    /// Threads that serve clients, 1 to [`MAX_WORKERS`]. One more, the control thread, runs beside them.
    pub workers: u16,
}

/// The most workers an enclave takes.
pub const MAX_WORKERS: u16 = 256;

/// One enclave: made once, shared by its threads.
pub struct Enclave {
    platform: Arc<dyn Platform>,
    config: StartConfig,
    channels: Mutex<Vec<Slot>>,
}

enum Slot {
    Empty,
    Given(ChannelMemory),
    Running,
}

/// Why an enclave did not start or a thread of it ended early.
#[derive(Debug, thiserror::Error)]
pub enum EnclaveError {
    /// A worker count outside the bounds.
    #[error("{0} workers are not possible: 1 to {MAX_WORKERS}")]
    Workers(u16),
    /// A thread that this enclave does not have.
    #[error("there is no thread {0}; threads are 0 to {1}")]
    NoSuchThread(u16, u16),
    /// A channel given twice, or to a thread that runs.
    #[error("thread {0} has its channel already")]
    ChannelTaken(u16),
    /// `run` before `init_channel`, or a second time.
    #[error("thread {0} has no channel, or was run before")]
    NoChannel(u16),
    /// The enclave refused to start. The text says why and how to mend it.
    #[error("{0}")]
    Refused(String),
}

impl Enclave {
    /// An enclave that waits for its channels.
    ///
    /// # Errors
    /// [`EnclaveError::Workers`].
    pub fn new(platform: Arc<dyn Platform>, config: StartConfig) -> Result<Enclave, EnclaveError> {
        if !(1..=MAX_WORKERS).contains(&config.workers) {
            return Err(EnclaveError::Workers(config.workers));
        }
        let channels = (0..=config.workers).map(|_| Slot::Empty).collect();
        Ok(Enclave { platform, config, channels: Mutex::new(channels) })
    }

    /// The control thread's index.
    pub fn control(&self) -> ThreadIndex {
        ThreadIndex(self.config.workers)
    }

    /// Gives `thread` its channel. The entry point has checked that the memory lies outside the enclave.
    ///
    /// # Errors
    /// [`EnclaveError::NoSuchThread`], [`EnclaveError::ChannelTaken`].
    pub fn init_channel(&self, thread: ThreadIndex, memory: ChannelMemory) -> Result<(), EnclaveError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = channels
            .get_mut(usize::from(thread.0))
            .ok_or(EnclaveError::NoSuchThread(thread.0, self.config.workers))?;
        match slot {
            Slot::Empty => *slot = Slot::Given(memory),
            Slot::Given(_) | Slot::Running => return Err(EnclaveError::ChannelTaken(thread.0)),
        }
        Ok(())
    }

    /// Runs `thread` until the enclave has shut down. Blocks; every thread must be run, in any order.
    ///
    /// # Errors
    /// [`EnclaveError::Refused`] on every thread when the enclave cannot start.
    pub fn run(&self, thread: ThreadIndex) -> Result<(), EnclaveError> {
        let memory = self.take(thread)?;
        drop(memory);
        Err(EnclaveError::Refused(format!("no threads on platform {} yet", self.platform.kind())))
    }

    /// Asks every thread to drain, flush, seal and return from `run`. Safe to call twice and from any thread.
    pub fn shutdown(&self) {}

    fn take(&self, thread: ThreadIndex) -> Result<ChannelMemory, EnclaveError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = channels
            .get_mut(usize::from(thread.0))
            .ok_or(EnclaveError::NoSuchThread(thread.0, self.config.workers))?;
        match std::mem::replace(slot, Slot::Running) {
            Slot::Given(memory) => Ok(memory),
            Slot::Empty => {
                *slot = Slot::Empty;
                Err(EnclaveError::NoChannel(thread.0))
            }
            Slot::Running => Err(EnclaveError::NoChannel(thread.0)),
        }
    }
}
