//! Who gives way when there is no place for another connection?
//!
//! A worker has a bounded number of connections. A client that opens them and says nothing must not keep others
//! out: when all places are taken, whoever has been silent longest gives up its own, first of those that have
//! not finished their handshake, then of those between two requests. Whoever is being served stays; what bounds
//! that are the times in [`limits`](crate::limits).

use std::collections::{BTreeMap, BTreeSet};
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use enclave_platform::clock::Monotonic;
use enclave_worker::Handle;
use futures_lite::future;

use crate::limits;

/// The places of one worker. Its tasks alone use them, so the lock is never waited for.
pub(crate) struct Places {
    state: Arc<Mutex<State>>,
    handle: Handle,
}

/// The place of one connection. Given back when dropped.
pub(crate) struct Place {
    state: Arc<Mutex<State>>,
    handle: Handle,
    id: u64,
}

/// Until dropped, the connection is being served and keeps its place.
pub(crate) struct Serving(Arc<Place>);

#[derive(Default)]
struct State {
    most: usize,
    next: u64,
    taken: BTreeMap<u64, Occupant>,
    /// Those who could give way, longest silent first.
    arriving: BTreeSet<(Monotonic, u64)>,
    silent: BTreeSet<(Monotonic, u64)>,
    /// Those who were asked to leave and have not left yet.
    leaving: usize,
    /// Counts what may let somebody in who waits.
    changes: u64,
    newcomer: Option<Waker>,
}

struct Occupant {
    has_arrived: bool,
    /// Since when it has been silent, if it is not being served.
    since: Monotonic,
    served: u32,
    asked_to_leave: bool,
    waker: Option<Waker>,
}

/// All places are taken. Somebody may have to give way at the moment given, if nothing changes before.
#[derive(Debug, PartialEq, Eq)]
struct Full {
    until: Option<Monotonic>,
    changes: u64,
}

impl Places {
    /// The places that `handle`'s worker has for those who connect.
    pub(crate) fn new(handle: Handle) -> Places {
        let all = handle.most_connections();
        let most = (all - all / limits::DIALED_PART).max(1);
        Places { state: Arc::new(Mutex::new(State { most, ..State::default() })), handle }
    }

    /// A place for one more connection, as soon as there is one.
    pub(crate) async fn take(&self) -> Place {
        loop {
            let now = self.handle.monotonic();
            let (result, asked) = {
                let mut state = lock(&self.state);
                state.take(now)
            };
            if let Some(waker) = asked {
                waker.wake();
            }
            let full = match result {
                Ok(id) => return Place { state: self.state.clone(), handle: self.handle.clone(), id },
                Err(full) => full,
            };
            let changed = poll_fn(|cx| lock(&self.state).poll_changed(full.changes, cx));
            let due = async {
                match full.until {
                    Some(until) => self.handle.deadline(until).await,
                    None => pending().await,
                }
            };
            future::or(changed, due).await;
        }
    }
}

impl Place {
    /// The handshake is done.
    pub(crate) fn has_arrived(&self) {
        let now = self.handle.monotonic();
        lock(&self.state).change(self.id, |occupant| {
            occupant.has_arrived = true;
            occupant.since = now;
        });
    }

    /// Something is being done for the connection: it keeps its place.
    pub(crate) fn serve(self: &Arc<Self>) -> Serving {
        lock(&self.state).change(self.id, |occupant| occupant.served = occupant.served.saturating_add(1));
        Serving(self.clone())
    }

    /// Resolves when it has to give way.
    pub(crate) async fn asked_to_leave(&self) {
        poll_fn(|cx| self.poll_asked_to_leave(cx)).await;
    }

