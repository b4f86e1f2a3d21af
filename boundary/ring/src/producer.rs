//! The sending end.

use crate::{
    layout::{
        CONSUMER_CURSOR, Geometry, GeometryError, PADDING, PRODUCER_CURSOR, Position, RingError, WORD,
        record_size,
    },
    untrusted::{End, UntrustedMemory},
};

/// Sends messages into a ring.
pub struct Producer {
    memory: UntrustedMemory,
    geometry: Geometry,
    /// Where the next record goes. Private; the shared cursor is a copy.
    tail: Position,
    /// How far the consumer was when it was last believed.
    head: Position,
}

impl Producer {
    /// Makes the sending end over memory whose cursors are zero.
    ///
    /// # Errors
    /// [`GeometryError`] when the memory cannot hold a ring or is the receiving end of one.
    pub fn new(memory: UntrustedMemory) -> Result<Self, GeometryError> {
        memory.require(End::Producer)?;
        let geometry = Geometry::within(memory.len())?;
        memory.store_cursor(PRODUCER_CURSOR, Position::START.value());
        Ok(Self { memory, geometry, tail: Position::START, head: Position::START })
    }

    /// The longest message this ring carries, bytes.
    pub fn max_message(&self) -> usize {
        self.geometry.max_message()
    }

    /// Sets `max_len` contiguous bytes aside for a message. `None`: the ring is full now.
    ///
    /// # Errors
    /// [`RingError::TooLarge`] when it could never fit, [`RingError::PeerCursor`] when the consumer lies.
    pub fn reserve(&mut self, max_len: usize) -> Result<Option<Reservation<'_>>, RingError> {
        let max = self.max_message();
        if max_len > max {
            return Err(RingError::TooLarge { len: max_len, max });
        }
        self.head = Position::of_peer(self.memory.load_cursor(CONSUMER_CURSOR), self.head, self.tail)?;
        let size = record_size(max_len);
        let to_end = self.geometry.to_end(self.tail);
        let padding = if size > to_end { to_end } else { 0 };
        let used = self.tail.since(self.head);
        if used + (padding + size) as u64 > self.geometry.capacity() as u64 {
            return Ok(None);
        }
        let payload = self.geometry.offset(self.tail.advance(padding)) + WORD;
        Ok(Some(Reservation { producer: self, padding, payload, len: max_len, written: 0, last: [0; WORD] }))
    }

    /// Sends one message made of `parts`. `false`: the ring is full now and nothing was sent.
    ///
    /// # Errors
    /// As [`Producer::reserve`].
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<bool, RingError> {
        let len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let Some(mut reservation) = self.reserve(len)? else { return Ok(false) };
        let mut at = 0;
        for part in parts {
            reservation.write(at, part)?;
            at += part.len();
        }
        reservation.commit(len);
        Ok(true)
    }

    /// What a lying consumer wants to know.
    #[cfg(test)]
    pub(crate) fn head_seen(&self) -> u64 {
        self.head.value()
    }

    /// How far it has sent: another value after every message.
    pub fn sent_to(&self) -> u64 {
        self.tail.value()
    }

    #[cfg(not(loom))]
    pub(crate) fn memory(&self) -> &UntrustedMemory {
        &self.memory
    }
}

/// Room for one message. Dropped without [`commit`](Reservation::commit), nothing was sent.
pub struct Reservation<'a> {
    producer: &'a mut Producer,
    /// Bytes left unused before the record, so that it is contiguous.
    padding: usize,
    /// Byte offset of the payload in the ring memory.
    payload: usize,
    len: usize,
    /// Where the last write ended, and the word it ended in.
    written: usize,
    last: [u8; WORD],
}

impl Reservation<'_> {
    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte was reserved.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `bytes` at byte `at` of the message: a multiple of 8, or where the last write ended.
    ///
    /// # Errors
    /// [`RingError::OutsideReservation`] or [`RingError::Unaligned`]; nothing was written then.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), RingError> {
        if at > self.len || bytes.len() > self.len - at {
            return Err(RingError::OutsideReservation { at, len: bytes.len(), reserved: self.len });
        }
        let within = at % WORD;
        let mut rest = bytes;
        let mut next = at;
        if within != 0 {
            if at != self.written {
                return Err(RingError::Unaligned { at });
            }
            let (first, after) = bytes.split_at(bytes.len().min(WORD - within));
            for (slot, byte) in self.last.iter_mut().skip(within).zip(first) {
                *slot = *byte;
            }
            self.producer.memory.store(self.payload + at - within, u64::from_ne_bytes(self.last));
            rest = after;
            next += first.len();
        }
        if !rest.is_empty() {
            self.last = self.producer.memory.copy_in(self.payload + next, rest);
        }
        self.written = at + bytes.len();
        Ok(())
    }

    /// Sends the first `len` bytes as one message.
    ///
    /// # Panics
    /// When more is sent than was reserved: the bytes behind it are not the caller's.
    pub fn commit(self, len: usize) {
        assert!(len <= self.len, "commit of {len} bytes where {} are reserved", self.len);
        let Producer { memory, geometry, tail, .. } = self.producer;
        if self.padding > 0 {
            memory.store(geometry.offset(*tail), PADDING);
        }
        memory.store(self.payload - WORD, len as u64);
        *tail = tail.advance(self.padding + record_size(len));
        memory.store_cursor(PRODUCER_CURSOR, tail.value());
    }

    #[cfg(not(loom))]
    pub(crate) fn place(&self) -> (&UntrustedMemory, usize) {
        (&self.producer.memory, self.payload)
    }
}
