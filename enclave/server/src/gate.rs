//! Lets calls of an app in, and keeps them out while its data changes hands.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use futures_lite::future;

/// One per running app.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    passage: Passage,
    /// Who is inside; each is told once when it has to leave.
    inside: BTreeMap<u64, Option<oneshot::Sender<()>>>,
    next: u64,
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
pub(crate) struct Inside {
    gate: Gate,
    id: u64,
    leave: oneshot::Receiver<()>,
}

/// The call was ended because its app is being replaced or unloaded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// The gate is closed, and opens when this is dropped unless it is retired.
pub(crate) struct Closed(Gate);

impl Gate {
    /// Enters, or gives what resolves when it is worth trying again.
    pub(crate) fn enter(&self) -> Result<Inside, oneshot::Receiver<()>> {
        let mut state = self.state();
        let (tell, told) = match state.passage {
            Passage::Open => {
                let (tell, leave) = oneshot::channel();
                let id = state.next;
                state.next = id.wrapping_add(1);
                state.inside.insert(id, Some(tell));
                return Ok(Inside { gate: self.clone(), id, leave });
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
            if state.inside.is_empty() {
                return closed;
            }
            state.empty = Some(tell);
            closed
        };
        // Resolves also when the sender is replaced: then somebody else waits, and this one no longer has to.
        let _replaced = empty.await.is_err();
        closed
    }

    /// Closes, and ends the calls inside when `patience` is over. `None`: one is inside even at the `end`.
    pub(crate) async fn clear(
        &self,
        patience: impl Future<Output = ()>,
        end: impl Future<Output = ()>,
    ) -> Option<Closed> {
        let mut closing = pin!(self.close());
        let patient = future::or(async { Some(closing.as_mut().await) }, async {
            patience.await;
            None
        });
        if let Some(closed) = patient.await {
            return Some(closed);
        }
        self.cancel();
        future::or(async { Some(closing.await) }, async {
            end.await;
            None
        })
        .await
    }

    /// Ends the calls inside.
    fn cancel(&self) {
        let told: Vec<_> = self.state().inside.values_mut().filter_map(Option::take).collect();
        for tell in told {
            let _left = tell.send(()).is_err();
        }
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

impl Inside {
    /// The result of `call`, or that it was dropped because it had to leave.
    pub(crate) async fn run<T>(mut self, call: impl Future<Output = T>) -> Result<T, Cancelled> {
        let cancelled = async {
            let _told = (&mut self.leave).await;
            Err(Cancelled)
        };
        future::or(async { Ok(call.await) }, cancelled).await
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.inside.remove(&self.id);
        if state.inside.is_empty()
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
    fn calls_that_do_not_end_are_ended() {
        block_on(async {
            let gate = Gate::default();
            let inside = gate.enter().unwrap_or_else(|_| panic!());
            let mut call = Box::pin(inside.run(future::pending::<()>()));
            assert!(poll_once(&mut call).await.is_none());
            let (over, patience) = oneshot::channel::<()>();
            let mut clearing =
                Box::pin(gate.clear(async { assert!(patience.await.is_err()) }, future::pending()));
            assert!(poll_once(&mut clearing).await.is_none());
            assert!(poll_once(&mut call).await.is_none(), "it has time to end");
            drop(over);
            assert!(poll_once(&mut clearing).await.is_none());
            assert_eq!(poll_once(&mut call).await, Some(Err(Cancelled)));
            drop(call);
            assert!(poll_once(&mut clearing).await.unwrap().is_some());
        });
    }

    #[test]
    fn a_call_that_cannot_be_ended_keeps_its_app() {
        block_on(async {
            let gate = Gate::default();
            let inside = gate.enter().unwrap_or_else(|_| panic!());
            assert!(gate.clear(async {}, async {}).await.is_none());
            assert!(gate.enter().is_ok(), "the gate is open again");
            drop(inside);
            assert!(gate.clear(async {}, async {}).await.is_some());
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
