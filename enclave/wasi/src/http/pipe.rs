//! A body on its way from a guest to whoever sends it.
//!
//! The guest writes as much as there is room for and then waits; what waits is bounded, however slowly it is taken.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

use super::ErrorCode;
use super::progress::Progress;
use super::quota::{Exhausted, Held, Quota};

/// What may wait while nobody takes it yet. A guest may write its body before it says where the body belongs, and
/// one that does so elsewhere has as much room.
const ROOM_BEFORE: usize = 1 << 20;
/// What may wait once it is being taken.
const ROOM: usize = 64 << 10;
/// Pieces shorter than this are put together: each costs more than its bytes.
const PIECE: usize = 4 << 10;

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What `Content-Length` says.
    pub(super) announced: Option<u64>,
    /// The most there may be.
    pub(super) most: u64,
    /// Which errors tell of it.
    pub(super) of: Of,
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
}

impl Of {
    fn wrong_size(self, size: u64) -> ErrorCode {
        match self {
            Of::Request => ErrorCode::HttpRequestBodySize(Some(size)),
            Of::Response => ErrorCode::HttpResponseBodySize(Some(size)),
        }
    }
}

/// Room for a body, out of what the call has for all of them.
pub(super) fn room(quota: &Quota) -> Result<Option<Held>, Exhausted> {
    quota.share(ROOM, ROOM_BEFORE).map(Some)
}

/// The two ends of a body.
pub(super) fn pipe(bounds: Bounds, held: Option<Held>) -> (Writer, Reader) {
    let state = State {
        bounds,
        held,
        queue: VecDeque::new(),
        queued: 0,
        permitted: 0,
        written: 0,
        taken: 0,
        end: None,
        taking: Taking::NotYet,
        progress: None,
        writer: None,
        reader: None,
    };
    let pipe = Pipe(Arc::new(Mutex::new(state)));
    (Writer(pipe.clone()), Reader(pipe))
}

#[derive(Clone)]
struct Pipe(Arc<Mutex<State>>);

struct State {
    bounds: Bounds,
    /// What may wait in it. `None`: nothing.
    held: Option<Held>,
    queue: VecDeque<BytesMut>,
    queued: usize,
    /// Of what `check-write` last said, what was not written yet.
    permitted: usize,
    written: u64,
    taken: u64,
    end: Option<End>,
    taking: Taking,
    progress: Option<Progress>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

enum End {
    Finished(Option<HeaderMap>),
    /// The guest failed, or let go of it: whoever receives it must see that something is missing.
    Aborted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    NotYet,
    Now,
    /// The body is of a message that has none on the wire.
    Discarding,
    Never,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        if state.end.is_none() {
            if matches!(end, End::Aborted) {
                state.queue = VecDeque::new();
                state.queued = 0;
            }
            state.end = Some(end);
            wake(state, |state| [state.reader.take(), None]);
        }
    }
}

