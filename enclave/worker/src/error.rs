//! What can go wrong, and whose fault it is.

use boundary_ring::{GeometryError, RingError};
use boundary_wire::frame::{DialFailure, FrameError};
use boundary_wire::rpc::{self, FailureCode, ReassemblyError};

/// A lie of the host, or a host that is no host of ours. Nothing the enclave or its clients can mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostMisbehaved {
    /// A ring's cursor or message cannot be.
    #[error("the host misbehaved: {0}")]
    Ring(#[from] RingError),
    /// A message that is no frame.
    #[error("the host misbehaved: it sent a message that is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A reply that does not parse.
    #[error("the host misbehaved: its reply to request {id} is wrong: {reason}")]
    Reply {
        /// The request.
        id: u64,
        /// What is wrong with it.
        reason: rpc::RpcError,
    },
    /// A reply longer than any may be.
    #[error("the host misbehaved: {0}")]
    Fragment(#[from] ReassemblyError),
    /// A reply of another kind than the request asks for.
    #[error("the host misbehaved: it answered another question than {question}")]
    WrongReply {
        /// What was asked.
        question: &'static str,
    },
    /// A reply without a request.
    #[error("the host misbehaved: it replied to request {id}, which nobody made")]
    ReplyToNobody {
        /// The request id of the reply.
        id: u64,
    },
    /// A new connection with an id that is not new.
    #[error("the host misbehaved: it used connection id {id} again")]
    ConnectionReused {
        /// The id.
        id: u64,
    },
    /// More new connections than were asked for.
    #[error("the host misbehaved: it sent connection {id} uninvited")]
    Uninvited {
        /// The id.
        id: u64,
    },
    /// A frame for a connection that never was.
    #[error("the host misbehaved: it named connection {id}, which never was")]
    UnknownConnection {
        /// The id.
        id: u64,
    },
    /// A frame that only an open connection may get.
    #[error("the host misbehaved: it used connection {id}, which is not open")]
    NotOpen {
        /// The connection.
        id: u64,
    },
    /// The answer to a dial that was not made.
    #[error("the host misbehaved: it connected {id}, which was not being dialed")]
    NotDialing {
        /// The connection.
        id: u64,
    },
    /// Data beyond the credit that the host had.
    #[error("the host misbehaved: it sent more on connection {id} than it had credit for")]
    CreditExceeded {
        /// The connection.
        id: u64,
    },
    /// Credit for bytes that were never sent.
    #[error("the host misbehaved: it gave connection {id} credit for what was never sent")]
    CreditNeverSpent {
        /// The connection.
        id: u64,
    },
    /// Data, or a second end, after the end.
    #[error("the host misbehaved: connection {id} went on after its end")]
    DataAfterEnd {
        /// The connection.
        id: u64,
    },
}

/// Why a request to the host has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The channel is of no further use.
    #[error(transparent)]
    HostMisbehaved(#[from] HostMisbehaved),
    /// The host tried and could not.
    #[error("the host could not do it ({code}): {message}")]
    Failed {
        /// What kind of failure, as the host says.
        code: FailureCode,
        /// The host's words: for people, not for decisions.
        message: String,
    },
    /// The request can never be sent: it is beyond the protocol's limits.
    #[error("the request cannot be sent: {0}")]
    BadRequest(rpc::RpcError),
    /// The worker has ended.
    #[error("the enclave is stopping")]
    Stopping,
}

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The host tried and could not.
    #[error("{0}")]
    Failed(DialFailure),
    /// Neither a DNS name nor an IP address, or port 0.
    #[error("not a host name or address with a port")]
    BadDestination,
    /// The channel is of no further use.
    #[error(transparent)]
    HostMisbehaved(#[from] HostMisbehaved),
    /// This worker holds as many connections as it may; try again when some have ended.
    #[error("this worker already holds {max} connections")]
    TooMany {
        /// The most it holds.
        max: usize,
    },
}

/// Why there is no worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The memory that the host gave cannot hold a ring.
    #[error("the host's channel memory is unusable: {0}")]
    Channel(#[from] GeometryError),
    /// The rings are too small for the protocol.
    #[error("the host's channel carries messages of {got} bytes, the protocol needs {needed}")]
    ChannelTooSmall {
        /// What the ring carries.
        got: usize,
        /// What the longest frame needs.
        needed: usize,
    },
    /// There is no such thread.
    #[error("thread {index} of {threads} does not exist")]
    NoSuchThread {
        /// What was asked for.
        index: u16,
        /// How many there are.
        threads: u16,
    },
}
