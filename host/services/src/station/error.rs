//! Why a station stops.

use std::io;

use boundary_ring::RingError;
use boundary_wire::frame::{ConnId, FrameError};
use boundary_wire::rpc::{ReassemblyError, RpcError};

/// Why a station stopped: the enclave broke the protocol, or the operating system failed.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A ring's cursor or message cannot be.
    #[error("the enclave's channel is broken: {0}")]
    Ring(#[from] RingError),
    /// A message that is no frame.
    #[error("the enclave sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame that must not come now.
    #[error("the enclave broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A request that cannot be put together.
    #[error("the enclave sent a request in pieces that do not fit: {0}")]
    Fragment(#[from] ReassemblyError),
    /// A request that does not parse, or a reply that cannot be sent.
    #[error("a request of the enclave is malformed: {0}")]
    Request(#[from] RpcError),
    /// epoll or a descriptor failed.
    #[error("{doing} failed: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A frame of the enclave that must not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Data beyond the credit it had.
    #[error("more data on connection {id} than it had credit for")]
    CreditExceeded {
        /// The connection.
        id: ConnId,
    },
    /// Credit for bytes that were never sent.
    #[error("credit on connection {id} for what was never sent")]
    CreditNeverSpent {
        /// The connection.
        id: ConnId,
    },
    /// Data or a second end after the end.
    #[error("connection {id} went on after its end")]
    AfterEnd {
        /// The connection.
        id: ConnId,
    },
    /// A frame for a connection that never was.
    #[error("connection {id} never was")]
    Unknown {
        /// The connection.
        id: ConnId,
    },
    /// A dial with an id that is not new.
    #[error("connection {id} was dialed before")]
    Reused {
        /// The connection.
        id: ConnId,
    },
    /// A frame that only an open connection may get.
    #[error("connection {id} is not open")]
    NotOpen {
        /// The connection.
        id: ConnId,
    },
}
