//! The receiving end.

use crate::{
    layout::{
        CONSUMER_CURSOR, Geometry, GeometryError, PADDING, PRODUCER_CURSOR, Position, RingError, WORD,
        record_size,
    },
    untrusted::{End, UntrustedMemory},
};

/// Receives messages from a ring.
pub struct Consumer {
    memory: UntrustedMemory,
    geometry: Geometry,
    /// Where the next record lies. Private; the shared cursor is a copy.
    head: Position,
    /// How far the producer was when it was last believed.
    tail: Position,
}

impl Consumer {
    /// Makes the receiving end over memory whose cursors are zero.
    ///
    /// # Errors
    /// [`GeometryError`] when the memory cannot hold a ring or is the sending end of one.
    pub fn new(memory: UntrustedMemory) -> Result<Self, GeometryError> {
        memory.require(End::Consumer)?;
        let geometry = Geometry::within(memory.len())?;
        memory.store_cursor(CONSUMER_CURSOR, Position::START.value());
        Ok(Self { memory, geometry, head: Position::START, tail: Position::START })
    }

    /// The longest message this ring carries, bytes.
    pub fn max_message(&self) -> usize {
        self.geometry.max_message()
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// A `Peer…` error when what the producer published cannot be.
    pub fn peek(&mut self) -> Result<Option<Message<'_>>, RingError> {
        let limit = self.head.advance(self.geometry.capacity());
        self.tail = Position::of_peer(self.memory.load_cursor(PRODUCER_CURSOR), self.tail, limit)?;
        if self.head == self.tail {
            return Ok(None);
        }
        let mut header = self.memory.load(self.geometry.offset(self.head));
        if header == PADDING {
            self.skip_padding()?;
            header = self.memory.load(self.geometry.offset(self.head));
        }
        let len = self.length(header)?;
        Ok(Some(Message { payload: self.geometry.offset(self.head) + WORD, len, consumer: self }))
    }

    /// Padding reaches to the end of the data, and the producer publishes it together with the message
    /// behind it. At the start of the data there is none, so a second padding in a row is refused there.
    fn skip_padding(&mut self) -> Result<(), RingError> {
        let padding = self.geometry.to_end(self.head);
        if padding == self.geometry.capacity() || padding as u64 >= self.tail.since(self.head) {
            return Err(RingError::PeerPadding { position: self.head.value() });
        }
        self.head = self.head.advance(padding);
        Ok(())
    }

    /// A record header's length, if such a message can lie at the head.
    fn length(&self, header: u64) -> Result<usize, RingError> {
        let published = self.tail.since(self.head) as usize;
        let max = self.geometry.max_message().min(published.min(self.geometry.to_end(self.head)) - WORD);
        if header == PADDING {
            return Err(RingError::PeerPadding { position: self.head.value() });
        }
        // `max` may be no multiple of 8 only if it is `max_message`, which is one: rounding stays within.
        if header > max as u64 {
            return Err(RingError::PeerMessage { len: header, max: max as u64 });
        }
        Ok(header as usize)
    }

    /// What a lying producer wants to know.
    #[cfg(test)]
    pub(crate) fn tail_seen(&self) -> u64 {
        self.tail.value()
    }

    #[cfg(test)]
    pub(crate) fn next_header(&self) -> usize {
        self.geometry.offset(self.head)
    }

    #[cfg(not(loom))]
    pub(crate) fn memory(&self) -> &UntrustedMemory {
        &self.memory
    }
}

/// One message in a ring. Dropped without [`consume`](Message::consume), it is seen again.
pub struct Message<'a> {
    consumer: &'a mut Consumer,
    /// Byte offset of the payload in the ring memory.
    payload: usize,
    len: usize,
}

impl Message<'_> {
    /// Bytes of the message, as checked when it was peeked.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces what is in `out` by the message: the one copy out of shared memory.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.resize(self.len, 0);
        self.consumer.memory.copy_out(self.payload, out);
    }

    /// Gives the message's room back to the producer.
    pub fn consume(self) {
        let Consumer { memory, head, .. } = self.consumer;
        *head = head.advance(record_size(self.len));
        memory.store_cursor(CONSUMER_CURSOR, head.value());
    }

    #[cfg(not(loom))]
    pub(crate) fn place(&self) -> (&UntrustedMemory, usize) {
        (&self.consumer.memory, self.payload)
    }
}
