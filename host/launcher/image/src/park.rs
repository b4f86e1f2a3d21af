//! Where enclave threads wait for one another: the events of EDP's `wait` and `send`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The events that have come for one enclave thread and that it has not seen.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: u64,
    over: bool,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// These events came, all of the mask.
    Events(u64),
    /// The time was up.
    TimedOut,
    /// The enclave has come to its end.
    Over,
}

impl Parking {
    /// Waits for an event of `mask`. None: without end.
    pub(crate) fn wait(&self, mask: u64, timeout: Option<Duration>) -> Woken {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        loop {
            if state.over {
                return Woken::Over;
            }
            if state.pending & mask != 0 {
                let events = state.pending & mask;
                state.pending &= !mask;
                return Woken::Events(events);
            }
            state = match until {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Woken::TimedOut;
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(crate) fn send(&self, events: u64) {
        self.state().pending |= events;
        self.changed.notify_one();
    }

    /// Ends every wait, for good.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_until_somebody_waits_for_them() {
        let parking = Parking::default();
        parking.send(0b101);
        assert_eq!(parking.wait(0b010, Some(Duration::ZERO)), Woken::TimedOut);
        assert_eq!(parking.wait(0b110, None), Woken::Events(0b100));
        assert_eq!(parking.wait(0b001, None), Woken::Events(0b001));
        assert_eq!(parking.wait(!0, Some(Duration::from_millis(1))), Woken::TimedOut);
    }

    #[test]
    fn a_waiting_thread_is_woken_and_released_at_the_end() {
        let parking = Parking::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (parking.wait(4, None), parking.wait(4, None)));
            parking.send(4);
            while parking.state().pending != 0 {
                std::thread::yield_now();
            }
            parking.end();
            assert_eq!(waiting.join().unwrap(), (Woken::Events(4), Woken::Over));
        });
    }
}
