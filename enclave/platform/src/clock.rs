//! Honest bounds on a clock that the host sets.
//!
//! [`Platform::host_time`] is a claim. [`Clock`] makes of it what can be made inside: neither clock runs
//! backwards within a run, and wall time never lies before the last time that the enclave sealed. The host
//! can still stop both clocks or let them run ahead, so nothing that protects a secret rests on them alone
//! (DESIGN §5.7).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Platform;

/// A moment of the monotonic clock, in nanoseconds. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The moment that never comes.
    pub const NEVER: Monotonic = Monotonic(u64::MAX);

    /// The moment `ns` nanoseconds after the clock's start.
    pub const fn from_nanos(ns: u64) -> Self {
        Monotonic(ns)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `by` later, or [`Monotonic::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Monotonic(self.0.saturating_add(nanos(by)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Monotonic) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The enclave's two clocks. One per enclave, shared by its threads.
pub struct Clock {
    platform: Arc<dyn Platform>,
    monotonic_ns: AtomicU64,
    unix_ns: AtomicU64,
}

impl Clock {
    /// Clocks over the platform's claims.
    pub fn new(platform: Arc<dyn Platform>) -> Self {
        Clock { platform, monotonic_ns: AtomicU64::new(0), unix_ns: AtomicU64::new(0) }
    }

    /// Now, on the clock that timers and deadlines use. Never earlier than any earlier answer.
    pub fn monotonic(&self) -> Monotonic {
        let claim = self.platform.host_time().monotonic_ns;
        Monotonic(self.monotonic_ns.fetch_max(claim, Ordering::Relaxed).max(claim))
    }

    /// Nanoseconds since the Unix epoch. Never earlier than any earlier answer, nor than
    /// [`Clock::not_before`].
    pub fn unix_ns(&self) -> u64 {
        let claim = self.platform.host_time().unix_ns;
        self.unix_ns.fetch_max(claim, Ordering::Relaxed).max(claim)
    }

    /// [`Clock::unix_ns`] as the time since the Unix epoch.
    pub fn unix(&self) -> Duration {
        Duration::from_nanos(self.unix_ns())
    }

    /// Wall time has been at least `unix_ns`: the store saw it when it was last sealed.
    pub fn not_before(&self, unix_ns: u64) {
        self.unix_ns.fetch_max(unix_ns, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("monotonic_ns", &self.monotonic_ns.load(Ordering::Relaxed))
            .field("unix_ns", &self.unix_ns.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        HostTime, Identity, KeyError, Kind, Notified, Notify, RandomError, SealKeyRequest, ThreadIndex,
    };

    struct Claims(Mutex<HostTime>, Identity);

    impl Claims {
        fn new() -> Arc<Self> {
            let identity =
                Identity { mrenclave: [0; 32], mrsigner: [0; 32], isv_prod_id: 0, isv_svn: 0, debug: false };
            Arc::new(Claims(Mutex::new(HostTime { unix_ns: 0, monotonic_ns: 0 }), identity))
        }

        fn claim(&self, unix_ns: u64, monotonic_ns: u64) {
            *self.0.lock().unwrap() = HostTime { unix_ns, monotonic_ns };
        }
    }

    impl Platform for Claims {
        fn kind(&self) -> Kind {
            Kind::Native
        }
        fn identity(&self) -> &Identity {
            &self.1
        }
        fn policy_page(&self) -> &[u8] {
            &[]
        }
        fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
            Err(RandomError)
        }
        fn seal_key(&self, _: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
            Err(KeyError(32))
        }
        fn report(&self, _: &[u8; 512], _: &[u8; 64]) -> [u8; 432] {
            [0; 432]
        }
        fn random(&self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
        fn host_time(&self) -> HostTime {
            *self.0.lock().unwrap()
        }
        fn notify(&self, _: ThreadIndex, _: Notify) -> Notified {
            Notified::Continue
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_claim_of_the_host_moves_a_clock_back(claims in proptest::collection::vec(any::<(u64, u64)>(), 1..50)) {
            let host = Claims::new();
            let clock = Clock::new(host.clone());
            let mut last = (0, Monotonic::default());
            for (unix, monotonic) in claims {
                host.claim(unix, monotonic);
                let now = (clock.unix_ns(), clock.monotonic());
                prop_assert!(now.0 >= last.0 && now.1 >= last.1);
                prop_assert!(now.0 >= unix && now.1.as_nanos() >= monotonic);
                last = now;
            }
        }
    }

    #[test]
    fn wall_time_starts_at_the_last_sealed_time() {
        let host = Claims::new();
        let clock = Clock::new(host.clone());
        host.claim(1_000, 0);
        clock.not_before(5_000);
        assert_eq!(clock.unix_ns(), 5_000);
        host.claim(7_000, 0);
        assert_eq!(clock.unix(), Duration::from_nanos(7_000));
        clock.not_before(6_000);
        assert_eq!(clock.unix_ns(), 7_000);
    }

    #[test]
    fn moments_saturate() {
        let late = Monotonic::from_nanos(u64::MAX - 1);
        assert_eq!(late.after(Duration::from_secs(u64::MAX)), Monotonic::NEVER);
        assert_eq!(Monotonic::from_nanos(3).since(late), Duration::ZERO);
        assert_eq!(Monotonic::from_nanos(3).after(Duration::from_nanos(4)).as_nanos(), 7);
    }
}
