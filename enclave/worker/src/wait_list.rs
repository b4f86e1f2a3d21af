//! Tasks that wait for the same thing, oldest first, each at most once.

use std::collections::BTreeMap;
use std::task::{Context, Waker};

/// A place in a [`WaitList`], kept by the future that waits.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<u64>);

#[derive(Debug, Default)]
pub(crate) struct WaitList {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl WaitList {
    /// Waits, or goes on waiting, at `place`.
    pub(crate) fn wait(&mut self, place: &mut Place, cx: &Context<'_>) {
        let number = *place.0.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        match self.waiting.get_mut(&number) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                self.waiting.insert(number, cx.waker().clone());
            }
        }
    }

    /// Gives up `place`. Returns whether its waker had already been taken: whoever leaves after that without
    /// using what it was woken for should wake the next one.
    pub(crate) fn leave(&mut self, place: &mut Place) -> bool {
        place.0.take().is_some_and(|number| self.waiting.remove(&number).is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the waker of the one that has waited longest.
    pub(crate) fn take_first(&mut self) -> Option<Waker> {
        self.waiting.pop_first().map(|(_, waker)| waker)
    }

    /// Takes all wakers. To be woken after the lock that guards the list is released.
    pub(crate) fn take_all(&mut self, out: &mut Vec<Waker>) {
        out.extend(std::mem::take(&mut self.waiting).into_values());
    }
}
