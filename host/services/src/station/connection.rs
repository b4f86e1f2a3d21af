//! One socket: what is read from it and written to it on behalf of the enclave.

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use boundary_ring::host::Producer;
use boundary_wire::frame::{
    ConnId, DialFailure, FIRST_CREDIT, HEADER, MAX_CREDIT, MAX_PAYLOAD, ToEnclave, data_header,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;

use super::feed::push;
use super::{StationError, Violation};

/// Credit goes back to the enclave in portions of this size.
const CREDIT_PORTION: u32 = MAX_CREDIT / 4;
/// A buffer that has been emptied keeps no more than this.
const KEPT_WHEN_EMPTY: usize = 4 * 1024;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The name is being resolved.
    Resolving,
    /// One address is being tried; the others come next.
    Connecting {
        to: SocketAddr,
        others: VecDeque<SocketAddr>,
    },
    Open,
    /// The enclave has let go of it: what is pending is still sent, what comes is thrown away.
    Lingering {
        since_ns: u64,
    },
}

/// Frames that must still be pushed, as state: however long the ring is full, nothing piles up.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) accepted: Option<SocketAddr>,
    pub(super) dialed: Option<Result<(), DialFailure>>,
    pub(super) credit: u32,
    pub(super) eof: bool,
    pub(super) reset: bool,
    /// In the queue of connections that owe something.
    pub(super) queued: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) socket: Option<Socket>,
    pub(super) phase: Phase,
    /// What may still be sent to the enclave.
    credit: u32,
    /// What the enclave may still send.
    window: u32,
    /// Bytes passed on and not yet given back as credit.
    passed_on: u32,
    pending: VecDeque<u8>,
    reported: usize,
    readable: bool,
    writable: bool,
    hung_up: bool,
    peer_ended: bool,
    enclave_ended: bool,
    shut: bool,
    pub(super) owed: Owed,
    /// In the queue of connections that may be read.
    pub(super) in_turn: bool,
}

/// What became of one attempt to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Bytes moved, and more may come.
    Some,
    /// Nothing to move now.
    Nothing,
    /// The ring is full.
    RingFull,
    /// The socket is broken.
    Broken,
}

impl Connection {
    pub(super) fn accepted(id: ConnId, socket: Socket, peer: SocketAddr) -> Self {
        let mut connection = Connection::new(id, Some(socket), Phase::Open);
        connection.owed.accepted = Some(peer);
        // Worth a try: a client that speaks first has often done so.
        connection.on_ready(true, true, false);
        connection
    }

    pub(super) fn resolving(id: ConnId) -> Self {
        Connection::new(id, None, Phase::Resolving)
    }

    fn new(id: ConnId, socket: Option<Socket>, phase: Phase) -> Self {
        Connection {
            id,
            socket,
            phase,
            credit: FIRST_CREDIT,
            window: MAX_CREDIT,
            passed_on: 0,
            pending: VecDeque::new(),
            reported: 0,
            readable: false,
            writable: false,
            hung_up: false,
            peer_ended: false,
            enclave_ended: false,
            shut: false,
            owed: Owed::default(),
            in_turn: false,
        }
    }

    /// epoll has news.
    pub(super) fn on_ready(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.hung_up |= hung_up;
    }

    /// Bytes that wait for the peer.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// [`Connection::pending`] now, and when this was last asked.
    pub(super) fn pending_since_last(&mut self) -> (usize, usize) {
        let now = self.pending.len();
        (now, std::mem::replace(&mut self.reported, now))
    }

    /// The enclave has let go of it.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    // ---- from the enclave ----

    /// [`Connection::on_data`], if data may come.
    pub(super) fn on_data_if_open(&mut self, bytes: &[u8]) -> Result<Moved, StationError> {
        match self.phase {
            Phase::Open => self.on_data(bytes),
            _ => Err(Violation::NotOpen { id: self.id }.into()),
        }
    }

    pub(super) fn is_connecting_to(&self, address: SocketAddr) -> bool {
        matches!(self.phase, Phase::Connecting { to, .. } if to == address)
    }

