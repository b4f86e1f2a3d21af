//! When does a call let the other tasks of its worker run?
//!
//! The engine lets them run after so much fuel, which pays for the guest's own instructions. Functions of the host
//! do far more than the few instructions that call them: they count here, and a call that has done its share waits
//! for its next turn, where its deadline is looked at too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_lite::future::yield_now;

/// Work of one turn: about a millisecond.
const TURN: u32 = 64;

/// Bytes that are one unit of work to copy out of the guest and to look at.
const TAKEN_PER_UNIT: usize = 16 << 10;

/// Units of work that taking in that many bytes is.
pub(crate) fn taken(bytes: usize) -> u32 {
    1 + u32::try_from(bytes / TAKEN_PER_UNIT).unwrap_or(u32::MAX - 1)
}

/// What a call has done in the functions of the host since it last let others run. A unit of work is that of one
/// small operation, some tens of microseconds at most.
#[derive(Clone, Default)]
pub(crate) struct Turn(Arc<AtomicU32>);

impl Turn {
    /// Does `units` of work in this turn, or in the next one if this is over.
    pub(crate) async fn spend(&self, units: u32) {
        if !self.try_spend(units) {
            yield_now().await;
            self.0.store(units, Ordering::Relaxed);
        }
    }

    /// Pays for an argument of that many bytes, which was copied and checked before its function began. To be called
    /// first, by every function that takes text or bytes.
    pub(crate) async fn take_in(&self, bytes: usize) {
        self.spend(taken(bytes)).await;
    }

    /// Work that was done before it could be asked for, as that of taking in an argument. Whoever owes more than a
    /// turn waits the next time it spends.
    pub(crate) fn owe(&self, units: u32) {
        let spent = self.0.load(Ordering::Relaxed);
        self.0.store(spent.saturating_add(units), Ordering::Relaxed);
    }

    /// Does `units` of work in this turn. `false`: it is over, and whoever cannot wait must say that it is not
    /// ready.
    pub(crate) fn try_spend(&self, units: u32) -> bool {
        let spent = self.0.load(Ordering::Relaxed);
        // The first work of a turn is done, however much it is.
        let goes_on = spent == 0 || spent.saturating_add(units) <= TURN;
        if goes_on {
            self.0.store(spent.saturating_add(units), Ordering::Relaxed);
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn work_without_end_lets_others_run() {
        block_on(async {
            let turn = Turn::default();
            let mut turns = 0;
            for _ in 0..10 * TURN {
                let mut work = std::pin::pin!(turn.spend(1));
                while poll_once(&mut work).await.is_none() {
                    turns += 1;
                }
            }
            assert_eq!(turns, 9);
        });
    }

    #[test]
    fn long_arguments_let_others_run_however_little_is_done_with_them() {
        let turns = |bytes: usize| {
            let turn = Turn::default();
            let waits = |turn: &Turn| block_on(poll_once(turn.take_in(bytes))).is_none();
            (0..16).filter(|_| waits(&turn)).count()
        };
        assert_eq!(turns(100), 0);
        assert_eq!(turns(16 << 20), 15);
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_else_is_done() {
        let turn = Turn::default();
        turn.owe(TURN);
        assert!(turn.try_spend(0), "the turn is not over");
        turn.owe(1);
        assert!(!turn.try_spend(0));
        assert!(block_on(poll_once(turn.spend(0))).is_none());
        block_on(turn.spend(0));
        assert!(turn.try_spend(TURN));
    }

    #[test]
    fn what_is_more_than_a_turn_has_one_of_its_own() {
        let turn = Turn::default();
        assert!(turn.try_spend(10 * TURN));
        assert!(!turn.try_spend(1));
        assert!(block_on(poll_once(turn.spend(TURN))).is_none());
        block_on(turn.spend(TURN));
        assert!(!turn.try_spend(1));
    }
}
