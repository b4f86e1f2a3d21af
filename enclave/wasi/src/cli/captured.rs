//! What a command prints, kept for its caller.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

use super::{PERMIT, StandardStream};

/// What one command may print on both streams together. Behind it they are closed.
pub const MAX_CAPTURED: usize = 4 << 20;
/// Room is asked for in steps of this.
const STEP: usize = 64 << 10;

/// The room for the output of all commands that run at a time.
pub trait Room: Send + Sync {
    /// Takes that many bytes more, to be given back when this is dropped. `false`: there are no more.
    fn take(&mut self, bytes: usize) -> bool;
}

/// Where a command prints to. Clones are the same place, so that it can be emptied whatever became of the guest.
#[derive(Clone)]
pub struct Captured(Arc<Mutex<Kept>>);

struct Kept {
    output: Output,
    room: Box<dyn Room>,
    taken: usize,
}

/// What a command printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// On standard output.
    pub stdout: Vec<u8>,
    /// On standard error.
    pub stderr: Vec<u8>,
    /// It wanted to print more than was kept.
    pub truncated: bool,
}

impl Captured {
    /// An empty place. The first 64 KiB are outside `room`.
    pub fn new(room: Box<dyn Room>) -> Self {
        Captured(Arc::new(Mutex::new(Kept { output: Output::default(), room, taken: STEP })))
    }

    /// What was printed so far. Nothing is kept from then on.
    pub fn take(&self) -> Output {
        let mut kept = self.kept();
        std::mem::replace(&mut kept.output, Output { truncated: true, ..Output::default() })
    }

    pub(super) fn stream(&self, stream: StandardStream) -> CapturedStream {
        CapturedStream { captured: self.clone(), stream }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, stream: StandardStream, bytes: &[u8]) -> StreamResult<()> {
        let length = self.output.stdout.len() + self.output.stderr.len() + bytes.len();
        while !self.output.truncated && self.taken < length {
            self.output.truncated = length > MAX_CAPTURED || !self.room.take(STEP);
            self.taken += STEP;
        }
        if self.output.truncated {
            return Err(StreamError::Closed);
        }
        match stream {
            StandardStream::Out => self.output.stdout.extend_from_slice(bytes),
            StandardStream::Err => self.output.stderr.extend_from_slice(bytes),
        }
        Ok(())
    }
}

/// One of the two streams.
pub(super) struct CapturedStream {
    captured: Captured,
    stream: StandardStream,
}

#[async_trait]
impl Pollable for CapturedStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for CapturedStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.captured.kept().push(self.stream, &bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.captured.kept().output.truncated { Err(StreamError::Closed) } else { Ok(PERMIT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Steps(usize);

    impl Room for Steps {
        fn take(&mut self, _: usize) -> bool {
            self.0 = self.0.saturating_sub(1);
            self.0 > 0
        }
    }

    fn fill(captured: &Captured, stream: StandardStream) -> usize {
        let mut stream = captured.stream(stream);
        let mut written = 0;
        while let Ok(permit) = stream.check_write() {
            if stream.write(vec![b'x'; permit].into()).is_ok() {
                written += permit;
            }
        }
        assert!(matches!(stream.flush(), Err(StreamError::Closed)));
        written
    }

    #[test]
    fn both_streams_are_kept_apart_and_bounded_together() {
        let captured = Captured::new(Box::new(Steps(usize::MAX)));
        captured.stream(StandardStream::Err).write("why".into()).unwrap();
        let written = fill(&captured, StandardStream::Out);
        assert!((MAX_CAPTURED - PERMIT..=MAX_CAPTURED).contains(&(written + 3)), "{written}");
        let output = captured.take();
        assert_eq!(
            (output.stdout.len(), output.stderr.as_slice(), output.truncated),
            (written, &b"why"[..], true)
        );
        assert!(captured.stream(StandardStream::Err).write("late".into()).is_err());
        assert!(captured.take().stderr.is_empty());
    }

    #[test]
    fn the_room_of_all_bounds_each() {
        let captured = Captured::new(Box::new(Steps(3)));
        assert_eq!(fill(&captured, StandardStream::Err), 3 * STEP);
        assert!(Captured::new(Box::new(Steps(0))).stream(StandardStream::Out).write("short".into()).is_ok());
    }
}
