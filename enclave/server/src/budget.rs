//! How many bytes may clients make the enclave hold?
//!
//! One budget for all connections of all workers. A connection keeps a small allowance of its own for
//! free, so that a few large uploads cannot shut out ordinary calls. One half is kept for those who have shown that
//! they may load, so that nobody else's uploads shut out theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The whole enclave's allowance for bytes of requests and of answers that are not taken yet.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: AtomicUsize,
    total: usize,
}

/// The budget is used up: not the client's fault, and worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the enclave holds as many unfinished requests and untaken answers as it can; try again in a moment")]
pub struct Overloaded;

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Budget {
        Budget(Arc::new(Shared { free: AtomicUsize::new(total), total }))
    }

    /// A share that holds nothing yet and may hold `allowance` bytes outside the budget. Of the budget it is a
    /// stranger's: see [`Share::trust`].
    pub fn share(&self, allowance: usize) -> Share {
        Share { budget: self.clone(), allowance, taken: 0, left_for_others: self.0.total / 2 }
    }

    /// Bytes that are not held by anyone.
    pub fn free(&self) -> usize {
        self.0.free.load(Ordering::Relaxed)
    }

    /// Bytes that the budget was made with.
    pub fn total(&self) -> usize {
        self.0.total
    }
}

/// What one upload or connection holds of the budget. Given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    allowance: usize,
    taken: usize,
    /// What it must leave free when it grows.
    left_for_others: usize,
}

impl Share {
    /// Lets it have the part of the budget that strangers leave: its owner has shown that it may load.
    pub fn trust(&mut self) {
        self.left_for_others = 0;
    }

    /// Makes the share cover `bytes`, growing or shrinking it.
    ///
    /// # Errors
    /// [`Overloaded`] when the budget has not enough left; the share then keeps what it had.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Overloaded> {
        let wanted = bytes.saturating_sub(self.allowance);
        let free = &self.budget.0.free;
        if wanted > self.taken {
            let more = wanted - self.taken;
            let keep = self.left_for_others;
            free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                free.checked_sub(more).filter(|left| *left >= keep)
            })
            .map_err(|_| Overloaded)?;
        } else {
            free.fetch_add(self.taken - wanted, Ordering::Relaxed);
        }
        self.taken = wanted;
        Ok(())
    }

    /// Bytes taken from the budget.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.free.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// A bounded number of places that are taken and given back.
#[derive(Clone, Debug)]
pub(crate) struct Permits(Arc<AtomicUsize>);

impl Permits {
    pub(crate) fn new(count: usize) -> Permits {
        Permits(Arc::new(AtomicUsize::new(count)))
    }

    /// `None`: all are taken.
    pub(crate) fn take(&self) -> Option<Permit> {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).ok()?;
        Some(Permit(self.0.clone()))
    }
}

/// Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn permits_are_as_many_as_they_are_and_come_back() {
        let permits = Permits::new(2);
        let first = permits.take().unwrap();
        let _second = permits.clone().take().unwrap();
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }

    #[test]
    fn an_allowance_costs_nothing_and_the_rest_is_shared() {
        let budget = Budget::new(100);
        let trusted = |allowance| {
            let mut share = budget.share(allowance);
            share.trust();
            share
        };
        let mut first = trusted(10);
        first.cover(10).unwrap();
        assert_eq!(budget.free(), 100);
        first.cover(90).unwrap();
        assert_eq!(budget.free(), 20);
        let mut second = trusted(10);
        assert_eq!(second.cover(31), Err(Overloaded));
        assert_eq!(second.cover(30), Ok(()));
        drop(first);
        assert_eq!(budget.free(), 80);
        second.cover(0).unwrap();
        assert_eq!(budget.free(), 100);
    }

    #[test]
    fn strangers_leave_half_for_those_who_may_load() {
        let budget = Budget::new(100);
        let mut strangers = [budget.share(0), budget.share(0)];
        assert_eq!(strangers[0].cover(51), Err(Overloaded));
        strangers[0].cover(30).unwrap();
        assert_eq!(strangers[1].cover(21), Err(Overloaded));
        strangers[1].cover(20).unwrap();
        let mut operator = budget.share(0);
        operator.trust();
        operator.cover(50).unwrap();
        assert_eq!(budget.free(), 0);
        strangers[1].cover(10).unwrap();
        assert_eq!(strangers[0].cover(31), Err(Overloaded), "what comes back is not theirs yet");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made(ops in prop::collection::vec((0usize..4, 0usize..200), 0..60)) {
            let budget = Budget::new(300);
            let mut shares: Vec<Share> = (0..4).map(|_| budget.share(16)).collect();
            for (who, bytes) in ops {
                let before = shares[who].taken();
                if shares[who].cover(bytes).is_err() {
                    prop_assert_eq!(shares[who].taken(), before);
                }
                let held: usize = shares.iter().map(Share::taken).sum();
                prop_assert_eq!(budget.free() + held, 300);
            }
            drop(shares);
            prop_assert_eq!(budget.free(), budget.total());
        }
    }
}
