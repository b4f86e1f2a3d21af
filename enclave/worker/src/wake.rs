//! Waking an enclave thread.

use std::sync::Arc;
use std::task::Wake;

use boundary_ring::Bell;
use enclave_platform::{Notify, Platform, ThreadIndex};

/// The bell of one thread, and the way to wake the thread when it is outside.
pub(crate) struct ThreadBell {
    pub(crate) bell: Bell,
    index: ThreadIndex,
    platform: Arc<dyn Platform>,
}

impl ThreadBell {
    pub(crate) fn new(platform: Arc<dyn Platform>, index: ThreadIndex) -> Arc<Self> {
        Arc::new(ThreadBell { bell: Bell::new(), index, platform })
    }

    /// The thread has something to do.
    pub(crate) fn ring(&self) {
        if self.bell.ring() {
            self.platform.notify(self.index, Notify::Wake { thread: self.index });
        }
    }
}

impl Wake for ThreadBell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
