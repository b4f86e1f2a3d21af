//! Answers that the client has not taken yet: counted against the budget, and not held for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use enclave_platform::clock::Monotonic;

use crate::budget::{Overloaded, Share};
use crate::limits;

/// What an answer says.
#[derive(Debug)]
pub(super) enum Content {
    /// Costs nothing to hold.
    Static(&'static str),
    /// Made for this answer.
    Made(Vec<u8>),
    /// A piece of an app's answer.
    App(Bytes),
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        match self {
            Content::Static(text) => text.as_bytes(),
            Content::Made(bytes) => bytes,
            Content::App(bytes) => bytes,
        }
    }
}

/// The answers of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    bytes: usize,
    /// By when each has to be taken.
    open: BTreeMap<u64, Monotonic>,
}

/// Owns an answer's bytes. Dropped when hyper has written the last of them, or the stream is reset.
struct Held {
    content: Content,
    id: u64,
    answers: Arc<Answers>,
    _share: Share,
}

impl Answers {
    /// The bytes of an answer, which stay covered by `share` until they are dropped.
    pub(super) fn hold(
        self: &Arc<Self>,
        mut share: Share,
        now: Monotonic,
        content: Content,
    ) -> Result<Bytes, Overloaded> {
        match &content {
            Content::Static(_) => {}
            Content::Made(bytes) => share.cover(bytes.capacity())?,
            Content::App(bytes) => share.cover(bytes.len())?,
        }
        let mut ledger = self.ledger();
        let id = ledger.next;
        ledger.next += 1;
        ledger.bytes = ledger.bytes.saturating_add(content.as_ref().len());
        // The connection is shared: what was to be sent before this one takes its time, too.
        let deadline = now.after(limits::write_time(ledger.bytes));
        ledger.open.insert(id, deadline);
        drop(ledger);
        Ok(Bytes::from_owner(Held { content, id, answers: self.clone(), _share: share }))
    }

    /// Whether the client has left an answer lying for too long.
    pub(super) fn is_late(&self, now: Monotonic) -> bool {
        self.ledger().open.values().any(|deadline| *deadline <= now)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.content.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut ledger = self.answers.ledger();
        ledger.open.remove(&self.id);
        ledger.bytes = ledger.bytes.saturating_sub(self.content.as_ref().len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use std::time::Duration;

    const START: Monotonic = Monotonic::from_nanos(0);

    fn share(budget: &Budget) -> Share {
        let mut share = budget.share(limits::SMALL_ANSWER);
        share.trust();
        share
    }

    #[test]
    fn an_answer_is_covered_until_its_last_bytes_are_gone() {
        let budget = Budget::new(1 << 20);
        let answers = Arc::new(Answers::default());
        let made = |size| Content::Made(vec![b'x'; size]);
        let mut first = answers.hold(share(&budget), START, made(1 << 19)).unwrap();
        let _second = answers.hold(share(&budget), START, made(1 << 19)).unwrap();
        assert_eq!(budget.free(), 2 * limits::SMALL_ANSWER);
        assert_eq!(answers.hold(share(&budget), START, made(1 << 14)).unwrap_err(), Overloaded);
        // What is said instead, and what costs nothing, is always there.
        let _small = answers.hold(share(&budget), START, made(limits::SMALL_ANSWER)).unwrap();
        let document = answers.hold(share(&budget), START, Content::Static(crate::OPENAPI)).unwrap();
        assert_eq!(document, crate::OPENAPI);
        assert_eq!(document.as_ptr(), crate::OPENAPI.as_ptr(), "no copy");
        let rest = first.split_off(10);
        drop(first);
        assert_eq!(budget.free(), 2 * limits::SMALL_ANSWER, "a part is still held");
        drop(rest);
        assert!(budget.free() >= 1 << 19);
    }

    #[test]
    fn an_answer_that_is_not_taken_is_late() {
        let budget = Budget::new(1 << 30);
        let answers = Arc::new(Answers::default());
        let short = answers.hold(share(&budget), START, Content::Static("{}")).unwrap();
        let before = START.after(limits::WRITE_TIME - Duration::from_secs(1));
        assert!(!answers.is_late(before));
        assert!(answers.is_late(START.after(limits::WRITE_TIME)));
        drop(short);
        assert!(!answers.is_late(Monotonic::NEVER));
        // A long one has longer, and what follows it has at least as long.
        let long = answers.hold(share(&budget), START, Content::Made(vec![0; 64 << 20])).unwrap();
        let next = answers.hold(share(&budget), START, Content::Static("{}")).unwrap();
        let late = START.after(limits::write_time(64 << 20));
        assert!(!answers.is_late(before.after(Duration::from_secs(60))) && answers.is_late(late));
        drop((long, next));
        assert!(!answers.is_late(Monotonic::NEVER));
    }
}
