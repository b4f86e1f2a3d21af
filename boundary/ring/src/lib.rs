//! How do bytes cross between two parties that do not trust each other?
//!
//! A ring carries messages one way, from one producer to one consumer, through memory that both can read
//! and write at any time. A channel is two rings. Neither side believes the other:
//!
//! - geometry is fixed when an end is made and kept in private memory; nothing in the ring states it;
//! - an end's own cursor is private; the shared word is where it is published, never where it is read back;
//! - the peer's cursor is range-checked each time it is read, and a bad one is an error with a name;
//! - a message is copied out once and parsed from the copy.
//!
//! A lying peer can therefore stall its ring and nothing else. [`Producer`] and [`Consumer`] are the ends
//! of the enclave, [`host`] has those of the host, which also receive into and send from the ring in place.
//! [`Bell`] is how threads of the enclave wake each other.
//!
//! Byte table: `docs/formats/channel.md`.

#![deny(unsafe_code)]

mod bell;
mod consumer;
#[cfg(not(loom))]
pub mod host;
mod layout;
#[cfg(all(test, not(loom)))]
mod lying_peer;
mod producer;
mod sync;
#[allow(unsafe_code)]
mod untrusted;

pub use bell::Bell;
pub use consumer::{Consumer, Message};
pub use layout::{
    GeometryError, MAX_DATA, MIN_DATA, RING_HEADER, RingError, data_bytes_for, max_message_for,
};
pub use producer::{Producer, Reservation};
pub use untrusted::{SharedBuffer, UntrustedMemory};

/// The enclave's ends of one channel, before the rings are made over them.
pub struct ChannelMemory {
    /// What the host sends: make a [`Consumer`] of it.
    pub to_enclave: UntrustedMemory,
    /// What the enclave sends: make a [`Producer`] of it.
    pub to_host: UntrustedMemory,
}
