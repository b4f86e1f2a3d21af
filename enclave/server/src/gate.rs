//! Lets calls of an app in, and keeps them out while its data changes hands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

/// One per running app.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    passage: Passage,
    inside: usize,
    /// Told when the gate opens again, or the app is gone.
    outside: Vec<oneshot::Sender<()>>,
    /// Told when nobody is inside.
    empty: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Passage {
    #[default]
    Open,
    Closed,
    /// For good: another app stands in the catalog, or none.
    Retired,
}

/// A call under way. Dropped when it ends.
pub(crate) struct Inside(Gate);

/// The gate is closed, and opens when this is dropped unless it is retired.
pub(crate) struct Closed(Gate);

impl Gate {
    /// Enters, or gives what resolves when it is worth trying again.
    pub(crate) fn enter(&self) -> Result<Inside, oneshot::Receiver<()>> {
        let mut state = self.state();
        let (tell, told) = match state.passage {
            Passage::Open => {
                state.inside += 1;
                return Ok(Inside(self.clone()));
            }
            Passage::Closed | Passage::Retired => oneshot::channel(),
        };
        // Nobody will tell of a retired gate: the sender is dropped, which resolves the receiver at once.
        if state.passage == Passage::Closed {
            state.outside.push(tell);
        }
        Err(told)
    }

    /// Lets nobody in any more and waits until nobody is inside.
    pub(crate) async fn close(&self) -> Closed {
        let (tell, empty) = oneshot::channel();
        let closed = {
            let mut state = self.state();
            state.passage = Passage::Closed;
            let closed = Closed(self.clone());
            if state.inside == 0 {
                return closed;
            }
            state.empty = Some(tell);
            closed
        };
        // Resolves also when the sender is replaced: then somebody else waits, and this one no longer has to.
        let _replaced = empty.await.is_err();
        closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Closed {
    /// The app behind the gate is replaced or gone, and the catalog says so already: whoever looked the app up
    /// before must look again and not enter here.
    pub(crate) fn retire(self) {
        self.0.state().passage = Passage::Retired;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.inside -= 1;
        if state.inside == 0
            && let Some(tell) = state.empty.take()
        {
            let _gave_up = tell.send(()).is_err();
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let outside = {
            let mut state = self.0.state();
            if state.passage == Passage::Closed {
                state.passage = Passage::Open;
            }
            state.empty = None;
            std::mem::take(&mut state.outside)
        };
        for tell in outside {
            let _gave_up = tell.send(()).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn closing_waits_for_those_inside_and_keeps_others_out() {
        block_on(async {
            let gate = Gate::default();
            let (first, second) =
                (gate.enter().unwrap_or_else(|_| panic!()), gate.enter().unwrap_or_else(|_| panic!()));
            let mut closing = Box::pin(gate.close());
            assert!(poll_once(&mut closing).await.is_none());
            let mut waiting = gate.enter().err().unwrap();
            drop(first);
            assert!(poll_once(&mut closing).await.is_none());
            drop(second);
            let closed = poll_once(&mut closing).await.unwrap();
            assert!(poll_once(&mut waiting).await.is_none());
            drop(closed);
            assert!(poll_once(&mut waiting).await.is_some());
            assert!(gate.enter().is_ok());
        });
    }

    #[test]
    fn giving_up_on_closing_opens_again() {
        block_on(async {
            let gate = Gate::default();
            let inside = gate.enter().unwrap_or_else(|_| panic!());
            let mut closing = Box::pin(gate.close());
            assert!(poll_once(&mut closing).await.is_none());
            drop(closing);
            assert!(gate.enter().is_ok());
            drop(inside);
        });
    }

    #[test]
    fn nobody_enters_a_retired_gate() {
        block_on(async {
            let gate = Gate::default();
            let closed = gate.close().await;
            let mut waiting = gate.enter().err().unwrap();
            assert!(poll_once(&mut waiting).await.is_none());
            closed.retire();
            assert!(poll_once(&mut waiting).await.is_some(), "it may look again");
            let mut late = gate.enter().err().unwrap();
            assert!(poll_once(&mut late).await.is_some());
        });
    }
}
