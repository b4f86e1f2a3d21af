//! Exits of an enclave, counted by kind where they arrive. For diagnosis: the host counts for itself.

use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why an enclave thread left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// It asked for the start block.
    Start,
    /// `notify`: it is the host's turn, and the thread goes on at once.
    Poll,
    /// `notify`: nothing is ready.
    Wait,
    /// `notify`: another thread is to come back.
    Wake,
    /// It asked for EMODPR.
    Restrict,
    /// It said that it gave up.
    Failed,
    /// std: memory outside.
    Alloc,
    /// std: memory outside, given back.
    Free,
    /// std: input. There is none.
    Read,
    /// std: text for the log.
    Write,
    /// std: a thread.
    Launch,
    /// std: a lock or a join that has to wait.
    Park,
    /// std: somebody who waits is to go on.
    Unpark,
    /// std: the time.
    Time,
    /// std: the end of the program.
    Exit,
    /// The thread has ended.
    Return,
    /// Anything else: refused.
    Refused,
}

const NAMES: [&str; 17] = [
    "start", "poll", "wait", "wake", "restrict", "failed", "alloc", "free", "read", "write", "launch",
    "park", "unpark", "time", "exit", "return", "refused",
];

/// The counters of one enclave thread, which nobody else writes.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    pub(crate) fn count(&self, kind: Kind) {
        let counter = &self.0[kind as usize];
        // One writer at a time, so no read-modify-write is needed.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Exits {
        Exits(std::array::from_fn(|kind| self.0[kind].load(Ordering::Relaxed)))
    }
}

/// How many exits there were, by [`Kind`]. Shown as `wait 12, poll 3`, without the kinds that did not occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits([u64; NAMES.len()]);

impl Exits {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for Exits {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in NAMES.iter().zip(self.0).filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_counted_by_kind_and_summed() {
        let (one, other) = (Counters::default(), Counters::default());
        assert_eq!(one.read().to_string(), "none");
        one.count(Kind::Wait);
        one.count(Kind::Wait);
        other.count(Kind::Refused);
        let mut sum = one.read();
        sum += other.read();
        assert_eq!((sum.of(Kind::Wait), sum.of(Kind::Refused), sum.total()), (2, 1, 3));
        assert_eq!(sum.to_string(), "wait 2, refused 1");
    }
}
