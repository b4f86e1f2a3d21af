//! Which threads of the enclave still come by.
//!
//! A thread that the host never enters again leaves no trace inside: it is silent like one that has nothing to
//! do. So it is asked. Its bell is rung, and the next time it comes by, whatever for, it answers.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use enclave_platform::ThreadIndex;
use enclave_platform::clock::Monotonic;
use futures_lite::future;

use crate::Handle;
use crate::wake::ThreadBell;

/// A thread that answered so recently is not asked again: whoever asks often must not wake threads often.
const FRESH: Duration = Duration::from_secs(1);

/// The threads of one enclave.
pub(crate) struct Roll {
    entries: Vec<Entry>,
    /// Who waits for answers.
    asking: Mutex<Vec<Waker>>,
}

struct Entry {
    bell: Arc<ThreadBell>,
    /// When it was asked, if it has not answered since; else 0.
    asked: AtomicU64,
    /// When it was last known to have answered.
    answered: AtomicU64,
    /// It has ended.
    over: AtomicBool,
}

impl Roll {
    pub(crate) fn new(bells: &[Arc<ThreadBell>]) -> Arc<Self> {
        let entry = |bell: &Arc<ThreadBell>| Entry {
            bell: bell.clone(),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };
        Arc::new(Roll { entries: bells.iter().map(entry).collect(), asking: Mutex::default() })
    }

    /// The thread comes by: it answers, if it was asked.
    pub(crate) fn here(&self, thread: ThreadIndex) {
        let Some(entry) = self.entries.get(usize::from(thread.0)) else { return };
        if entry.asked.load(Ordering::Relaxed) != 0 {
            entry.answered.fetch_max(entry.asked.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            self.tell();
        }
    }

    /// The thread has ended and will answer nothing more.
    pub(crate) fn over(&self, thread: ThreadIndex) {
        if let Some(entry) = self.entries.get(usize::from(thread.0)) {
            entry.over.store(true, Ordering::Relaxed);
            self.tell();
        }
    }

    fn tell(&self) {
        let asking = std::mem::take(&mut *self.asking.lock().unwrap_or_else(PoisonError::into_inner));
        asking.into_iter().for_each(Waker::wake);
    }

    /// Asks everybody who has not answered of late.
    fn ask(&self, now: Monotonic) {
        // 0 says that nobody was asked.
        let stamp = now.as_nanos().max(1);
        for entry in self.entries.iter().filter(|entry| !entry.over.load(Ordering::Relaxed)) {
            let answered = Monotonic::from_nanos(entry.answered.load(Ordering::Relaxed));
            let stale = answered == Monotonic::default() || now.since(answered) >= FRESH;
            if stale && entry.asked.compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                entry.bell.ring();
            }
        }
    }

    /// Whether all have answered, but for those who were asked before `since` or have ended.
    fn poll_answered(&self, since: Monotonic, cx: &Context<'_>) -> Poll<()> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |entry: &Entry| {
            let asked = entry.asked.load(Ordering::Relaxed);
            asked != 0 && asked > since.as_nanos() && !entry.over.load(Ordering::Relaxed)
        };
        if !self.entries.iter().any(waits) {
            return Poll::Ready(());
        }
        if !asking.iter().any(|waker| waker.will_wake(cx.waker())) {
            asking.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Those who have ended, or were asked by `since` and have not answered.
    fn absent(&self, since: Monotonic) -> Vec<ThreadIndex> {
        let silent = |entry: &Entry| {
            let asked = entry.asked.load(Ordering::Relaxed);
            entry.over.load(Ordering::Relaxed) || asked != 0 && asked <= since.as_nanos()
        };
        let numbered = (0..).map(ThreadIndex).zip(&self.entries);
        numbered.filter(|(_, entry)| silent(entry)).map(|(thread, _)| thread).collect()
    }
}

impl Handle {
    /// The threads that have ended, or have not come by within `patience` of being asked. Waits for answers as
    /// long as that, and not for a thread that owes one for longer.
    pub async fn absent(&self, patience: Duration) -> Vec<ThreadIndex> {
        let (roll, start) = (&self.0.roll, self.monotonic());
        roll.here(self.index());
        roll.ask(start);
        // What was asked earlier than this has had its time.
        let since = Monotonic::from_nanos(start.as_nanos().saturating_sub(patience_ns(patience)));
        future::or(poll_fn(|cx| roll.poll_answered(since, cx)), self.sleep(patience)).await;
        let since = self.monotonic().as_nanos().saturating_sub(patience_ns(patience));
        roll.absent(Monotonic::from_nanos(since))
    }
}

fn patience_ns(patience: Duration) -> u64 {
    u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX)
}
