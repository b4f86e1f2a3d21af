//! The body of an answer on its way: made by the enclave, or as an app makes it. Either counts against the budget
//! until the client has taken it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use enclave_wasi::http::{Aborted, Answer};
use enclave_worker::Handle;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::held::{Answers, Content};
use super::trailers;
use super::{Activity, Busy};
use crate::Services;
use crate::session::Session;

pub(super) enum Outgoing {
    Made(Full<Bytes>),
    /// The connection is busy until it is gone.
    App(Answer, Counted, Option<Busy>),
}

/// Counts the pieces of an app's answer that the client has not taken.
pub(super) struct Counted {
    answers: Arc<Answers>,
    services: Arc<Services>,
    handle: Handle,
}

impl Counted {
    pub(super) fn new(session: &Session, activity: &Activity) -> Counted {
        let (answers, services) = (activity.answers.clone(), session.services.clone());
        Counted { answers, services, handle: session.handle.clone() }
    }

    /// The answer is cut off where there is no room for more that nobody takes.
    fn count(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Aborted> {
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(trailers) => return Ok(trailers::proper(trailers)),
        };
        let mut share = self.services.budget.share(0);
        if self.services.policy.development() {
            share.trust();
        }
        let held = self.answers.hold(share, self.handle.monotonic(), Content::App(bytes));
        held.map(Frame::data).map_err(|_| Aborted)
    }
}

impl Outgoing {
    /// The connection is busy as long as an app answers.
    pub(super) fn keep(&mut self, busy: Busy) {
        if let Outgoing::App(.., keep) = self {
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
            Outgoing::App(body, counted, _) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| counted.count(frame?)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Made(body) => body.is_end_stream(),
            Outgoing::App(body, ..) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Made(body) => body.size_hint(),
            Outgoing::App(body, ..) => body.size_hint(),
        }
    }
}