    /// See [`Place::asked_to_leave`]. One task waits at a time.
    pub(crate) fn poll_asked_to_leave(&self, cx: &Context<'_>) -> Poll<()> {
        match lock(&self.state).taken.get_mut(&self.id) {
            Some(occupant) if !occupant.asked_to_leave => {
                occupant.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let newcomer = lock(&self.state).leave(self.id);
        if let Some(waker) = newcomer {
            waker.wake();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let now = self.0.handle.monotonic();
        let newcomer = {
            let mut state = lock(&self.0.state);
            state.change(self.0.id, |occupant| {
                occupant.served = occupant.served.saturating_sub(1);
                occupant.since = now;
            });
            state.changed()
        };
        if let Some(waker) = newcomer {
            waker.wake();
        }
    }
}

impl State {
    /// A new occupant's number. If there is no place: who was told to give way is to be woken.
    fn take(&mut self, now: Monotonic) -> (Result<u64, Full>, Option<Waker>) {
        if self.taken.len() < self.most {
            let id = self.next;
            self.next = id.wrapping_add(1);
            let occupant =
                Occupant { has_arrived: false, since: now, served: 0, asked_to_leave: false, waker: None };
            self.taken.insert(id, occupant);
            self.arriving.insert((now, id));
            return (Ok(id), None);
        }
        let full = |state: &State, until| (Err(Full { until, changes: state.changes }), None);
        if self.leaving > 0 {
            return full(self, None);
        }
        let longest = [(&self.arriving, limits::ARRIVING_PATIENCE), (&self.silent, limits::SILENT_PATIENCE)];
        let longest =
            longest.map(|(order, patience)| order.first().map(|(since, id)| (since.after(patience), *id)));
        let mut due = longest.iter().flatten().filter(|(at, _)| *at <= now);
        let Some(&(_, id)) = due.next() else {
            return full(self, longest.iter().flatten().map(|(at, _)| *at).min());
        };
        let mut waker = None;
        self.change(id, |occupant| {
            occupant.asked_to_leave = true;
            waker = occupant.waker.take();
        });
        self.leaving += 1;
        let (full, _) = full(self, None);
        (full, waker)
    }

    /// Changes one occupant; the orders of silence follow.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Occupant)) {
        let Some(occupant) = self.taken.get_mut(&id) else { return };
        let before = (occupant.since, id);
        self.arriving.remove(&before);
        self.silent.remove(&before);
        change(occupant);
        if occupant.served == 0 && !occupant.asked_to_leave {
            let order = if occupant.has_arrived { &mut self.silent } else { &mut self.arriving };
            order.insert((occupant.since, id));
        }
    }

    fn leave(&mut self, id: u64) -> Option<Waker> {
        let occupant = self.taken.remove(&id)?;
        self.arriving.remove(&(occupant.since, id));
        self.silent.remove(&(occupant.since, id));
        if occupant.asked_to_leave {
            self.leaving = self.leaving.saturating_sub(1);
        }
        self.changed()
    }

    fn changed(&mut self) -> Option<Waker> {
        self.changes = self.changes.wrapping_add(1);
        self.newcomer.take()
    }

    fn poll_changed(&mut self, seen: u64, cx: &Context<'_>) -> Poll<()> {
        if self.changes != seen {
            return Poll::Ready(());
        }
        self.newcomer = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_nanos(ms * 1_000_000)
    }

    fn with(most: usize) -> State {
        State { most, ..State::default() }
    }

    fn take(state: &mut State, ms: u64) -> Result<u64, Option<Monotonic>> {
        state.take(at(ms)).0.map_err(|full| full.until)
    }

    fn was_asked(state: &State, id: u64) -> bool {
        state.taken[&id].asked_to_leave
    }

    #[test]
    fn who_says_nothing_gives_way_longest_silent_first() {
        let mut state = with(3);
        let ids = [0, 10, 20].map(|ms| take(&mut state, ms).unwrap());
        // Nobody has been silent for long enough yet.
        assert_eq!(take(&mut state, 500), Err(Some(at(1000))));
        assert_eq!(take(&mut state, 1000), Err(None));
        assert!(was_asked(&state, ids[0]) && !was_asked(&state, ids[1]));
        // One gives way for one.
        assert_eq!(take(&mut state, 5000), Err(None));
        assert!(!was_asked(&state, ids[1]));
        state.leave(ids[0]);
        let fourth = take(&mut state, 5000).unwrap();
        assert_eq!(take(&mut state, 5000), Err(None));
        assert!(was_asked(&state, ids[1]) && !was_asked(&state, fourth));
    }

    #[test]
    fn unfinished_handshakes_go_first_and_who_is_served_stays() {
        let mut state = with(3);
        let ids = [0, 1, 2].map(|ms| take(&mut state, ms).unwrap());
        state.change(ids[0], |occupant| occupant.has_arrived = true);
        state.change(ids[1], |occupant| occupant.served = 1);
        assert_eq!(take(&mut state, 60_000), Err(None));
        assert!(was_asked(&state, ids[2]), "it has not even arrived");
        state.leave(ids[2]);
        let third = take(&mut state, 60_000).unwrap();
        state.change(third, |occupant| occupant.served = 1);
        assert_eq!(take(&mut state, 60_000), Err(None));
        assert!(was_asked(&state, ids[0]));
        state.leave(ids[0]);
        let fourth = take(&mut state, 60_000).unwrap();
        state.change(fourth, |occupant| occupant.served = 1);
        // All are served: whoever ends first makes room, or becomes silent.
        assert_eq!(take(&mut state, 90_000), Err(None));
        state.change(fourth, |occupant| (occupant.served, occupant.has_arrived) = (0, true));
        assert_eq!(take(&mut state, 90_000), Err(None));
        assert!(was_asked(&state, fourth));
    }

    #[test]
    fn who_waits_is_woken_by_whatever_may_make_room() {
        let mut state = with(1);
        let id = take(&mut state, 0).unwrap();
        let (Err(full), _) = state.take(at(1)) else { panic!() };
        let cx = Context::from_waker(Waker::noop());
        assert!(state.poll_changed(full.changes, &cx).is_pending());
        assert!(state.leave(id).is_some());
        assert!(state.poll_changed(full.changes, &cx).is_ready());
        assert!(state.taken.is_empty() && state.arriving.is_empty() && state.silent.is_empty());
        assert_eq!(state.leaving, 0);
    }
}
