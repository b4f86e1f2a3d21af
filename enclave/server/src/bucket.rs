//! How often may something be done?

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use enclave_platform::clock::Monotonic;

/// A token bucket: `burst` at once, then one per `interval`.
///
/// Kept as one moment, at which the bucket will be full again (the "generic cell rate algorithm", ITU-T I.371).
/// The clock is the host's; a host that lets it run ahead takes the limit away and harms itself alone.
#[derive(Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    /// How far ahead of now the bucket may be full again for one more to be taken.
    slack: Duration,
    full_at: Mutex<Monotonic>,
}

impl Bucket {
    /// Full at first.
    pub(crate) fn new(interval: Duration, burst: u32) -> Bucket {
        let slack = interval.saturating_mul(burst.saturating_sub(1));
        Bucket { interval, slack, full_at: Mutex::new(Monotonic::default()) }
    }

    /// Takes one. `false`: there is none at the moment.
    pub(crate) fn take(&self, now: Monotonic) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.since(now) > self.slack {
            return false;
        }
        *full_at = (*full_at).max(now).after(self.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let bucket = Bucket::new(Duration::from_millis(10), 3);
        let taken = |ms| bucket.take(at(ms));
        assert_eq!([taken(5), taken(5), taken(5), taken(5)], [true, true, true, false]);
        assert!(!taken(14));
        assert_eq!([taken(15), taken(15)], [true, false]);
        assert_eq!([taken(24), taken(25)], [false, true]);
        // It holds no more than a burst, however long nobody came.
        assert_eq!([1000; 4].map(taken), [true, true, true, false]);
    }

    #[test]
    fn the_end_of_time_is_no_trouble() {
        let bucket = Bucket::new(Duration::MAX, 2);
        assert!(bucket.take(Monotonic::NEVER));
        let bucket = Bucket::new(Duration::from_secs(1), 0);
        assert!(bucket.take(at(0)) && !bucket.take(at(0)), "one at least");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(burst in 1u32..20, interval in 1u64..50, gaps in prop::collection::vec(0u64..60, 1..200)) {
            let bucket = Bucket::new(Duration::from_millis(interval), burst);
            let (mut now, mut taken) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if bucket.take(at(now)) {
                    taken.push(now);
                }
            }
            for (from, first) in taken.iter().enumerate() {
                for (count, last) in (1u64..).zip(&taken[from..]) {
                    prop_assert!(count <= u64::from(burst) + (last - first) / interval);
                }
            }
        }
    }
}
