//! The body of an answer on its way: made by the enclave, or as an app makes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use enclave_wasi::http::{Aborted, Answer};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::Busy;

pub(super) enum Outgoing {
    Made(Full<Bytes>),
    /// The connection is busy until it is gone.
    App(Answer, Option<Busy>),
}

impl Outgoing {
    /// The connection is busy as long as an app answers.
    pub(super) fn keep(&mut self, busy: Busy) {
        if let Outgoing::App(_, keep) = self {
            *keep = Some(busy);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            Outgoing::Made(body) => match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(Err(never)) => match never {},
                None => Poll::Ready(None),
            },
            Outgoing::App(body, _) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Made(body) => body.is_end_stream(),
            Outgoing::App(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Made(body) => body.size_hint(),
            Outgoing::App(body, _) => body.size_hint(),
        }
    }
}
