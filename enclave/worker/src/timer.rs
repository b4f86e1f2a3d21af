//! Timers of one worker, on the enclave's monotonic clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use enclave_platform::clock::{Clock, Monotonic};

use crate::wake::ThreadBell;

/// What waits for which moment.
pub(crate) struct Timers {
    clock: Arc<Clock>,
    bell: Arc<ThreadBell>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    waiting: BTreeMap<(Monotonic, u64), Waker>,
}

impl Timers {
    pub(crate) fn new(clock: Arc<Clock>, bell: Arc<ThreadBell>) -> Arc<Self> {
        Arc::new(Timers { clock, bell, entries: Mutex::default() })
    }

    /// Takes the wakers of all timers that are due.
    pub(crate) fn take_due(&self, out: &mut Vec<Waker>) {
        let mut entries = self.lock();
        if entries.waiting.is_empty() {
            return;
        }
        let now = self.clock.monotonic();
        while let Some(first) = entries.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            out.push(first.remove());
        }
    }

    /// The earliest moment that somebody waits for.
    pub(crate) fn next(&self) -> Option<Monotonic> {
        self.lock().waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves at a moment. Made by [`Handle::sleep`](crate::Handle::sleep) and
/// [`Handle::deadline`](crate::Handle::deadline).
#[must_use = "a future does nothing unless awaited"]
pub struct Sleep {
    timers: Arc<Timers>,
    at: Monotonic,
    key: Option<u64>,
}

impl Sleep {
    pub(crate) fn new(timers: Arc<Timers>, at: Monotonic) -> Self {
        Sleep { timers, at, key: None }
    }

    /// The moment at which it resolves.
    pub fn at(&self) -> Monotonic {
        self.at
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.timers.clock.monotonic() >= this.at {
            this.forget();
            return Poll::Ready(());
        }
        let mut entries = this.timers.lock();
        let earlier = entries.waiting.first_key_value().map(|((at, _), _)| *at);
        let number = *this.key.get_or_insert_with(|| {
            entries.next += 1;
            entries.next
        });
        match entries.waiting.get_mut(&(this.at, number)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                entries.waiting.insert((this.at, number), cx.waker().clone());
            }
        }
        drop(entries);
        if earlier.is_none_or(|earlier| this.at < earlier) {
            this.timers.bell.ring();
        }
        Poll::Pending
    }
}

impl Sleep {
    fn forget(&mut self) {
        if let Some(number) = self.key.take() {
            let waker = self.timers.lock().waiting.remove(&(self.at, number));
            drop(waker);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}
