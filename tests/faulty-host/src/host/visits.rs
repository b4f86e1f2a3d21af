//! One visit of an enclave thread, and what the host lies about time and turns.

use std::time::Duration;

use enclave_platform::Notified;

use super::{Host, Stuck};
use crate::clock::Claim;
use crate::schedule::{Lie, Point};

/// Time that a thread spends inside, beside its looks at the clock.
const VISIT: Duration = Duration::from_micros(20);
/// Visits without an end of what is waited for: more is no work, but a loop.
const MOST_VISITS: u32 = 100_000;

impl Host {
    /// One thread enters and leaves again.
    pub(super) fn visit(&mut self, index: usize) -> Result<(), Stuck> {
        if let Some((lie, by)) = self.fault(Point::Visit) {
            self.lie_on_visit(index, lie, by);
        }
        if self.still > 0 {
            self.still -= 1;
            if self.still == 0 {
                self.time.claim(self.time.claims().0, Claim::Off(0));
            }
        }
        if let Some(seat) = self.seats.get_mut(index) {
            seat.has_news = false;
        }
        self.enter(index)
    }

    pub(super) fn enter(&mut self, index: usize) -> Result<(), Stuck> {
        self.time.pass(VISIT);
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return Err(Stuck::Spinning(self.visits));
        }
        if self.turns.run(index) { Ok(()) } else { Err(Stuck::Inside(index)) }
    }

    fn lie_on_visit(&mut self, index: usize, lie: Lie, by: u64) {
        let (wall, monotonic) = self.time.claims();
        let ms = i64::try_from(by).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let say = |wall, monotonic| self.time.claim(wall, monotonic);
        match lie {
            Lie::Forward => say(wall, Claim::Off(ms)),
            Lie::Back => say(wall, Claim::Off(-ms)),
            Lie::Zero => say(wall, Claim::Fixed(0)),
            Lie::Last => say(wall, Claim::Fixed(u64::MAX)),
            Lie::Still => {
                say(wall, Claim::Fixed(self.time.true_monotonic()));
                self.still = by % 1000 + 1;
            }
            Lie::WallForward => say(Claim::Off(ms.saturating_mul(1000)), monotonic),
            Lie::WallBack => say(Claim::Off(-ms.saturating_mul(1000)), monotonic),
            Lie::WallZero => say(Claim::Fixed(0), monotonic),
            Lie::WallLast => say(Claim::Fixed(u64::MAX), monotonic),
            Lie::Stop => {
                self.touch(index);
                self.turns.tell(index, Notified::Shutdown);
            }
            Lie::Starve => {
                let until = self.time.now() + by.saturating_mul(1_000_000);
                self.touch(index);
                if let Some(seat) = self.seats.get_mut(index) {
                    seat.starved_until = until;
                }
            }
            _ => self.turns.wake_all(),
        }
    }
}
