//! A TLS stream that its session can ask for keying material while a protocol reads and writes it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use attestation::report_data::EXPORTER_LABEL;
use enclave_worker::Connection;
use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::server::TlsStream;

/// The stream for the protocol. Its tasks run on one worker, so the lock is never waited for.
pub(crate) struct Shared(Arc<Mutex<TlsStream<Connection>>>);

/// The same stream for the session, as long as it is there.
pub(crate) struct Channel(Weak<Mutex<TlsStream<Connection>>>);

impl Shared {
    pub(crate) fn new(stream: TlsStream<Connection>) -> (Shared, Channel) {
        let stream = Arc::new(Mutex::new(stream));
        let channel = Channel(Arc::downgrade(&stream));
        (Shared(stream), channel)
    }

    fn lock(&self) -> MutexGuard<'_, TlsStream<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    /// `TLS-Exporter("EXPORTER-enclave-os-attest-v1", nonce, 32)` (RFC 8446 §7.5) of this connection. `None`: it
    /// has ended.
    pub(crate) fn exporter(&self, nonce: &[u8; 32]) -> Option<[u8; 32]> {
        let stream = self.0.upgrade()?;
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(nonce)).ok()
    }

    /// Resolves when the client has ended the connection, or it has failed. For while nobody reads.
    pub(crate) fn poll_client_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(stream) = self.0.upgrade() else { return Poll::Ready(()) };
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.get_ref().0.poll_peer_gone(cx)
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_read(cx, out)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_close(cx)
    }
}
