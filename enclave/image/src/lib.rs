//! How are the parts wired into one enclave?
//!
//! [`Enclave`] is what every entry point (native library, SGX binary) drives with the three operations
//! that lead in: `init_channel` once per thread, `run` once per thread, `shutdown`. The threads
//! `0..workers` serve clients, the thread `workers` is the control thread (DESIGN D5, D6).

#![forbid(unsafe_code)]

mod backend;
mod boot;
mod sizes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boundary_ring::ChannelMemory;
use enclave_platform::clock::Clock;
use enclave_platform::{Platform, ThreadIndex};
use enclave_worker::{Ended, Worker, Workers};

use crate::boot::{Announcement, Announcer};

pub use boundary_wire::start::MAX_WORKERS;

/// What the host may choose. None of it can grant anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartConfig {
    /// Threads that serve clients, 1 to [`MAX_WORKERS`]. One more, the control thread, runs beside them.
    pub workers: u16,
}

/// Time that open connections may take when the enclave is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// One enclave: made once, shared by its threads.
pub struct Enclave {
    config: StartConfig,
    workers: Arc<Workers>,
    threads: Mutex<Vec<Thread>>,
}

/// What a thread needs, until it runs.
struct Thread {
    channel: Option<ChannelMemory>,
    role: Option<Role>,
}

enum Role {
    /// Serves clients once the enclave has booted.
    Worker(Announcement),
    /// Boots, then does what would stall a worker.
    Control(Announcer),
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
    /// A thread ended, but not in order. What was acknowledged is safe.
    #[error("{0}")]
    Stopped(String),
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
        let clock = Arc::new(Clock::new(platform.clone()));
        let workers = Workers::new(platform, clock, config.workers + 1, sizes::ROOM);
        let (announcer, announcements) = boot::announcement(config.workers);
        let roles = announcements.into_iter().map(Role::Worker).chain([Role::Control(announcer)]);
        let threads = roles.map(|role| Thread { channel: None, role: Some(role) }).collect();
        Ok(Enclave { config, workers, threads: Mutex::new(threads) })
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
        let mut threads = self.threads();
        let slot = threads.get_mut(usize::from(thread.0)).ok_or_else(|| self.no_such(thread))?;
        if slot.channel.is_some() || slot.role.is_none() {
            return Err(EnclaveError::ChannelTaken(thread.0));
        }
        slot.channel = Some(memory);
        Ok(())
    }

    /// Runs `thread` until the enclave has shut down. Blocks; every thread must be run, in any order.
    ///
    /// # Errors
    /// [`EnclaveError::Refused`] on every thread when the enclave cannot start; [`EnclaveError::Stopped`] when
    /// the thread ended, but not in order.
    pub fn run(&self, thread: ThreadIndex) -> Result<(), EnclaveError> {
        let (channel, role) = self.take(thread)?;
        let worker = match Worker::new(&self.workers, thread, channel) {
            Ok(worker) => worker,
            Err(error) => {
                if let Role::Control(announcer) = role {
                    announcer.refuse(&error.to_string());
                }
                return Err(EnclaveError::Refused(error.to_string()));
            }
        };
        let handle = worker.handle();
        let outcome = Arc::new(Mutex::new(Ok(())));
        let report = outcome.clone();
        let workers = self.config.workers;
        let ended = worker.run(async move {
            let result = match role {
                Role::Worker(announcement) => boot::serve(handle, announcement).await,
                Role::Control(announcer) => boot::control(handle, workers, announcer).await,
            };
            *report.lock().unwrap_or_else(PoisonError::into_inner) = result;
        });
        let result = std::mem::replace(&mut *outcome.lock().unwrap_or_else(PoisonError::into_inner), Ok(()));
        match (result, ended) {
            (Err(error), _) => Err(error),
            (Ok(()), Ended::HostMisbehaved(how)) => Err(EnclaveError::Stopped(how.to_string())),
            (Ok(()), Ended::Done) => Ok(()),
        }
    }

    /// Asks every thread to drain, flush, seal and return from `run`. Safe to call twice and from any thread.
    pub fn shutdown(&self) {
        self.workers.shutdown(GRACE);
        // Threads that were never run must not keep the control thread waiting for their work.
        for thread in self.threads().iter_mut() {
            if matches!(thread.role, Some(Role::Worker(_))) {
                thread.role = None;
            }
        }
    }

    fn take(&self, thread: ThreadIndex) -> Result<(ChannelMemory, Role), EnclaveError> {
        let mut threads = self.threads();
        let slot = threads.get_mut(usize::from(thread.0)).ok_or_else(|| self.no_such(thread))?;
        match (slot.channel.take(), slot.role.take()) {
            (Some(channel), Some(role)) => Ok((channel, role)),
            (channel, role) => {
                *slot = Thread { channel, role };
                Err(EnclaveError::NoChannel(thread.0))
            }
        }
    }

    fn no_such(&self, thread: ThreadIndex) -> EnclaveError {
        EnclaveError::NoSuchThread(thread.0, self.config.workers)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
