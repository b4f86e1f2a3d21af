//! What the host does wrong, and when: a value that is drawn from a seed, printed, read back and made smaller.

use std::fmt;
use std::str::FromStr;

use crate::rng::Rng;

/// All lies of one run. The seed also decides what clients do and in which order threads run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Everything but the faults.
    pub seed: u64,
    /// In no particular order.
    pub faults: Vec<Fault>,
}

/// One lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// At what kind of event.
    pub point: Point,
    /// At which of them, from 0.
    pub nth: u32,
    /// What is done.
    pub lie: Lie,
    /// How much of it: what this means is the lie's own.
    pub by: u64,
}

/// Gives an enum its names, in one place.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$what])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// As printed and read.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<$name, String> {
                let found = $name::ALL.iter().find(|one| one.word() == word);
                found.copied().ok_or_else(|| format!("{word:?} is no {}", stringify!($name)))
            }
        }
    };
}

named! {
    /// What is counted.
    Point {
        /// The enclave asks for one record.
        Get = "get",
        /// The enclave asks for a page of records.
        Scan = "scan",
        /// The enclave has a batch written.
        Batch = "batch",
        /// The enclave asks the quoting service for something.
        Quote = "quote",
        /// The enclave has a line logged.
        Log = "log",
        /// Bytes of a client on their way in.
        Inward = "inward",
        /// Bytes for a client on their way out.
        Outward = "outward",
        /// A client connects.
        Accept = "accept",
        /// The enclave connects to somebody.
        Dial = "dial",
        /// An enclave thread is outside.
        Visit = "visit",
        /// The enclave starts again.
        Restart = "restart",
    }
}

named! {
    /// What is done.
    Lie {
        /// No answer, ever.
        Silent = "silent",
        /// The answer, or the bytes, `by` milliseconds later.
        Late = "late",
        /// The same once more.
        Twice = "twice",
        /// Behind what comes next.
        Held = "held",
        /// An answer to a request that nobody made.
        Nobody = "nobody",
        /// A failure with code `by`.
        Fail = "fail",
        /// A first part, without an end.
        Unfinished = "unfinished",
        /// Parts without an end, until the enclave has had enough.
        Endless = "endless",
        /// Bytes that are no answer.
        Garbage = "garbage",
        /// The answer to another question.
        WrongKind = "wrong-kind",
        /// There is no such record.
        Missing = "missing",
        /// As it was `by` batches ago.
        Stale = "stale",
        /// Another record.
        Other = "other",
        /// With bit `by` the other way round.
        Flipped = "flipped",
        /// Without its last `by` bytes.
        Cut = "cut",
        /// With `by` bytes more.
        Longer = "longer",
        /// A page without its record number `by`.
        Skip = "skip",
        /// A page with a record twice.
        Repeat = "repeat",
        /// A page with an invented record.
        Foreign = "foreign",
        /// A page that is said to be the last.
        Short = "short",
        /// A page with nothing and the promise of more.
        Stuck = "stuck",
        /// A store with nothing in it.
        Empty = "empty",
        /// The first `by` changes are made, and all said to be.
        Torn = "torn",
        /// The first `by` changes are made, and none said to be.
        TornFailed = "torn-failed",
        /// Nothing is changed, and said to be.
        Ignored = "ignored",
        /// All is changed, and said not to be.
        Denied = "denied",
        /// All is changed, and nothing said.
        Unsaid = "unsaid",
        /// No room from here on, for `by` batches.
        Full = "full",
        /// No batch from here on can be written, for `by` batches.
        ReadOnly = "read-only",
        /// The bytes are lost.
        Lost = "lost",
        /// The connection breaks after `by` of these bytes.
        Reset = "reset",
        /// The other side is said to send no more.
        Eof = "eof",
        /// More bytes than there is credit for.
        Beyond = "beyond",
        /// Credit for what was never sent.
        Credit = "credit",
        /// A frame for a connection that never was.
        Unknown = "unknown",
        /// A new connection under an old number.
        Reused = "reused",
        /// `by` connections that the enclave did not ask for.
        Uninvited = "uninvited",
        /// A message that is no frame.
        NoFrame = "no-frame",
        /// The enclave is to take no more connections.
        Drain = "drain",
        /// A peer that sends garbage.
        Babble = "babble",
        /// The monotonic clock says `by` milliseconds more.
        Forward = "forward",
        /// The monotonic clock says `by` milliseconds less.
        Back = "back",
        /// The monotonic clock says 0.
        Zero = "zero",
        /// The monotonic clock says its last moment.
        Last = "last",
        /// The monotonic clock stands still for `by` visits.
        Still = "still",
        /// The wall clock says `by` seconds more.
        WallForward = "wall-forward",
        /// The wall clock says `by` seconds less.
        WallBack = "wall-back",
        /// The wall clock says 1970.
        WallZero = "wall-zero",
        /// The wall clock says its last moment.
        WallLast = "wall-last",
        /// This thread does not run for `by` milliseconds.
        Starve = "starve",
        /// This thread is told that the host stops.
        Stop = "stop",
        /// Every thread is woken for nothing.
        Wake = "wake",
        /// Some records are as they were before; `by` says which.
        RolledBack = "rolled-back",
        /// Records were exchanged.
        Swapped = "swapped",
    }
}

