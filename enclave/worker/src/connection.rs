//! One connection as a stream of bytes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use crate::handle::Shared;
use crate::wait_list::Place;

/// A TCP connection that the host carries: ciphertext, as far as the host is concerned.
///
/// Both directions are bounded by credit: the host sends no more than was read, and a writer waits when the
/// host has not passed on what it got. Closing (`poll_close`) ends this side's direction and leaves the other
/// open. A connection that was closed and is then dropped ends in order; one that is dropped without having
/// been closed is reset, and what was in flight is lost ([`Connection::set_close_on_drop`]).
pub struct Connection {
    shared: Arc<Shared>,
    id: u64,
    peer: Option<SocketAddr>,
    close_on_drop: bool,
    /// Where it waits for room in the ring.
    place: Place,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, peer: Option<SocketAddr>) -> Self {
        Connection { shared, id, peer, close_on_drop: false, place: Place::default() }
    }

    /// Who connected, as the host claims. `None` for a connection that the enclave dialed.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// A number that no other connection of this worker has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Resolves when the peer has ended its direction or reset the connection, even if bytes that it sent before
    /// are still unread. It waits where a reader would: not for while somebody else reads.
    pub fn poll_peer_gone(&self, cx: &Context<'_>) -> Poll<()> {
        self.shared.with_quietly(|reactor, _| reactor.poll_peer_gone(self.id, cx))
    }

    /// Whether dropping it closes it first, for an owner that drops it where nothing can be awaited: what was
    /// written reaches the peer, who cannot tell the end from one in order. At first it does not.
    pub fn set_close_on_drop(&mut self, close: bool) {
        self.close_on_drop = close;
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.shared.with(|reactor, _| reactor.poll_read(self.id, cx, out))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Connection { shared, id, place, .. } = self.get_mut();
        shared.with(|reactor, wakes| reactor.poll_write(*id, place, cx, bytes, wakes))
    }

    /// What was written is in the ring already; the worker's next visit outside sends it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.with(|reactor, _| reactor.close(self.id)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.with(|reactor, _| {
            if self.close_on_drop {
                // Fails for one that is over already.
                drop(reactor.close(self.id));
            }
            reactor.drop_connection(self.id, &mut self.place);
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}
