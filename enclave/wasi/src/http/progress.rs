//! Whether an exchange still moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enclave_platform::clock::Monotonic;
use enclave_worker::Handle;

/// When a byte of an exchange last moved, in either direction.
#[derive(Clone)]
pub struct Progress(Arc<Moved>);

struct Moved {
    host: Handle,
    last: AtomicU64,
}

impl Progress {
    /// It begins to move now.
    pub fn new(host: Handle) -> Progress {
        let last = AtomicU64::new(host.monotonic().as_nanos());
        Progress(Arc::new(Moved { host, last }))
    }

    /// It moves.
    pub fn mark(&self) {
        self.0.last.fetch_max(self.0.host.monotonic().as_nanos(), Ordering::Relaxed);
    }

    /// Resolves when nothing has moved for `limit`.
    pub async fn stalled(&self, limit: Duration) {
        loop {
            let until = Monotonic::from_nanos(self.0.last.load(Ordering::Relaxed)).after(limit);
            if self.0.host.monotonic() >= until {
                return;
            }
            self.0.host.deadline(until).await;
        }
    }
}
