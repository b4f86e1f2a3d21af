//! How does one enclave thread run tasks and talk to the host?
//!
//! A [`Worker`] is one thread of the enclave. It owns one channel (two rings in memory that the host can
//! write at any time), one executor, and everything that happens on the channel. It runs to completion:
//!
//! 1. take what the host put into the ring, frame by frame: copied out once, checked, then used;
//! 2. wake the timers that are due;
//! 3. run tasks until none is ready or the quantum is over, so that a busy worker still leaves for I/O; then
//!    guests, by turns ([`Turn`]), until it is time to look outside;
//! 4. put what is owed to the host into the other ring: credit, ends of streams, requests, log lines;
//! 5. leave by `Platform::notify`: to wait if nothing is ready, else only to let bytes move, and begin again.
//!
//! While the worker is outside, its thread does the host's half: it sends, receives and waits in epoll.
//! Nothing spins, and an idle system costs nothing. Other threads reach a worker through wakers: each one
//! rings the thread's bell, and only if the thread sleeps does somebody leave the enclave to wake it.
//!
//! # What is bounded
//!
//! | what | by |
//! |---|---|
//! | bytes received and not yet read, per connection | the credit given to the host, [`frame::FIRST_CREDIT`] to [`frame::MAX_CREDIT`] |
//! | the same, of all connections | [`Room::receive`]: a connection gets more than the first credit out of it |
//! | bytes written and not yet sent, per connection | the credit that the host gave, and the ring |
//! | connections waiting for [`Handle::accept`], connections in all ([`Room::connections`]) | accept credit: the host may not send more |
//! | requests to the host | a fixed number and total size; callers wait for room |
//! | log lines | a fixed size; what does not fit is lost, counted, and the count is logged |
//! | tasks run between two visits outside | the quantum |
//! | turns of guests between two visits outside | four whole ones; none before answers that wait to be sent |
//!
//! A writer that finds no credit or no room in the ring waits: back-pressure reaches the task, and through its
//! TLS stream the peer.
//!
//! # What the host may do wrong
//!
//! Everything. [`HostMisbehaved`] names each lie. One that concerns a single connection (data beyond the
//! credit, data after the end, credit that was never spent) resets that connection; one that concerns the
//! channel (a cursor out of range, a frame that does not parse, a reply to nobody) ends the channel: its
//! connections and requests fail with the same error, and [`Worker::run`] reports it when its main future is
//! done. The other workers go on.
//!
//! [`frame::FIRST_CREDIT`]: boundary_wire::frame::FIRST_CREDIT
//! [`frame::MAX_CREDIT`]: boundary_wire::frame::MAX_CREDIT

#![forbid(unsafe_code)]

mod calls;
mod connection;
mod error;
mod handle;
mod hyper_rt;
mod log;
mod reactor;
mod recv;
mod roll;
mod streams;
mod timer;
mod turns;
mod wait_list;
mod wake;
mod worker;

/// Jobs from one enclave thread to another: a waker of the receiving task rings its worker's bell.
pub mod queue {
    pub use futures_channel::mpsc::{Receiver, SendError, Sender, TrySendError};

    /// A queue of at most `capacity` jobs (and one more per sender).
    pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        futures_channel::mpsc::channel(capacity)
    }
}

pub use async_executor::Task;
pub use boundary_wire::rpc::LogLevel;

pub use crate::connection::Connection;
pub use crate::error::{DialError, HostMisbehaved, RpcError, WorkerError};
pub use crate::handle::{Draining, Handle};
pub use crate::hyper_rt::{HyperExecutor, HyperIo, HyperTimer};
pub use crate::timer::Sleep;
pub use crate::turns::{Account, Turn, WHOLE_TURN};
pub use crate::worker::{Ended, Room, Worker, Workers};
