//! What tasks do with connections.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use boundary_wire::frame::{ConnId, MAX_PAYLOAD, ToHost, is_host};

use super::{Reactor, send};
use crate::error::{DialError, HostMisbehaved};
use crate::streams::{End, Failure, Phase, Stream};
use crate::wait_list::Place;

impl Reactor {
    /// The next connection; `None` when no more will come.
    pub(crate) fn poll_accept(&mut self, place: &mut Place, cx: &Context<'_>) -> Poll<Option<u64>> {
        if self.draining.is_some() || self.failure.is_some() {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.listening, true) {
            self.invite();
        }
        while let Some(id) = self.backlog.pop_front() {
            // One that was reset while it waited is of no interest.
            if self.streams.get(&id).is_some_and(|s| s.failure.is_none()) {
                self.accepters.leave(place);
                self.invite();
                return Poll::Ready(Some(id));
            }
            self.let_go(id);
        }
        self.invite();
        self.accepters.wait(place, cx);
        Poll::Pending
    }

    /// An `accept` was given up. What it was woken for goes to the next.
    pub(crate) fn leave_accept(&mut self, place: &mut Place, wakes: &mut Vec<Waker>) {
        if self.accepters.leave(place) && !self.backlog.is_empty() {
            wakes.extend(self.accepters.take_first());
        }
    }

    pub(crate) fn peer(&self, id: u64) -> Option<std::net::SocketAddr> {
        self.streams.get(&id).and_then(|s| s.peer)
    }

    pub(crate) fn start_dial(&mut self, host: &str, port: u16) -> Result<u64, DialError> {
        if let Some(lie) = &self.failure {
            return Err(lie.clone().into());
        }
        if port == 0 || !is_host(host) {
            return Err(DialError::BadDestination);
        }
        if self.streams.len() >= self.connections {
            return Err(DialError::TooMany { max: self.connections });
        }
        self.dials += 1;
        let id = ConnId::dialed(self.dials).0;
        self.streams.insert(id, Stream::dialing(host, port));
        self.owes(id);
        Ok(id)
    }

    pub(crate) fn poll_dial(&mut self, id: u64, cx: &Context<'_>) -> Poll<Result<(), DialError>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(HostMisbehaved::UnknownConnection { id }.into()));
        };
        match (&stream.failure, stream.phase) {
            (Some(Failure::Dial(failure)), _) => Poll::Ready(Err(DialError::Failed(*failure))),
            (Some(Failure::Misbehaved(lie)), _) => Poll::Ready(Err(lie.clone().into())),
            // Connected and reset before anybody looked: the first read says so.
            (Some(Failure::PeerReset), _) | (None, Phase::Open) => Poll::Ready(Ok(())),
            (None, Phase::Dialing) => {
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_read(&mut self, id: u64, cx: &Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(forgotten())) };
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.to_io()));
        }
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !stream.receive.is_empty() {
            let n = stream.receive.read(out);
            if !stream.ended_by_peer
                && let Some(credit) = stream.receive.take_credit(&mut self.spare)
            {
                stream.owed.credit = stream.owed.credit.saturating_add(credit);
                self.owes(id);
            }
            return Poll::Ready(Ok(n));
        }
        if stream.ended_by_peer {
            return Poll::Ready(Ok(0));
        }
        stream.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the peer will send nothing more, whatever is still unread. Waits where a reader would: only for
    /// while nobody reads.
    pub(crate) fn poll_peer_gone(&mut self, id: u64, cx: &Context<'_>) -> Poll<()> {
        match self.streams.get_mut(&id) {
            Some(stream) if stream.failure.is_none() && !stream.ended_by_peer => {
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Connections that there may be, dialed ones included.
    pub(crate) fn most_connections(&self) -> usize {
        self.connections
    }

    pub(crate) fn poll_write(
        &mut self,
        id: u64,
        place: &mut Place,
        cx: &Context<'_>,
        bytes: &[u8],
        wakes: &mut Vec<Waker>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(forgotten())) };
        if let Some(failure) = &stream.failure {
            return Poll::Ready(Err(failure.to_io()));
        }
        if stream.ended {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "written after close")));
        }
        let credit = usize::try_from(stream.credit).unwrap_or(usize::MAX);
        let n = bytes.len().min(credit).min(MAX_PAYLOAD);
        let Some(now) = bytes.get(..n).filter(|now| !now.is_empty()) else {
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            stream.writer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        match send(&mut self.output, &ToHost::Data { conn: ConnId(id), bytes: now }) {
            Ok(true) => {
                stream.credit = stream.credit.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                self.ring_waiters.leave(place);
                Poll::Ready(Ok(n))
            }
            Ok(false) => {
                self.ring_waiters.wait(place, cx);
                Poll::Pending
            }
            Err(lie) => {
                self.fail(lie.clone(), wakes);
                Poll::Ready(Err(Failure::Misbehaved(lie).to_io()))
            }
        }
    }

    /// Half-close: nothing more will be written.
    pub(crate) fn close(&mut self, id: u64) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Err(forgotten()) };
        if let Some(failure) = &stream.failure {
            return Err(failure.to_io());
        }
        if !std::mem::replace(&mut stream.ended, true) {
            stream.owed.eof = true;
            self.owes(id);
        }
        Ok(())
    }

    /// The connection's owner is gone: closed if it was closed, else reset.
    pub(crate) fn drop_connection(&mut self, id: u64, place: &mut Place) {
        self.ring_waiters.leave(place);
        self.let_go(id);
    }

    pub(super) fn let_go(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.dropped = true;
        stream.receive.clear();
        stream.take_wakers(&mut Vec::new());
        // A dial that the host has not seen needs no end.
        stream.gone |= stream.owed.dial.is_some();
        if !stream.gone && stream.owed.end.is_none() {
            let closed = stream.ended && stream.failure.is_none();
            stream.owed.end = Some(if closed { End::Closed } else { End::Reset });
            self.owes(id);
        }
        self.forget_if_over(id);
    }

    pub(crate) fn poll_drained(&mut self, place: &mut Place, cx: &Context<'_>) -> Poll<Duration> {
        if self.failure.is_some() {
            return Poll::Ready(Duration::ZERO);
        }
        match self.draining {
            Some(grace) => Poll::Ready(grace),
            None => {
                self.drainers.wait(place, cx);
                Poll::Pending
            }
        }
    }

    pub(crate) fn leave_drain(&mut self, place: &mut Place) {
        self.drainers.leave(place);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some() || self.failure.is_some()
    }
}

fn forgotten() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is over")
}