    /// Sends bytes that lie in the ring; what the socket does not take now is kept.
    fn on_data(&mut self, bytes: &[u8]) -> Result<Moved, StationError> {
        let id = self.id;
        if self.enclave_ended {
            return Err(Violation::AfterEnd { id }.into());
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.window = self.window.checked_sub(len).ok_or(Violation::CreditExceeded { id })?;
        let mut rest = bytes;
        while self.pending.is_empty() && self.writable && !rest.is_empty() {
            match self.send(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(Moved::Broken) => return Ok(Moved::Broken),
                Err(_) => break,
            }
        }
        self.pending.extend(rest);
        Ok(Moved::Some)
    }

    /// The enclave has read what it was sent.
    pub(super) fn on_credit(&mut self, bytes: u32) -> Result<(), StationError> {
        let id = self.id;
        match self.credit.checked_add(bytes) {
            Some(credit) if credit <= MAX_CREDIT => self.credit = credit,
            _ => return Err(Violation::CreditNeverSpent { id }.into()),
        }
        Ok(())
    }

    /// The enclave sends no more.
    pub(super) fn on_eof(&mut self) -> Result<(), StationError> {
        if std::mem::replace(&mut self.enclave_ended, true) {
            return Err(Violation::AfterEnd { id: self.id }.into());
        }
        self.shut_if_sent();
        Ok(())
    }

    /// The enclave has let go of it. Returns whether it is over at once.
    pub(super) fn on_closed(&mut self, now_ns: u64) -> bool {
        self.phase = Phase::Lingering { since_ns: now_ns };
        self.enclave_ended = true;
        self.owed = Owed { queued: self.owed.queued, ..Owed::default() };
        self.shut_if_sent();
        self.is_over()
    }

    /// Closes the socket so that the peer sees a reset. What is pending is lost.
    pub(super) fn abort(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Without it the peer sees an end in order; the connection is over either way.
            drop(socket.set_linger(Some(Duration::ZERO)));
        }
        self.pending = VecDeque::new();
    }

    // ---- to the peer ----

