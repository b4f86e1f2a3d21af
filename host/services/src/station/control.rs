//! What all stations of a host share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::log::Log;
use crate::network::Resolver;
use crate::quoting::Quoting;
use crate::storage::Engine;

/// What all stations of a host use.
pub struct Services {
    /// The enclave's records.
    pub storage: Arc<dyn Engine>,
    /// The quoting enclave, if this host has one.
    pub quoting: Option<Arc<dyn Quoting>>,
    /// Where log lines go.
    pub log: Log,
    /// Names to addresses.
    pub resolver: Resolver,
    /// What the host has to say to all its stations.
    pub control: Control,
}

/// Shared by the stations of a host and whoever watches them.
#[derive(Debug, Default)]
pub struct Control {
    /// Milliseconds of grace plus one, once the host wants the enclave to stop.
    draining: AtomicU64,
    pub(super) connections: AtomicUsize,
    pub(super) pending_bytes: AtomicUsize,
    most_connections: AtomicUsize,
}

impl Control {
    /// For at most `most_connections` connections on all stations together.
    pub fn new(most_connections: usize) -> Self {
        Control { most_connections: AtomicUsize::new(most_connections), ..Control::default() }
    }

    /// Asks the enclave to stop within `grace`. Ring every station's doorbell afterwards.
    pub fn drain(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.draining.store(millis + 1, Ordering::Release);
    }

    /// The enclave has ended and another takes its place: nobody is asked to stop any more.
    pub fn resume(&self) {
        self.draining.store(0, Ordering::Release);
    }

    /// The grace in milliseconds, once the host wants the enclave to stop.
    pub fn draining(&self) -> Option<u32> {
        let millis = self.draining.load(Ordering::Acquire).checked_sub(1)?;
        Some(u32::try_from(millis).unwrap_or(u32::MAX))
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes that wait for peers to take them.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.connections() < self.most_connections.load(Ordering::Relaxed)
    }
}
