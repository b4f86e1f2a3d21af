//! The time page: two words that the host writes and the enclave reads without leaving.
//!
//! Each exit that is served brings the page up to date. While a thread is inside for long, a ticker does so
//! every millisecond; when none has been inside for a while, the ticker sleeps, and an idle system uses no CPU.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

use host_services::clock;

const TICK: Duration = Duration::from_millis(1);
/// Ticks without a thread inside before the ticker sleeps: between two requests of a busy time it does not.
const IDLE_TICKS: u32 = 20;

/// The two clocks, as the start block describes them: nanoseconds since the Unix epoch, and since some moment
/// before this process started.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct TimePage {
    unix_ns: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl TimePage {
    pub(crate) fn address(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }

    pub(crate) fn update(&self) {
        let now = clock::now();
        self.unix_ns.store(now.unix_ns, Ordering::Relaxed);
        // Two threads may come here in another order than they read the clock in.
        self.monotonic_ns.fetch_max(now.monotonic_ns, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }
}

/// Keeps a time page up to date while threads are inside.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    sleeper: Thread,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    asleep: AtomicBool,
    ending: AtomicBool,
}

impl Ticker {
    /// Starts the ticker. `inside` says whether any thread is in the enclave.
    pub(crate) fn start(
        page: Arc<TimePage>,
        inside: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Ticker> {
        let shared = Arc::new(Shared { asleep: AtomicBool::new(false), ending: AtomicBool::new(false) });
        page.update();
        let for_thread = shared.clone();
        let thread = Builder::new().name("clock".into()).spawn(move || for_thread.tick(&page, inside))?;
        Ok(Ticker { shared, sleeper: thread.thread().clone(), thread: Some(thread) })
    }

    /// A thread is inside now: `inside` says so already.
    pub(crate) fn entered(&self) {
        // The flag of the thread was stored before this load, and the ticker stores `asleep` before it looks
        // at the flags: in one order of all four, one of the two sees the other.
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.sleeper.unpark();
        }
    }
}

impl Shared {
    fn tick(&self, page: &TimePage, inside: impl Fn() -> bool) {
        let mut idle = 0;
        while !self.ending.load(Ordering::Relaxed) {
            if inside() {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle > IDLE_TICKS {
                self.asleep.store(true, Ordering::SeqCst);
                if !inside() && !self.ending.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle = 0;
            }
            page.update();
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        self.sleeper.unpark();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and nobody could be told here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_while_somebody_is_inside_and_ticks_end_when_nobody_is() {
        let page = Arc::new(TimePage::default());
        let busy = Arc::new(AtomicBool::new(true));
        let inside = busy.clone();
        let ticker = Ticker::start(page.clone(), move || inside.load(Ordering::SeqCst)).unwrap();
        let start = page.monotonic_ns();
        assert!(start > 0, "set before the enclave starts");
        while page.monotonic_ns() == start {
            std::thread::yield_now();
        }
        busy.store(false, Ordering::SeqCst);
        while !ticker.shared.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let asleep = page.monotonic_ns();
        busy.store(true, Ordering::SeqCst);
        ticker.entered();
        while page.monotonic_ns() == asleep {
            std::thread::yield_now();
        }
    }
}