    /// Sends what is pending, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Moved {
        while self.writable && !self.pending.is_empty() {
            let (first, second) = self.pending.as_slices();
            let part = if first.is_empty() { second } else { first };
            // Borrowed apart: sending changes only the counters.
            let sent = send_to(self.socket.as_ref(), part);
            match self.account(sent) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Moved::Broken) => return Moved::Broken,
                Err(_) => break,
            }
        }
        if self.pending.is_empty() && self.pending.capacity() > KEPT_WHEN_EMPTY {
            self.pending = VecDeque::new();
        }
        self.shut_if_sent();
        Moved::Nothing
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Moved> {
        let sent = send_to(self.socket.as_ref(), bytes);
        self.account(sent)
    }

    fn account(&mut self, sent: Result<usize, Errno>) -> Result<usize, Moved> {
        match sent {
            Ok(n) => {
                let n32 = u32::try_from(n).unwrap_or(u32::MAX);
                self.passed_on = self.passed_on.saturating_add(n32);
                if self.passed_on >= CREDIT_PORTION && matches!(self.phase, Phase::Open) {
                    self.owed.credit = self.owed.credit.saturating_add(self.passed_on);
                    self.passed_on = 0;
                }
                Ok(n)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Err(Moved::Nothing)
            }
            Err(Errno::INTR) => Ok(0),
            Err(_) => Err(Moved::Broken),
        }
    }

    fn shut_if_sent(&mut self) {
        if self.enclave_ended && self.pending.is_empty() && !self.shut {
            self.shut = true;
            if let Some(socket) = &self.socket {
                // Fails only for a peer that is gone already, which the next read shows.
                drop(socket.shutdown(Shutdown::Write));
            }
        }
    }

    // ---- from the peer ----

    /// Whether a read could bring something.
    pub(super) fn can_read(&self) -> bool {
        let open = match self.phase {
            Phase::Open => self.credit > 0,
            Phase::Lingering { .. } => true,
            Phase::Resolving | Phase::Connecting { .. } => false,
        };
        let announced = self.owed.accepted.is_none() && self.owed.dialed.is_none();
        open && announced && self.readable && !self.peer_ended && !self.owed.reset
    }

    /// Receives once, straight into the ring.
    pub(super) fn receive(&mut self, ring: &mut Producer) -> Result<Moved, StationError> {
        let Some(socket) = &self.socket else { return Ok(Moved::Nothing) };
        let room = MAX_PAYLOAD.min(usize::try_from(self.credit).unwrap_or(MAX_PAYLOAD));
        let Some(mut reservation) = ring.reserve(HEADER + room)? else { return Ok(Moved::RingFull) };
        let received = recv(socket, reservation.host_slice(HEADER), RecvFlags::empty());
        let n = match received {
            Ok((n, _)) => n,
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Ok(Moved::Nothing);
            }
            Err(Errno::INTR) => return Ok(Moved::Some),
            Err(_) => return Ok(Moved::Broken),
        };
        if n == 0 {
            self.peer_ended = true;
            self.owed.eof = true;
            return Ok(Moved::Nothing);
        }
        reservation.write(0, &data_header(self.id, n)?)?;
        reservation.commit(HEADER + n);
        self.credit = self.credit.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
        if n < room && !self.hung_up {
            // A short read has emptied the socket: the next bytes are a new edge.
            self.readable = false;
        }
        Ok(Moved::Some)
    }

    /// Reads and throws away.
    pub(super) fn discard(&mut self) -> Moved {
        let Some(socket) = &self.socket else { return Moved::Broken };
        let mut nowhere = [0u8; 16 * 1024];
        match recv(socket, &mut nowhere, RecvFlags::empty()) {
            Ok((0, _)) => {
                self.peer_ended = true;
                Moved::Nothing
            }
            Ok(_) | Err(Errno::INTR) => Moved::Some,
            Err(Errno::AGAIN) => {
                self.readable = false;
                Moved::Nothing
            }
            Err(_) => Moved::Broken,
        }
    }

    /// Let go of by the enclave, everything sent, and the peer is done too.
    pub(super) fn is_over(&self) -> bool {
        self.is_lingering() && self.pending.is_empty() && self.peer_ended
    }

    // ---- to the enclave ----

    pub(super) fn owes(&self) -> bool {
        let Owed { accepted, dialed, credit, eof, reset, .. } = &self.owed;
        accepted.is_some() || dialed.is_some() || *credit > 0 || *eof || *reset
    }

    /// Pushes what is owed, in order. `false`: the ring is full.
    pub(super) fn pay(&mut self, ring: &mut Producer) -> Result<bool, StationError> {
        let (conn, owed) = (self.id, &mut self.owed);
        if let Some(peer) = owed.accepted {
            if !push(ring, &ToEnclave::Accepted { conn, peer })? {
                return Ok(false);
            }
            owed.accepted = None;
        }
        if let Some(result) = owed.dialed {
            if !push(ring, &ToEnclave::Dialed { conn, result })? {
                return Ok(false);
            }
            owed.dialed = None;
        }
        if owed.credit > 0 {
            if !push(ring, &ToEnclave::Credit { conn, bytes: owed.credit })? {
                return Ok(false);
            }
            self.window = self.window.saturating_add(std::mem::take(&mut owed.credit));
        }
        if owed.eof {
            if !push(ring, &ToEnclave::Eof { conn })? {
                return Ok(false);
            }
            owed.eof = false;
        }
        if owed.reset {
            if !push(ring, &ToEnclave::Reset { conn })? {
                return Ok(false);
            }
            owed.reset = false;
        }
        Ok(true)
    }
}

fn send_to(socket: Option<&Socket>, bytes: &[u8]) -> Result<usize, Errno> {
    send(socket.ok_or(Errno::NOTCONN)?, bytes, SendFlags::NOSIGNAL)
}
