//! The calls of one app: so many run at a time, so many more wait for a place, and one more is shed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by all workers.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Mutex<State>>);

struct State {
    /// Calls that may run at a time, and wait.
    most: (u32, u32),
    running: u32,
    /// Oldest first.
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Have a place that they do not know of yet.
    called: BTreeSet<u64>,
    came: u64,
}

/// The app's places and its queue are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{running} calls of this app are running and {waiting} wait for them to end: try again later")]
pub(crate) struct Full {
    running: u32,
    waiting: u32,
}

/// One of those that run, until its last clone is dropped.
#[derive(Clone)]
pub(crate) struct Slot(#[expect(dead_code, reason = "held to be dropped")] Arc<Running>);

struct Running(Queue);

/// A way to a place. Given up when dropped.
pub(crate) struct Waiting {
    queue: Queue,
    number: Option<u64>,
}

impl Queue {
    pub(crate) fn new(running: u32, waiting: u32) -> Queue {
        Queue(Arc::new(Mutex::new(State {
            most: (running, waiting),
            running: 0,
            waiting: BTreeMap::new(),
            called: BTreeSet::new(),
            came: 0,
        })))
    }

    /// Calls that have a place.
    pub(crate) fn running(&self) -> u32 {
        self.state().running
    }

    /// Joins the queue, behind everybody in it.
    pub(crate) fn join(&self) -> Result<Waiting, Full> {
        let mut state = self.state();
        let number = state.came;
        state.came += 1;
        if state.running < state.most.0 && state.waiting.is_empty() {
            state.running += 1;
            state.called.insert(number);
        } else {
            let waiting = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
            if waiting >= state.most.1 {
                return Err(Full { running: state.running, waiting });
            }
            state.waiting.insert(number, None);
        }
        Ok(Waiting { queue: self.clone(), number: Some(number) })
    }

    /// A place is free: it is that of whoever has waited longest.
    fn leave(&self) {
        let mut state = self.state();
        let Some((number, waker)) = state.waiting.pop_first() else {
            state.running = state.running.saturating_sub(1);
            return;
        };
        state.called.insert(number);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The place, when it is there.
    pub(crate) async fn slot(mut self) -> Slot {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Slot> {
        let Some(number) = self.number else { return Poll::Pending };
        let mut state = self.queue.state();
        if state.called.remove(&number) {
            drop(state);
            self.number = None;
            return Poll::Ready(Slot(Arc::new(Running(self.queue.clone()))));
        }
        if let Some(waker) = state.waiting.get_mut(&number) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let called = {
            let mut state = self.queue.state();
            state.waiting.remove(&number);
            state.called.remove(&number)
        };
        if called {
            self.queue.leave();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};
    use proptest::prelude::*;

    use super::*;

    fn now(waiting: Waiting) -> Option<Slot> {
        block_on(poll_once(waiting.slot()))
    }

    #[test]
    fn whoever_came_first_is_next_and_the_queue_is_bounded() {
        let queue = Queue::new(1, 2);
        let running = now(queue.join().unwrap()).unwrap();
        let mut first = Box::pin(queue.join().unwrap().slot());
        let mut second = Box::pin(queue.join().unwrap().slot());
        assert_eq!(queue.join().err(), Some(Full { running: 1, waiting: 2 }));
        assert!(block_on(poll_once(&mut second)).is_none() && block_on(poll_once(&mut first)).is_none());
        drop(running);
        assert!(block_on(poll_once(&mut second)).is_none(), "the first has not even looked yet");
        let third = queue.join().unwrap();
        let running = block_on(poll_once(&mut first)).unwrap();
        assert_eq!(queue.running(), 1);
        drop(running);
        assert!(block_on(poll_once(&mut second)).is_some());
        assert!(now(third).is_some());
        assert_eq!(queue.running(), 0);
    }

    #[test]
    fn who_leaves_gives_the_place_to_the_next() {
        let queue = Queue::new(1, 4);
        let running = now(queue.join().unwrap()).unwrap();
        let (first, second, third) = (queue.join().unwrap(), queue.join().unwrap(), queue.join().unwrap());
        drop(second);
        drop(running);
        // Called, and gone before it looked.
        drop(first);
        let slot = now(third).unwrap();
        assert_eq!(queue.running(), 1);
        let clone = slot.clone();
        drop(slot);
        assert_eq!(queue.running(), 1, "until the last clone is dropped");
        drop(clone);
        assert_eq!(queue.running(), 0);
    }

    proptest! {
        /// However calls come, run, leave and give up: never more run than may, places are not lost, and whoever
        /// waits while there is a place has it.
        #[test]
        fn places_are_neither_lost_nor_made(steps in prop::collection::vec((0..3u8, 0..16usize), 0..120)) {
            let queue = Queue::new(3, 5);
            let (mut waiting, mut running) = (Vec::new(), Vec::new());
            for (step, which) in steps {
                match step {
                    0 => match queue.join() {
                        Ok(place) => waiting.push(Box::pin(place.slot())),
                        Err(full) => prop_assert_eq!(full, Full { running: 3, waiting: 5 }),
                    },
                    1 if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
                    2 if !running.is_empty() => { running.swap_remove(which % running.len()); }
                    _ => {}
                }
                waiting.retain_mut(|place| match block_on(poll_once(place)) {
                    Some(slot) => { running.push(slot); false }
                    None => true,
                });
                prop_assert!(running.len() <= 3 && waiting.len() <= 5);
                prop_assert!(waiting.is_empty() || running.len() == 3);
                prop_assert_eq!(queue.running() as usize, running.len());
            }
            drop((waiting, running));
            prop_assert_eq!(queue.running(), 0);
        }
    }
}
