//! The time of a test, and what the host says of it.
//!
//! Time passes only when the test lets it: a wait of a minute takes none. So a deadline can be held to its
//! second, and a run does the same on a slow machine as on a fast one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use enclave_platform::HostTime;

/// Each look at the clock takes this long, so that nobody waits for it for ever.
const LOOK_NS: u64 = 500;
/// When the tests play: some day in 2026.
const EPOCH_NS: u64 = 1_790_000_000_000_000_000;
/// The monotonic clock does not begin with 0.
const START_NS: u64 = 1_000_000_000_000;

/// What is said of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// As much more than the truth, in nanoseconds.
    Off(i64),
    /// Always the same.
    Fixed(u64),
}

impl Claim {
    fn of(self, truth: u64) -> u64 {
        match self {
            Claim::Off(by) => truth.saturating_add_signed(by),
            Claim::Fixed(at) => at,
        }
    }
}

/// The truth, and what is said.
pub struct Time {
    passed_ns: AtomicU64,
    claims: Mutex<(Claim, Claim)>,
}

impl Default for Time {
    fn default() -> Time {
        Time { passed_ns: AtomicU64::new(0), claims: Mutex::new((Claim::Off(0), Claim::Off(0))) }
    }
}

impl Time {
    /// What passed since the beginning, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.passed_ns.load(Ordering::Relaxed)
    }

    /// Time passes.
    pub fn pass(&self, by: Duration) {
        self.pass_ns(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn pass_ns(&self, by: u64) {
        self.passed_ns.fetch_add(by, Ordering::Relaxed);
    }

    /// What the enclave is told.
    pub(crate) fn claimed(&self) -> HostTime {
        let passed = self.passed_ns.fetch_add(LOOK_NS, Ordering::Relaxed);
        let (wall, monotonic) = self.claims();
        HostTime { unix_ns: wall.of(EPOCH_NS + passed), monotonic_ns: monotonic.of(START_NS + passed) }
    }

    /// What has to pass until the enclave is told `monotonic_ns`, without a look. `None`: it never will be.
    pub(crate) fn until(&self, monotonic_ns: u64) -> Option<u64> {
        let (_, monotonic) = self.claims();
        let claimed = monotonic.of(START_NS + self.now());
        match monotonic {
            _ if claimed >= monotonic_ns => Some(0),
            Claim::Off(_) => Some(monotonic_ns - claimed),
            Claim::Fixed(_) => None,
        }
    }

    /// What is said of wall time and of monotonic time.
    pub fn claims(&self) -> (Claim, Claim) {
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is said.
    pub fn claim(&self, wall: Claim, monotonic: Claim) {
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = (wall, monotonic);
    }

    /// What an honest host would say of monotonic time.
    pub(crate) fn true_monotonic(&self) -> u64 {
        START_NS + self.now()
    }
}
