//! A stream whose first bytes were read already, to see what protocol it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

/// Gives `prefix` back before it reads on.
#[derive(Debug)]
pub(crate) struct Prefixed<T> {
    prefix: Vec<u8>,
    at: usize,
    stream: T,
}

impl<T> Prefixed<T> {
    pub(crate) fn new(prefix: Vec<u8>, stream: T) -> Self {
        Prefixed { prefix, at: 0, stream }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let left = this.prefix.get(this.at..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let mut taken = 0;
        for (to, from) in out.iter_mut().zip(left) {
            *to = *from;
            taken += 1;
        }
        this.at += taken;
        if this.at == this.prefix.len() {
            this.prefix = Vec::new();
            this.at = 0;
        }
        Poll::Ready(Ok(taken))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::{AsyncReadExt, future::block_on, io::Cursor};

    #[test]
    fn the_prefix_comes_first_and_once() {
        let mut stream = Prefixed::new(b"abc".to_vec(), Cursor::new(b"def".to_vec()));
        let mut two = [0; 2];
        block_on(stream.read_exact(&mut two)).unwrap();
        assert_eq!(&two, b"ab");
        let mut rest = Vec::new();
        block_on(stream.read_to_end(&mut rest)).unwrap();
        assert_eq!(rest, b"cdef");
    }
}