/// Wakes without the lock.
fn wake(mut state: MutexGuard<'_, State>, of: impl FnOnce(&mut State) -> [Option<Waker>; 2]) {
    let wakers = of(&mut state);
    drop(state);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// The guest's end. Dropped before it is finished, it aborts the body.
pub(super) struct Writer(Pipe);

impl Writer {
    /// The stream that the guest writes to.
    pub(super) fn stream(&self) -> BodyWriter {
        BodyWriter(self.0.clone())
    }

    /// Ends the body in order, if it is as long as was said.
    pub(super) fn finish(self, trailers: Option<HeaderMap>) -> Result<(), ErrorCode> {
        let (written, bounds) = {
            let state = self.0.lock();
            (state.written, state.bounds)
        };
        if bounds.announced.is_some_and(|announced| announced != written) || written > bounds.most {
            return Err(bounds.of.wrong_size(written));
        }
        self.0.end(End::Finished(trailers));
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end(End::Aborted);
    }
}

/// The resource `output-stream` of a body.
pub(super) struct BodyWriter(Pipe);

#[async_trait]
impl Pollable for BodyWriter {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.taking == Taking::Never || state.room() > 0 {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl State {
    fn held(&self) -> usize {
        self.held.as_ref().map_or(0, Held::bytes)
    }

    /// What is not needed is for the call's other bodies.
    fn shrink(&mut self) {
        let needed = match self.taking {
            Taking::NotYet => return,
            // What the guest was told that it may write, it may.
            Taking::Now => self.queued.saturating_add(self.permitted).max(ROOM),
            Taking::Discarding | Taking::Never => 0,
        };
        if let Some(held) = self.held.as_mut().filter(|held| held.bytes() > needed) {
            // Less can always be held.
            let _fits = held.resize(needed).is_ok();
        }
    }

    fn room(&self) -> usize {
        match self.taking {
            Taking::NotYet => self.held().saturating_sub(self.queued),
            Taking::Now => self.held().min(ROOM).saturating_sub(self.queued),
            Taking::Discarding | Taking::Never => ROOM,
        }
    }

    fn push(&mut self, bytes: Bytes) {
        match self.queue.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE => last.extend_from_slice(&bytes),
            _ => self.queue.push_back(bytes.into()),
        }
    }

    /// What goes out next. Of an answer whose length was said the last byte waits for the end: the client has it
    /// all only when what the app stored before is stored.
    fn pop(&mut self) -> Option<Bytes> {
        let mut bytes = self.queue.pop_front()?;
        let so_far = self.taken.saturating_add(bytes.len() as u64);
        let is_last = self.bounds.announced == Some(so_far) && self.bounds.of == Of::Response;
        if is_last && self.end.is_none() {
            let tail = bytes.split_off(bytes.len().saturating_sub(1));
            self.queue.push_front(tail);
            if bytes.is_empty() {
                return None;
            }
        }
        Some(bytes.freeze())
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.taking == Taking::Never {
            return Err(StreamError::Closed);
        }
        self.permitted = self.permitted.saturating_sub(bytes.len());
        self.written = self.written.saturating_add(bytes.len() as u64);
        let most = self.bounds.announced.unwrap_or(self.bounds.most).min(self.bounds.most);
        if self.written > most {
            let wrong = self.bounds.of.wrong_size(self.written);
            return Err(StreamError::LastOperationFailed(wrong.into()));
        }
        if self.taking == Taking::Discarding {
            self.progress.iter().for_each(Progress::mark);
        } else if !bytes.is_empty() {
            if self.queued + bytes.len() > self.held() {
                let told = "a body was written to without regard to what `check-write` permits";
                return Err(StreamError::Trap(wasmtime::Error::msg(told)));
            }
            self.queued += bytes.len();
            self.push(bytes);
        }
        Ok(())
    }
}

#[async_trait]
impl OutputStream for BodyWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.lock();
        state.write(bytes)?;
        wake(state, |state| [state.reader.take(), None]);
        Ok(())
    }

    /// Nothing to wait for: what was written is sent as soon as it can be.
    fn flush(&mut self) -> StreamResult<()> {
        if self.0.lock().taking == Taking::Never { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut state = self.0.lock();
        if state.taking == Taking::Never {
            return Err(StreamError::Closed);
        }
        state.permitted = state.room();
        Ok(state.permitted)
    }
}

/// The sender's end: a body as hyper takes it. Dropped before its end, it tells the guest that nobody listens.
pub(super) struct Reader(Pipe);

/// The body ends before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the app did not complete its body")]
pub struct Aborted;

impl Reader {
    /// A body of nothing.
    pub(super) fn empty() -> Reader {
        let (writer, reader) = pipe(Bounds { announced: None, most: 0, of: Of::Response }, None);
        writer.0.end(End::Finished(None));
        reader
    }

    /// From here on it is taken, and each piece that is taken is marked.
    pub(super) fn start(&self, progress: Option<Progress>) {
        let mut state = self.0.lock();
        state.progress = progress;
        state.taking = Taking::Now;
        state.shrink();
    }

    /// Takes whatever the guest writes and sends none of it.
    pub(super) fn discard(self, progress: Progress) {
        let mut state = self.0.lock();
        state.progress = Some(progress);
        state.taking = Taking::Discarding;
        state.queue = VecDeque::new();
        state.queued = 0;
        state.shrink();
        wake(state, |state| [state.writer.take(), None]);
    }

    /// What the body's length is known to be.
    pub(super) fn announced(&self) -> Option<u64> {
        self.0.lock().bounds.announced
    }

    /// Whether all of it was taken that will ever be sent.
    pub(super) fn is_complete(&self) -> bool {
        let state = self.0.lock();
        let ended =
            matches!(state.end, Some(End::Finished(None))) || state.bounds.announced == Some(state.taken);
        state.queue.is_empty() && ended && !matches!(state.end, Some(End::Aborted))
    }

    /// How much of it was taken, also after it is gone.
    pub(super) fn meter(&self) -> Meter {
        Meter(self.0.clone())
    }

    /// Ends it here: the guest is told that nobody listens, the receiver that something is missing.
    fn leave(&self) {
        let mut state = self.0.lock();
        if state.taking != Taking::Discarding {
            state.taking = Taking::Never;
            state.queue = VecDeque::new();
            state.queued = 0;
            state.shrink();
            wake(state, |state| [state.writer.take(), None]);
        }
    }
}

/// Counts a body.
pub(super) struct Meter(Pipe);

impl Meter {
    /// Bytes that were taken.
    pub(super) fn taken(&self) -> u64 {
        self.0.lock().taken
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let mut state = self.0.lock();
        if let Some(bytes) = state.pop() {
            state.progress.iter().for_each(Progress::mark);
            state.queued -= bytes.len();
            state.taken = state.taken.saturating_add(bytes.len() as u64);
            state.shrink();
            if state.room() > 0 {
                wake(state, |state| [state.writer.take(), None]);
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut state.end {
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Finished(trailers)) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Aborted) => Poll::Ready(Some(Err(Aborted))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.queue.is_empty() && matches!(state.end, Some(End::Finished(None)))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        match state.end {
            // All of it is here: its length can be told even if the guest did not.
            Some(End::Finished(None)) => SizeHint::with_exact(state.queued as u64),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
