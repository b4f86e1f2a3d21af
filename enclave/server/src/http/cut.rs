//! Ends a connection whose client does not take what it asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Given to whoever may find out.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cut: bool,
    waker: Option<Waker>,
}

impl Cut {
    /// The connection ends now.
    pub(super) fn now(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.cut = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ready when the connection has to end.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cut {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
