//! Where things lie in a ring, and what the peer may say about it.

/// Bytes before the data: the producer's cursor at 0, the consumer's at 64, each on a cache line of its own.
pub const RING_HEADER: usize = 128;
/// Byte offset of the producer's cursor.
pub(crate) const PRODUCER_CURSOR: usize = 0;
/// Byte offset of the consumer's cursor.
pub(crate) const CONSUMER_CURSOR: usize = 64;
/// Everything is a multiple of this: cursors, records, accesses.
pub(crate) const WORD: usize = 8;
/// Record header that says: nothing more before the end of the data, go on at its start.
pub(crate) const PADDING: u64 = u64::MAX;

/// Smallest data area, bytes.
pub const MIN_DATA: usize = if cfg!(loom) { 64 } else { 4096 };
/// Largest data area, bytes.
pub const MAX_DATA: usize = 1 << 30;

/// The largest message that a ring with `data_bytes` of data (a power of two) carries.
///
/// A quarter of the data less the record header: a record and the padding in front of it then fit into
/// an empty ring wherever its cursors stand.
pub const fn max_message_for(data_bytes: usize) -> usize {
    data_bytes / 4 - WORD
}

/// The smallest data area whose ring carries messages of `max_message` bytes.
pub const fn data_bytes_for(max_message: usize) -> usize {
    let bytes = (record_size(max_message) * 4).next_power_of_two();
    if bytes < MIN_DATA { MIN_DATA } else { bytes }
}

/// Header and payload of a message, padded to whole words.
pub(crate) const fn record_size(len: usize) -> usize {
    WORD + len.next_multiple_of(WORD)
}

/// Why memory cannot hold a ring end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No memory was given.
    #[error("ring memory is at address 0")]
    Null,
    /// Words and cache lines would straddle.
    #[error("ring memory at {base:#x} is not aligned to 64 bytes")]
    Misaligned {
        /// Address given.
        base: usize,
    },
    /// Too small or too large.
    #[error("ring memory of {len} bytes: between {min} and {max} bytes are needed")]
    Size {
        /// Bytes given.
        len: usize,
        /// Fewest bytes.
        min: usize,
        /// Most bytes.
        max: usize,
    },
    /// The range wraps around the address space.
    #[error("ring memory of {len} bytes at {base:#x} ends beyond the address space")]
    Overflow {
        /// Address given.
        base: usize,
        /// Bytes given.
        len: usize,
    },
    /// A producer was asked of the consumer's end of a shared buffer, or the other way round.
    #[error("this is the other end of the shared buffer: a ring has one producer and one consumer")]
    WrongEnd,
    /// A host end was asked of memory that this program does not own.
    #[error("a host end needs an end of a SharedBuffer, this memory was given by address")]
    NotOwned,
}

/// Why an operation on a ring failed. After a `Peer…` error the channel is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The message can never fit; nothing was sent.
    #[error("message of {len} bytes: this ring carries at most {max}")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes the ring carries.
        max: usize,
    },
    /// The other side published a cursor that cannot be.
    #[error("the other side published cursor {cursor}: not a multiple of 8 in {low}..={high}")]
    PeerCursor {
        /// What it published.
        cursor: u64,
        /// Lowest possible position.
        low: u64,
        /// Highest possible position.
        high: u64,
    },
    /// The other side announced a message that is longer than what it published or than the ring carries.
    #[error("the other side announced a message of {len} bytes where at most {max} can lie")]
    PeerMessage {
        /// What it announced.
        len: u64,
        /// What could lie there.
        max: u64,
    },
    /// The other side padded where no padding can be.
    #[error("the other side put padding at position {position}, with no message after it in place")]
    PeerPadding {
        /// Ring position of the padding.
        position: u64,
    },
    /// A write would leave what was reserved.
    #[error("write of {len} bytes at {at}: only {reserved} bytes are reserved")]
    OutsideReservation {
        /// Where the write starts.
        at: usize,
        /// How long it is.
        len: usize,
        /// What was reserved.
        reserved: usize,
    },
    /// Shared memory is written in whole words, and never read back to complete one.
    #[error("write at {at}: neither a multiple of 8 nor where the write before it ended")]
    Unaligned {
        /// Where the write starts.
        at: usize,
    },
}

impl RingError {
    /// Whether the other side broke the protocol, rather than the caller.
    pub fn is_peer_fault(&self) -> bool {
        matches!(self, Self::PeerCursor { .. } | Self::PeerMessage { .. } | Self::PeerPadding { .. })
    }
}

/// A place in the stream of bytes that passes through a ring since it was made. Always a multiple of 8.
///
/// 2^64 bytes take decades at any speed a ring reaches, so positions do not wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    pub(crate) const START: Self = Self(0);

    pub(crate) fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn advance(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// Bytes from `earlier` to here.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }

    /// Takes a peer's cursor if it lies where the protocol allows.
    pub(crate) fn of_peer(cursor: u64, low: Self, high: Self) -> Result<Self, RingError> {
        if cursor < low.0 || cursor > high.0 || !cursor.is_multiple_of(WORD as u64) {
            return Err(RingError::PeerCursor { cursor, low: low.0, high: high.0 });
        }
        Ok(Self(cursor))
    }
}

/// The size of a data area: a power of two within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    data: usize,
}

impl Geometry {
    /// The largest data area in `len` bytes of ring memory.
    pub(crate) fn within(len: usize) -> Result<Self, GeometryError> {
        let room = len.saturating_sub(RING_HEADER);
        if !(MIN_DATA..=MAX_DATA).contains(&room) {
            let (min, max) = (RING_HEADER + MIN_DATA, RING_HEADER + MAX_DATA);
            return Err(GeometryError::Size { len, min, max });
        }
        Ok(Self { data: 1 << room.ilog2() })
    }

    pub(crate) fn capacity(self) -> usize {
        self.data
    }

    pub(crate) fn max_message(self) -> usize {
        max_message_for(self.data)
    }

    /// Byte offset in the ring memory of a position.
    pub(crate) fn offset(self, position: Position) -> usize {
        RING_HEADER + (position.0 as usize & (self.data - 1))
    }

    /// Bytes from a position to the end of the data: at least one word.
    pub(crate) fn to_end(self, position: Position) -> usize {
        self.data - (position.0 as usize & (self.data - 1))
    }
}