impl Point {
    /// What can be done there.
    pub const fn lies(self) -> &'static [Lie] {
        use Lie::*;
        match self {
            Point::Get => &[
                Silent, Late, Twice, Held, Nobody, Fail, Unfinished, Endless, Garbage, WrongKind, Missing,
                Stale, Other, Flipped, Cut, Longer,
            ],
            Point::Scan => &[
                Silent, Late, Twice, Fail, Unfinished, Garbage, WrongKind, Stale, Flipped, Skip, Repeat,
                Foreign, Short, Stuck, Empty,
            ],
            Point::Batch => &[
                Silent, Late, Twice, Held, Nobody, Fail, Garbage, WrongKind, Torn, TornFailed, Ignored,
                Denied, Unsaid, Full, ReadOnly,
            ],
            Point::Quote | Point::Log => {
                &[Silent, Late, Twice, Held, Nobody, Fail, Unfinished, Endless, Garbage, WrongKind]
            }
            Point::Inward => &[
                Late, Twice, Held, Flipped, Cut, Longer, Lost, Reset, Eof, Beyond, Credit, Unknown, NoFrame,
                Drain,
            ],
            Point::Outward => &[Late, Twice, Held, Flipped, Cut, Longer, Lost, Reset, Eof],
            Point::Accept => &[Reused, Uninvited, Reset, Eof, Babble, Twice],
            Point::Dial => &[Silent, Late, Fail, Twice, Reset, Eof, Babble],
            Point::Visit => &[
                Forward,
                Back,
                Zero,
                Last,
                Still,
                WallForward,
                WallBack,
                WallZero,
                WallLast,
                Starve,
                Stop,
                Wake,
            ],
            Point::Restart => &[RolledBack, Swapped],
        }
    }

    /// About how often it comes in a run: lies behind that are never told.
    const fn often(self) -> usize {
        match self {
            Point::Restart => 2,
            Point::Dial => 3,
            Point::Scan | Point::Quote => 6,
            Point::Accept => 8,
            Point::Batch | Point::Log => 16,
            Point::Get => 40,
            Point::Inward | Point::Outward => 60,
            Point::Visit => 400,
        }
    }
}

impl Lie {
    /// Whether what lies on the disk is then another store than the enclave wrote: that it refuses for good.
    pub const fn may_ruin_the_store(self) -> bool {
        use Lie::*;
        matches!(self, Torn | TornFailed | Ignored | Stale | Empty | Missing)
    }
}

impl Schedule {
    /// The schedule of `seed`.
    pub fn of(seed: u64) -> Schedule {
        let mut rng = Rng::new(seed ^ 0xfa17);
        let count = 1 + rng.below(6);
        Schedule { seed, faults: (0..count).map(|_| Fault::draw(&mut rng)).collect() }
    }

    /// One with the same run and no lies.
    pub fn honest(seed: u64) -> Schedule {
        Schedule { seed, faults: Vec::new() }
    }

    /// The smallest part of it, as far as leaving out goes, that still fails by `fails`.
    pub fn shrink(self, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
        let mut best = self;
        let mut at = 0;
        while at < best.faults.len() {
            let mut smaller = best.clone();
            smaller.faults.remove(at);
            if fails(&smaller) {
                best = smaller;
                at = 0;
            } else {
                at += 1;
            }
        }
        best
    }
}

impl Fault {
    fn draw(rng: &mut Rng) -> Fault {
        let point = *rng.pick(Point::ALL);
        // Early events are more likely to come, and more happens in them.
        let early = 1 + rng.below(point.often());
        let nth = rng.below(early) as u32;
        let lie = *rng.pick(point.lies());
        let by = match rng.below(3) {
            0 => rng.below(4) as u64,
            1 => rng.below(300) as u64,
            _ => rng.below(100_000) as u64,
        };
        Fault { point, nth, lie, by }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.point.word(), self.nth, self.lie.word(), self.by)
    }
}

/// `seed: point nth lie by, point nth lie by …`; `seed` alone is read as what is drawn from it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seed)?;
        for (index, fault) in self.faults.iter().enumerate() {
            write!(f, "{} {fault}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
        let Some((seed, faults)) = text.split_once(':') else { return Ok(Schedule::of(number(text)?)) };
        let fault = |text: &str| {
            let [point, nth, lie, by] = text.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(format!("{text:?}: a fault is four words: point, number, lie, how much"));
            };
            let nth = u32::try_from(number(nth)?).map_err(|error| error.to_string())?;
            let (point, lie): (Point, Lie) = (point.parse()?, lie.parse()?);
            if !point.lies().contains(&lie) {
                return Err(format!("{} is no lie for {}", lie.word(), point.word()));
            }
            Ok(Fault { point, nth, lie, by: number(by)? })
        };
        let faults = faults.split(',').filter(|fault| !fault.trim().is_empty()).map(fault);
        Ok(Schedule { seed: number(seed)?, faults: faults.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_back() {
        for seed in 0..500 {
            let schedule = Schedule::of(seed);
            assert!(!schedule.faults.is_empty());
            assert_eq!(schedule.to_string().parse(), Ok(schedule.clone()), "{schedule}");
            assert_eq!(Schedule::of(seed), schedule);
        }
        assert_eq!("7:".parse(), Ok(Schedule::honest(7)));
        assert_eq!("7".parse(), Ok(Schedule::of(7)));
        for bad in ["", "x:", "7: get", "7: get 0 torn 0", "7: get x stale 0", "7: get 0 stale"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_lie_is_told_somewhere() {
        for lie in Lie::ALL {
            assert!(Point::ALL.iter().any(|point| point.lies().contains(lie)), "{}", lie.word());
        }
    }

    #[test]
    fn shrinking_leaves_what_is_needed() {
        let schedule = Schedule { seed: 1, faults: (0..40).map(|n| Fault::draw(&mut Rng::new(n))).collect() };
        let (a, b) = (schedule.faults[7], schedule.faults[31]);
        let fails = |s: &Schedule| s.faults.contains(&a) && s.faults.contains(&b);
        assert_eq!(schedule.clone().shrink(fails).faults, [a, b]);
    }
}
