//! What the fields and bodies of one call may hold outside the guest's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All fields and all bodies that nobody takes yet, together.
const TOTAL: usize = 4 << 20;

/// One per call.
#[derive(Clone, Debug)]
pub(super) struct Quota(Arc<AtomicUsize>);

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    quota: Quota,
    bytes: usize,
}

/// There is not so much left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a call holds at most {TOTAL} bytes of HTTP fields and bodies outside its memory")]
pub(super) struct Exhausted;

impl Quota {
    pub(super) fn new() -> Self {
        Quota(Arc::new(AtomicUsize::new(TOTAL)))
    }

    /// Takes `bytes`.
    pub(super) fn take(&self, bytes: usize) -> Result<Held, Exhausted> {
        let mut held = Held { quota: self.clone(), bytes: 0 };
        held.resize(bytes)?;
        Ok(held)
    }

    /// Takes half of what is left, within the two bounds.
    pub(super) fn share(&self, least: usize, most: usize) -> Result<Held, Exhausted> {
        let half = self.0.load(Ordering::Relaxed) / 2;
        self.take(half.clamp(least, most))
    }
}

impl Held {
    /// As it was taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more, or gives back.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let own = self.bytes;
        let left = |free: usize| (free + own).checked_sub(bytes);
        self.quota.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).map_err(|_| Exhausted)?;
        self.bytes = bytes;
        Ok(())
    }

    /// As much again.
    pub(super) fn again(&self) -> Result<Held, Exhausted> {
        self.quota.take(self.bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.quota.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_does_not_get() {
        let quota = Quota::new();
        let mut first = quota.take(TOTAL - 100).unwrap();
        assert_eq!(quota.take(101).err(), Some(Exhausted));
        assert_eq!(first.again().err(), Some(Exhausted));
        let second = quota.share(10, 1000).unwrap();
        assert_eq!(second.bytes(), 50);
        assert_eq!(quota.share(60, 1000).err(), Some(Exhausted));
        first.resize(TOTAL - 50).unwrap();
        assert_eq!(first.resize(TOTAL), Err(Exhausted));
        first.resize(0).unwrap();
        drop((first, second));
        assert_eq!(quota.0.load(Ordering::Relaxed), TOTAL);
    }
}
