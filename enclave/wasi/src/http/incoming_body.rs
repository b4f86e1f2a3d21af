//! The resources `incoming-body` and `future-trailers`, and the stream between them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::streams::{DynInputStream, InputStream, StreamError, StreamResult};

use super::progress::Progress;
use super::{ErrorCode, Fields};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::{HostFutureTrailers, HostIncomingBody};

/// A body as it arrives.
pub type Arriving = UnsyncBoxBody<Bytes, ErrorCode>;

/// The type of `incoming-body`.
pub struct IncomingBody {
    arrival: Arrival,
    stream_taken: bool,
}

/// The body, for whoever reads it at the moment: the stream, then the trailers.
#[derive(Clone)]
struct Arrival(Arc<Mutex<State>>);

struct State {
    body: Option<Arriving>,
    buffer: Bytes,
    outcome: Result<Option<HeaderMap>, ErrorCode>,
    told: bool,
    progress: Option<Progress>,
    taken: u64,
    most: u64,
}

impl IncomingBody {
    /// At most `most` bytes are taken; pieces that arrive are marked.
    pub(super) fn new(body: Arriving, most: u64, progress: Option<Progress>) -> Self {
        let state = State {
            body: Some(body),
            buffer: Bytes::new(),
            outcome: Ok(None),
            told: false,
            progress,
            taken: 0,
            most,
        };
        IncomingBody { arrival: Arrival(Arc::new(Mutex::new(state))), stream_taken: false }
    }
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ready when there are bytes in the buffer, or the body is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.is_empty() {
            let Some(body) = self.body.as_mut() else { return Poll::Ready(()) };
            let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
            self.progress.iter().for_each(Progress::mark);
            match frame {
                None => self.body = None,
                Some(Err(error)) => self.over(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.taken = self.taken.saturating_add(bytes.len() as u64);
                        if self.taken > self.most {
                            self.over(Err(ErrorCode::HttpRequestBodySize(Some(self.taken))));
                        } else {
                            self.buffer = bytes;
                        }
                    }
                    Err(frame) => self.over(Ok(frame.into_trailers().ok())),
                },
            }
        }
        Poll::Ready(())
    }

    fn over(&mut self, outcome: Result<Option<HeaderMap>, ErrorCode>) {
        self.body = None;
        self.outcome = outcome;
    }
}

/// The resource `input-stream` of a body.
struct BodyReader(Arrival);

#[async_trait]
impl Pollable for BodyReader {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.0.lock().poll(cx)).await;
    }
}

#[async_trait]
impl InputStream for BodyReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.0.lock();
        if state.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Bytes::new());
        }
        if state.buffer.has_remaining() {
            let size = size.min(state.buffer.len());
            return Ok(state.buffer.split_to(size));
        }
        match &state.outcome {
            Err(error) if !state.told => {
                let error = StreamError::LastOperationFailed(error.clone().into());
                state.told = true;
                Err(error)
            }
            _ => Err(StreamError::Closed),
        }
    }
}

/// The type of `future-trailers`.
pub struct FutureTrailers {
    arrival: Arrival,
    ready: bool,
    given: bool,
}

#[async_trait]
impl Pollable for FutureTrailers {
    /// Reads past what is left of the body.
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut state = self.arrival.lock();
            loop {
                state.buffer.clear();
                std::task::ready!(state.poll(cx));
                if state.buffer.is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
        self.ready = true;
    }
}

impl HostIncomingBody for WasiCtx {
    fn stream(&mut self, body: Resource<IncomingBody>) -> Result<Result<Resource<DynInputStream>, ()>> {
        let this = self.table.get_mut(&body)?;
        if std::mem::replace(&mut this.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream: DynInputStream = Box::new(BodyReader(this.arrival.clone()));
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>> {
        // Fails, as it should, while the stream lives.
        let IncomingBody { arrival, .. } = self.table.delete(body)?;
        Ok(self.table.push(FutureTrailers { arrival, ready: false, given: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}

type Trailers = Result<Option<Resource<Fields>>, ErrorCode>;

impl HostFutureTrailers for WasiCtx {
    fn subscribe(&mut self, trailers: Resource<FutureTrailers>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, trailers)
    }

    fn get(&mut self, trailers: Resource<FutureTrailers>) -> Result<Option<Result<Trailers, ()>>> {
        let this = self.table.get_mut(&trailers)?;
        if !this.ready {
            return Ok(None);
        }
        if std::mem::replace(&mut this.given, true) {
            return Ok(Some(Err(())));
        }
        let outcome = std::mem::replace(&mut this.arrival.lock().outcome, Ok(None));
        let outcome = match outcome {
            Ok(Some(map)) => Ok(Some(self.table.push(Fields::received(map, &self.http.quota)?)?)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Some(Ok(outcome)))
    }

    fn drop(&mut self, trailers: Resource<FutureTrailers>) -> Result<()> {
        self.table.delete(trailers)?;
        Ok(())
    }
}
