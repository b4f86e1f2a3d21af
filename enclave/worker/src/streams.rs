//! The state of one connection: what both sides have sent, ended and owe each other.

use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use boundary_wire::frame::{DialFailure, MAX_CREDIT};

use crate::error::HostMisbehaved;
use crate::recv::ReceiveBuffer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Dialing,
    Open,
}

/// Why a connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer (so says the host) reset it.
    PeerReset,
    Dial(DialFailure),
    Misbehaved(HostMisbehaved),
}

impl Failure {
    pub(crate) fn to_io(&self) -> io::Error {
        match self {
            Failure::PeerReset => {
                io::Error::new(io::ErrorKind::ConnectionReset, "the peer reset the connection")
            }
            Failure::Dial(_) => io::Error::new(io::ErrorKind::NotConnected, "the connection was never made"),
            Failure::Misbehaved(lie) => io::Error::new(io::ErrorKind::ConnectionAborted, lie.clone()),
        }
    }
}

/// How the enclave lets go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Drop what is in flight.
    Reset,
    /// Deliver what was sent, then forget.
    Closed,
}

/// Frames that this side must still send, as state: however long the ring is full, nothing piles up.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    pub(crate) dial: Option<(String, u16)>,
    pub(crate) credit: u32,
    pub(crate) eof: bool,
    pub(crate) end: Option<End>,
    /// In the queue of connections that owe something.
    pub(crate) queued: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) phase: Phase,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) receive: ReceiveBuffer,
    pub(crate) ended_by_peer: bool,
    /// What the host lets this side still send.
    pub(crate) credit: u32,
    pub(crate) ended: bool,
    pub(crate) failure: Option<Failure>,
    /// The host has forgotten it: nothing may be sent for it.
    pub(crate) gone: bool,
    /// Its [`Connection`](crate::Connection) is dropped.
    pub(crate) dropped: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) owed: Owed,
}

impl Stream {
    pub(crate) fn accepted(peer: SocketAddr) -> Self {
        Stream::new(Phase::Open, Some(peer))
    }

    pub(crate) fn dialing(host: &str, port: u16) -> Self {
        let mut stream = Stream::new(Phase::Dialing, None);
        stream.owed.dial = Some((host.to_owned(), port));
        stream
    }

    fn new(phase: Phase, peer: Option<SocketAddr>) -> Self {
        Stream {
            phase,
            peer,
            receive: ReceiveBuffer::new(),
            ended_by_peer: false,
            credit: MAX_CREDIT,
            ended: false,
            failure: None,
            gone: false,
            dropped: false,
            reader: None,
            writer: None,
            owed: Owed::default(),
        }
    }

    pub(crate) fn take_wakers(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.reader.take());
        wakes.extend(self.writer.take());
    }

    /// Ends it with an error for whoever uses it.
    pub(crate) fn fail(&mut self, failure: Failure, wakes: &mut Vec<Waker>) {
        self.receive.clear();
        if self.failure.is_none() {
            self.failure = Some(failure);
        }
        self.take_wakers(wakes);
    }

    /// The host said `Dialed`.
    pub(crate) fn on_dialed(
        &mut self,
        id: u64,
        result: Result<(), DialFailure>,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        if self.phase != Phase::Dialing || self.owed.dial.is_some() || self.gone {
            return Err(HostMisbehaved::NotDialing { id });
        }
        match result {
            Ok(()) => {
                self.phase = Phase::Open;
                self.take_wakers(wakes);
            }
            Err(failure) => {
                self.gone = true;
                self.fail(Failure::Dial(failure), wakes);
            }
        }
        Ok(())
    }

    /// The host said `Data`.
    pub(crate) fn on_data(
        &mut self,
        id: u64,
        bytes: &[u8],
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        self.require_open(id)?;
        if self.ended_by_peer {
            return Err(HostMisbehaved::DataAfterEnd { id });
        }
        if !self.receive.receive(bytes) {
            return Err(HostMisbehaved::CreditExceeded { id });
        }
        if self.dropped || self.failure.is_some() {
            self.receive.clear();
        }
        wakes.extend(self.reader.take());
        Ok(())
    }

    /// The host said `Eof`.
    pub(crate) fn on_eof(&mut self, id: u64, wakes: &mut Vec<Waker>) -> Result<(), HostMisbehaved> {
        self.require_open(id)?;
        if std::mem::replace(&mut self.ended_by_peer, true) {
            return Err(HostMisbehaved::DataAfterEnd { id });
        }
        wakes.extend(self.reader.take());
        Ok(())
    }

    /// The host said `Credit`.
    pub(crate) fn on_credit(
        &mut self,
        id: u64,
        bytes: u32,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        self.require_open(id)?;
        match self.credit.checked_add(bytes) {
            Some(credit) if bytes > 0 && credit <= MAX_CREDIT => self.credit = credit,
            _ => return Err(HostMisbehaved::CreditNeverSpent { id }),
        }
        wakes.extend(self.writer.take());
        Ok(())
    }

    /// The host said `Reset`. Nothing is owed any more.
    pub(crate) fn on_reset(&mut self, id: u64, wakes: &mut Vec<Waker>) -> Result<(), HostMisbehaved> {
        self.require_open(id)?;
        self.gone = true;
        let queued = self.owed.queued;
        self.owed = Owed { queued, ..Owed::default() };
        self.fail(Failure::PeerReset, wakes);
        Ok(())
    }

    fn require_open(&self, id: u64) -> Result<(), HostMisbehaved> {
        if self.phase == Phase::Open && !self.gone { Ok(()) } else { Err(HostMisbehaved::NotOpen { id }) }
    }
}
