//! Sleeping and waking with no lost wake-up.

use crate::sync::{AtomicU32, Ordering};

const RUNG: u32 = 1;
const ASLEEP: u32 = 2;

/// Tells one enclave thread, its owner, that another has put work before it.
///
/// It lies in trusted memory: the host sees only that a thread sleeps and is woken.
///
/// The owner: `loop { while bell.take() { work } if bell.sleep() { leave and wait; bell.awake() } }`.
/// Anybody else: publish the work, then `if bell.ring() { wake the owner }`, where a wake-up that
/// arrives before the owner waits must end that wait (an eventfd does, a bare condition variable does not).
///
/// Why none is lost: `ring` and `sleep` change the same word, so one comes first. If `ring` does, `sleep`
/// sees it and refuses. If `sleep` does, the first `ring` after it is told to wake the owner.
#[derive(Debug, Default)]
pub struct Bell(AtomicU32);

impl Bell {
    /// A bell that was not rung, of an owner that is awake.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Rings, from any thread. `true`: the owner sleeps and nobody has woken it yet, so the caller must.
    #[must_use = "a sleeping owner must be woken"]
    pub fn ring(&self) -> bool {
        // Release: what was put before the owner is seen by whoever takes the ring.
        self.0.fetch_or(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// Whether it was rung since the last `take`. For the owner.
    pub fn take(&self) -> bool {
        self.0.fetch_and(!RUNG, Ordering::AcqRel) & RUNG != 0
    }

    /// Declares the owner asleep, before it leaves. `false`: it was rung meanwhile, do not leave.
    #[must_use = "an owner that was rung must not leave"]
    pub fn sleep(&self) -> bool {
        self.0.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Declares the owner awake, after it returned. A ring that came meanwhile is kept for `take`.
    pub fn awake(&self) {
        self.0.fetch_and(!ASLEEP, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_ring_of_a_sleeper_must_wake_it() {
        let bell = Bell::new();
        assert!(!bell.ring(), "awake: it will look by itself");
        assert!(bell.take() && !bell.take());
        assert!(bell.sleep());
        assert!(bell.ring(), "asleep: somebody must wake it");
        assert!(!bell.ring(), "somebody does already");
        bell.awake();
        assert!(bell.take(), "the ring outlasts the sleep");
    }

    #[test]
    fn a_rung_owner_does_not_sleep() {
        let bell = Bell::new();
        assert!(!bell.ring());
        assert!(!bell.sleep());
        assert!(bell.take());
        assert!(bell.sleep());
        bell.awake();
        assert!(!bell.take());
    }
}
