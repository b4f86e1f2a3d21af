//! The place that a call takes: among the calls of its app, and among those who want its worker's time.

use std::task::{Context, Poll};

use enclave_wasm_platform::CallWatch;
use enclave_worker::{Account, Handle, Turn, WHOLE_TURN};

use crate::queue::Slot;

/// The place of one call, until what it used is clean again.
#[derive(Default)]
pub(crate) struct Place {
    on: Option<OnWorker>,
}

struct OnWorker {
    handle: Handle,
    turn: Turn,
    /// One of those that the app may have at a time.
    _slot: Slot,
}

impl Place {
    pub(crate) fn new(handle: &Handle, account: &Account, slot: Slot) -> Place {
        let turn = handle.turn(account);
        Place { on: Some(OnWorker { handle: handle.clone(), turn, _slot: slot }) }
    }

    pub(crate) fn take(&mut self) -> Place {
        std::mem::take(self)
    }

    /// Ready when it is this call's turn.
    pub(crate) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.on.as_mut().map_or(Poll::Ready(()), |on| on.turn.poll(cx))
    }

    /// It was so much of a whole turn.
    pub(crate) fn turn_over(&mut self, units: u32) {
        if let Some(on) = &mut self.on {
            on.turn.over(units);
        }
    }
}

/// A call's place and what it may leave in memory. When this is dropped the call has ended, in whatever way; the
/// place is free again when what it left is erased, and it is erased in the call's own turns.
pub(crate) struct Leaving {
    pub(crate) place: Place,
    pub(crate) watch: CallWatch,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // A turn that is not over yet was the last one of a call that was dropped.
        self.place.turn_over(WHOLE_TURN);
        self.watch.memory().give_up_growth();
        if !self.watch.memory().has_left() {
            return;
        }
        // Without a worker it is erased as the watch is dropped.
        let Some(mut on) = self.place.on.take() else { return };
        let (watch, handle) = (self.watch.clone(), on.handle.clone());
        let erase = async move {
            loop {
                on.turn.wait().await;
                let more = watch.poll(|| watch.memory().step());
                on.turn.over(WHOLE_TURN);
                if !more {
                    return;
                }
            }
        };
        handle.spawn(erase).detach();
    }
}
