//! One request to an app and its answer, between the guest and the server.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_channel::oneshot;
use hyper::body::{Body, Frame, SizeHint};

use super::ErrorCode;
use super::pipe::{Aborted, Reader};
use super::progress::Progress;

/// What a guest answers.
pub(super) type Answered = http::Response<Reader>;
type ToClient = oneshot::Sender<Result<Answered, ErrorCode>>;

/// The guest's side of it.
#[derive(Clone)]
pub struct Exchange {
    pub(super) method: http::Method,
    pub(super) progress: Progress,
    pub(super) most_request: u64,
    pub(super) most_response: u64,
    answer: Arc<Mutex<Option<ToClient>>>,
}

/// The client's side of it. Dropped before the answer is complete, the guest has nobody to answer.
pub struct Client {
    answer: oneshot::Receiver<Result<Answered, ErrorCode>>,
    served: oneshot::Sender<Served>,
    progress: Progress,
}

/// The client has the whole answer.
struct Served;

/// Resolves when the client has all of the answer or is gone.
pub struct Done(oneshot::Receiver<Served>);

/// How a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// With the whole answer.
    Served,
    /// Before.
    Gone,
}

impl Exchange {
    /// An exchange that begins now, with what the two bodies may be at most.
    pub fn new(method: http::Method, progress: Progress, most: [u64; 2]) -> (Exchange, Client, Done) {
        let (send, answer) = oneshot::channel();
        let (served, done) = oneshot::channel();
        let [most_request, most_response] = most;
        let answer_to = Arc::new(Mutex::new(Some(send)));
        let exchange =
            Exchange { method, progress: progress.clone(), most_request, most_response, answer: answer_to };
        (exchange, Client { answer, served, progress }, Done(done))
    }

    /// Answers, the first time. A client that is gone has no use for it.
    pub(super) fn answer(&self, answer: Result<Answered, ErrorCode>) {
        let send = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(send) = send {
            self.progress.mark();
            drop(send.send(answer));
        }
    }

    /// Takes no answer any more. Returns whether there was none.
    pub fn close(&self) -> bool {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

impl Client {
    /// What the guest answers; `None`: it never will.
    pub async fn answer(self) -> Option<Result<http::Response<Answer>, ErrorCode>> {
        let Client { answer, served, progress } = self;
        let answer = answer.await.ok()?;
        Some(answer.map(|response| {
            response.map(|body| {
                body.start(Some(progress));
                Answer { body, served: Some(served) }
            })
        }))
    }
}

impl Future for Done {
    type Output = Left;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Left> {
        let left = std::task::ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(if left.is_ok() { Left::Served } else { Left::Gone })
    }
}

/// The body of an answer, for hyper.
pub struct Answer {
    body: Reader,
    served: Option<oneshot::Sender<Served>>,
}

impl Answer {
    fn served(&mut self) {
        if let Some(served) = self.served.take() {
            // The guest may be done already.
            drop(served.send(Served));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
        if frame.is_none() || trailers || self.body.is_complete() {
            self.served();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // hyper does not ask for the end of a body that has nothing more in it.
        if self.body.is_complete() {
            self.served();
        }
    }
}
