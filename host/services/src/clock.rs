//! The two clocks that the enclave is told. It takes both as claims.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks, read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Nanoseconds since some moment before this process started.
    pub monotonic_ns: u64,
}

/// Now, on both clocks.
pub fn now() -> Time {
    Time { unix_ns: nanos(clock_gettime(ClockId::Realtime)), monotonic_ns: monotonic_ns() }
}

/// Now, on the monotonic clock alone.
pub fn monotonic_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Zero for a moment before the epoch, the latest moment for one that does not fit.
fn nanos(at: Timespec) -> u64 {
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(at.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run() {
        let first = now();
        let second = now();
        assert!(second.monotonic_ns >= first.monotonic_ns && first.monotonic_ns > 0);
        assert!(first.unix_ns > 1_700_000_000_000_000_000, "after 2023");
    }
}
