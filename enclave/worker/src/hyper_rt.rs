//! The traits of `hyper::rt` over this crate's streams, timers and tasks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
// hyper's timer trait speaks `Instant`. Only differences to one anchor are ever used, so the host's clock
// behind it does not matter.
use std::time::{Duration, Instant};

use enclave_platform::clock::Monotonic;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::ReadBufCursor;

use crate::handle::Handle;
use crate::timer::Sleep;

/// What one read moves at most.
const CHUNK: usize = 8 * 1024;

/// Any `futures_io` stream as a stream of hyper.
#[derive(Debug)]
pub struct HyperIo<T>(pub T);

impl<T: AsyncRead + Unpin> hyper::rt::Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0u8; CHUNK];
        let room = buf.remaining().min(CHUNK);
        match Pin::new(&mut self.0).poll_read(cx, &mut chunk[..room]) {
            Poll::Ready(Ok(n)) => {
                buf.put_slice(&chunk[..n.min(room)]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// hyper's tasks on a worker.
#[derive(Clone)]
pub struct HyperExecutor(pub Handle);

impl<F> hyper::rt::Executor<F> for HyperExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future).detach();
    }
}

/// hyper's timers on a worker's monotonic clock.
#[derive(Clone)]
pub struct HyperTimer {
    handle: Handle,
    anchor: (Instant, Monotonic),
}

impl HyperTimer {
    /// Timers of `handle`'s worker.
    pub fn new(handle: Handle) -> Self {
        let anchor = (Instant::now(), handle.monotonic());
        HyperTimer { handle, anchor }
    }
}

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(self.handle.sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let after_anchor = deadline.saturating_duration_since(self.anchor.0);
        Box::pin(self.handle.deadline(self.anchor.1.after(after_anchor)))
    }

    fn now(&self) -> Instant {
        let passed = self.handle.monotonic().since(self.anchor.1);
        self.anchor.0.checked_add(passed).unwrap_or(self.anchor.0)
    }
}

impl hyper::rt::Sleep for Sleep {}
