//! The host's ends of a channel: the same rings, used in place.
//!
//! A host receives from a socket straight into the ring and sends straight from it, so its ends give byte
//! slices of ring memory. An enclave never uses them: it copies.
//!
//! # Why slices are sound here
//! `&mut [u8]` and `&[u8]` say that nobody else writes these bytes meanwhile. The cursors grant exactly
//! that between two ends that keep to the protocol: a producer owns the bytes it reserved until it commits
//! them, a consumer owns those of a message until it consumes it, and the release and acquire of the
//! cursors order the accesses of one before those of the other. Both ends do keep to it, because a host end
//! is made only of one end of a [`SharedBuffer`], and the other end is
//! - in this program, an [`UntrustedMemory`] that is not `Clone` and becomes one [`Producer`] or
//!   [`Consumer`] of this crate, whose only writes are inside a reservation and to its cursor; or
//! - in the enclave that was given the range by address, the same code. The host trusts its enclave not to
//!   write elsewhere: an enclave can write all memory of its process anyway.
//!
//! The types have a lifetime that ends the slices before the bytes are given away. The slices themselves are made
//! in `untrusted.rs`, where all unsafe code of the crate lies.

use crate::{ChannelMemory, GeometryError, RingError, SharedBuffer, UntrustedMemory, consumer, producer};

/// The host's ends of one channel.
pub struct Channel {
    /// What the host sends.
    pub to_enclave: Producer,
    /// What the enclave sends.
    pub to_host: Consumer,
}

/// A new channel in memory of this program: the host's ends and the enclave's.
///
/// Each direction carries messages of up to [`max_message_for`](crate::max_message_for) `data_bytes`.
///
/// # Errors
/// [`GeometryError::Size`] when `data_bytes` is outside of the limits of a ring.
pub fn channel(data_bytes: usize) -> Result<(Channel, ChannelMemory), GeometryError> {
    let (here, to_enclave) = SharedBuffer::new(data_bytes)?.ends();
    let (to_host, there) = SharedBuffer::new(data_bytes)?.ends();
    let host = Channel { to_enclave: Producer::new(here)?, to_host: Consumer::new(there)? };
    Ok((host, ChannelMemory { to_enclave, to_host }))
}

/// Memory whose other end keeps to the protocol.
fn owned(memory: UntrustedMemory) -> Result<UntrustedMemory, GeometryError> {
    if memory.is_shared_buffer() { Ok(memory) } else { Err(GeometryError::NotOwned) }
}

/// Sends messages into a ring, in place if wanted.
pub struct Producer(producer::Producer);

impl Producer {
    /// Makes the sending end of an end of a [`SharedBuffer`].
    ///
    /// # Errors
    /// [`GeometryError::NotOwned`] for other memory, [`GeometryError::WrongEnd`] for the other end.
    pub fn new(memory: UntrustedMemory) -> Result<Self, GeometryError> {
        producer::Producer::new(owned(memory)?).map(Self)
    }

    /// The longest message this ring carries, bytes.
    pub fn max_message(&self) -> usize {
        self.0.max_message()
    }

    /// The ring's addresses, for an enclave that is told them.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.0.memory().range()
    }

    /// As [`crate::Producer::reserve`].
    ///
    /// # Errors
    /// As there.
    pub fn reserve(&mut self, max_len: usize) -> Result<Option<Reservation<'_>>, RingError> {
        Ok(self.0.reserve(max_len)?.map(Reservation))
    }

    /// As [`crate::Producer::push`].
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<bool, RingError> {
        self.0.push(parts)
    }
}

/// Room for one message, writable in place. Dropped without `commit`, nothing was sent.
pub struct Reservation<'a>(pub(crate) producer::Reservation<'a>);

impl Reservation<'_> {
    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no byte was reserved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`crate::Reservation::write`].
    ///
    /// # Errors
    /// As there.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), RingError> {
        self.0.write(at, bytes)
    }

    /// As [`crate::Reservation::commit`].
    ///
    /// # Panics
    /// As there.
    pub fn commit(self, len: usize) {
        self.0.commit(len);
    }
}

/// Receives messages from a ring, in place if wanted.
pub struct Consumer(consumer::Consumer);

impl Consumer {
    /// Makes the receiving end of an end of a [`SharedBuffer`].
    ///
    /// # Errors
    /// [`GeometryError::NotOwned`] for other memory, [`GeometryError::WrongEnd`] for the other end.
    pub fn new(memory: UntrustedMemory) -> Result<Self, GeometryError> {
        consumer::Consumer::new(owned(memory)?).map(Self)
    }

    /// The longest message this ring carries, bytes.
    pub fn max_message(&self) -> usize {
        self.0.max_message()
    }

    /// The ring's addresses, for an enclave that is told them.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.0.memory().range()
    }

    /// As [`crate::Consumer::peek`].
    ///
    /// # Errors
    /// As there.
    pub fn peek(&mut self) -> Result<Option<Message<'_>>, RingError> {
        Ok(self.0.peek()?.map(Message))
    }
}

/// One message in a ring, readable in place. Dropped without `consume`, it is seen again.
pub struct Message<'a>(pub(crate) consumer::Message<'a>);

impl Message<'_> {
    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`crate::Message::copy_to`].
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        self.0.copy_to(out);
    }

    /// As [`crate::Message::consume`].
    pub fn consume(self) {
        self.0.consume();
    }
}
