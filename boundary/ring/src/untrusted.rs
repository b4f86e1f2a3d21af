//! Memory that the other side can read and write at any time. The crate's only unsafe module.
//!
//! # Memory model
//! Rust defines what happens when threads race on atomics and nothing else, so shared words are only ever
//! touched as `AtomicU64`, through a pointer that has interior mutability: no reference to them claims that
//! they stand still. A peer outside this program (another process, the host under an enclave) is no thread
//! of the abstract machine; what it does to a word between two of our loads is, to the compiler, the same as
//! what an unknown thread could have done. Each load gives some value, once: relaxed atomic loads are not
//! split, narrowed or repeated by LLVM, so a value that was checked is the value that is used.
//!
//! Aligned 64-bit accesses are also what keeps an enclave from two hardware leaks: reads of untrusted memory
//! that are not whole aligned 8-byte words can bring in stale data (INTEL-SA-00657), and writes that are
//! not can give stale data of a fill buffer away (INTEL-SA-00615). An aligned `AtomicU64` access is one
//! 8-byte move; a copy of bytes gives no such promise. The end of a message is therefore padded to a word
//! with zeros, and no word is read back to complete a write.
//!
//! Order: data words are relaxed; a cursor is published with release and read with acquire, so that between
//! two ends that keep to the protocol every access to a data word happens before the other side's next
//! one. The host ends rest on that ([`crate::host`]).

use std::{ops::Range, sync::Arc};

#[cfg(not(loom))]
use crate::host;
use crate::{
    layout::{GeometryError, MAX_DATA, MIN_DATA, RING_HEADER, WORD},
    sync::{AtomicU64, Ordering},
};

/// Memory shared with the other side, for one end of one ring. Read and written in whole words only.
pub struct UntrustedMemory {
    words: Words,
    end: End,
}

/// Which end memory may be made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Memory given by address: its giver knows.
    Any,
    Producer,
    Consumer,
}

impl UntrustedMemory {
    /// Takes ring memory by address.
    ///
    /// # Errors
    /// [`GeometryError`] when the range is null, not aligned to 64 bytes, too small, too large or wraps.
    ///
    /// # Safety
    /// `[base, base + len)` stays mapped, readable and writable for as long as the result lives, and lies
    /// wholly outside of memory that this program uses otherwise (an enclave: outside of its ELRANGE, see
    /// [`range`](Self::range)). Any other party may change its content at any time.
    #[cfg(not(loom))]
    pub unsafe fn new(base: *mut u8, len: usize) -> Result<Self, GeometryError> {
        let address = base.addr();
        let Some(base) = std::ptr::NonNull::new(base) else { return Err(GeometryError::Null) };
        if !address.is_multiple_of(LINE) {
            return Err(GeometryError::Misaligned { base: address });
        }
        check_size(len)?;
        if address.checked_add(len).is_none() {
            return Err(GeometryError::Overflow { base: address, len });
        }
        let words = Words { base: base.cast(), count: len / WORD, owner: None };
        Ok(Self { words, end: End::Any })
    }

    /// The addresses taken, so that a caller can check where they lie.
    #[cfg(not(loom))]
    pub fn range(&self) -> Range<usize> {
        let base = self.words.base.addr().get();
        base..base + self.len()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.words.count() * WORD
    }

    pub(crate) fn require(&self, end: End) -> Result<(), GeometryError> {
        if self.end == End::Any || self.end == end { Ok(()) } else { Err(GeometryError::WrongEnd) }
    }

    /// Whether this is an end of a [`SharedBuffer`], so that the other end keeps to the protocol.
    #[cfg(not(loom))]
    pub(crate) fn is_shared_buffer(&self) -> bool {
        self.end != End::Any && self.words.owner.is_some()
    }

    /// The peer's cursor; what it wrote before publishing it is visible after.
    pub(crate) fn load_cursor(&self, offset: usize) -> u64 {
        u64::from_le(self.words.at(offset).load(Ordering::Acquire))
    }

    /// Publishes an own cursor, after everything done before it.
    pub(crate) fn store_cursor(&self, offset: usize, cursor: u64) {
        self.words.at(offset).store(cursor.to_le(), Ordering::Release);
    }

    pub(crate) fn load(&self, offset: usize) -> u64 {
        u64::from_le(self.words.at(offset).load(Ordering::Relaxed))
    }

    pub(crate) fn store(&self, offset: usize, value: u64) {
        self.words.at(offset).store(value.to_le(), Ordering::Relaxed);
    }

    /// Copies the bytes from `offset` on out, word by word.
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) {
        let words = self.words.run(offset, out.len());
        let mut chunks = out.chunks_exact_mut(WORD);
        let mut words = words.iter();
        for (chunk, word) in (&mut chunks).zip(&mut words) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        if let Some(word) = words.next() {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            for (slot, byte) in chunks.into_remainder().iter_mut().zip(bytes) {
                *slot = byte;
            }
        }
    }

    /// Copies `bytes` in, word by word, the last one filled up with zeros. Gives that last word if it was
    /// filled up.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> [u8; WORD] {
        let words = self.words.run(offset, bytes.len());
        let mut words = words.iter();
        let (whole, rest) = bytes.as_chunks::<WORD>();
        for (chunk, word) in whole.iter().zip(&mut words) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        let mut last = [0; WORD];
        if let Some(word) = words.next() {
            for (slot, byte) in last.iter_mut().zip(rest) {
                *slot = *byte;
            }
            word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
        last
    }
}

#[cfg(not(loom))]
impl host::Reservation<'_> {
    /// The reserved bytes from `at` on, to be received into. Empty beyond the end.
    pub fn host_slice(&mut self, at: usize) -> &mut [u8] {
        let len = self.0.len();
        let at = at.min(len);
        let (memory, payload) = self.0.place();
        let start = memory.words.bytes(payload, len);
        // SAFETY: `bytes` checked that `len` bytes from `start` on lie in the ring, `at` is within them, and
        // they are valid for as long as the reservation is borrowed. Nobody else uses them meanwhile: this
        // end is borrowed mutably, and the other end leaves reserved bytes alone (`crate::host`).
        unsafe { std::slice::from_raw_parts_mut(start.add(at), len - at) }
    }
}

#[cfg(not(loom))]
impl host::Message<'_> {
    /// The message in place, to be sent from.
    pub fn host_slice(&self) -> &[u8] {
        let (memory, payload) = self.0.place();
        let start = memory.words.bytes(payload, self.0.len());
        // SAFETY: `bytes` checked that they lie in the ring, and they are valid for as long as the message is
        // borrowed. Nobody writes them meanwhile: this end writes no data, it consumes a message by value,
        // and the other end leaves published bytes alone until they are consumed (`crate::host`).
        unsafe { std::slice::from_raw_parts(start, self.0.len()) }
    }
}

fn check_size(len: usize) -> Result<(), GeometryError> {
    let (min, max) = (RING_HEADER + MIN_DATA, RING_HEADER + MAX_DATA);
    if (min..=max).contains(&len) { Ok(()) } else { Err(GeometryError::Size { len, min, max }) }
}

/// Memory of this program for one ring, shared between two ends that free it when both are gone.
///
/// For the host's side of a channel, the native platform and tests: no address is passed about, and each
/// end can be made only once and only into what it is.
pub struct SharedBuffer {
    allocation: Arc<Allocation>,
}

impl SharedBuffer {
    /// Zeroed memory for a ring of at least `data_bytes` of data (rounded up to a power of two).
    ///
    /// # Errors
    /// [`GeometryError::Size`] outside of the limits of a ring.
    pub fn new(data_bytes: usize) -> Result<Self, GeometryError> {
        check_size(data_bytes.saturating_add(RING_HEADER))?;
        let len = RING_HEADER + data_bytes.next_power_of_two();
        Ok(Self { allocation: Arc::new(Allocation::zeroed(len)) })
    }

    /// The end for the producer and the end for the consumer.
    pub fn ends(self) -> (UntrustedMemory, UntrustedMemory) {
        let whole = 0..self.allocation.len();
        let producer = self.allocation.memory(whole.clone(), End::Producer);
        (producer, self.allocation.memory(whole, End::Consumer))
    }
}

#[cfg(not(loom))]
pub(crate) use machine::{Allocation, LINE, Words};
#[cfg(loom)]
pub(crate) use modelled::{Allocation, Words};

#[cfg(not(loom))]
mod machine {
    use std::ptr::NonNull;

    use super::*;

    /// A cache line, so that cursors do not share one.
    pub(crate) const LINE: usize = 64;

    #[derive(Default)]
    #[repr(C, align(64))]
    struct Line([AtomicU64; LINE / WORD]);

    /// Zeroed lines of this program, freed with the last end over them.
    pub(crate) struct Allocation {
        lines: NonNull<[Line]>,
    }

    impl Allocation {
        /// At least `len` bytes.
        pub(crate) fn zeroed(len: usize) -> Self {
            let lines: Box<[Line]> = (0..len.div_ceil(LINE)).map(|_| Line::default()).collect();
            Self { lines: NonNull::from(Box::leak(lines)) }
        }

        pub(crate) fn len(&self) -> usize {
            self.lines.len() * LINE
        }

        /// Part of the allocation, in bytes. Both ends of the range are multiples of 64.
        pub(crate) fn memory(self: &Arc<Self>, bytes: Range<usize>, end: End) -> UntrustedMemory {
            assert!(bytes.start <= bytes.end && bytes.end <= self.len(), "within the allocation");
            assert!(bytes.start.is_multiple_of(LINE), "whole lines");
            // SAFETY: the assertion keeps the result in or at the end of the allocation.
            let base = unsafe { self.lines.cast::<u8>().add(bytes.start) }.cast();
            let words = Words { base, count: bytes.len() / WORD, owner: Some(self.clone()) };
            UntrustedMemory { words, end }
        }
    }

    impl Drop for Allocation {
        fn drop(&mut self) {
            // SAFETY: the pointer came from `Box::leak` in `zeroed`, and every `Words` over it held an
            // `Arc` of this allocation, so none is left.
            drop(unsafe { Box::from_raw(self.lines.as_ptr()) });
        }
    }

    // SAFETY: the lines are atomics, owned by the allocation; the pointer is not used but for them.
    unsafe impl Send for Allocation {}
    // SAFETY: as above; a shared allocation gives out nothing but atomics.
    unsafe impl Sync for Allocation {}

    /// Words of memory that somebody else may change.
    pub(crate) struct Words {
        /// Aligned to 64 bytes; valid for `count` words.
        pub(super) base: NonNull<AtomicU64>,
        pub(super) count: usize,
        /// Keeps memory of this program alive. `None`: given by address.
        pub(super) owner: Option<Arc<Allocation>>,
    }

    impl Words {
        pub(super) fn count(&self) -> usize {
            self.count
        }

        /// The word at a byte offset, a multiple of 8.
        pub(super) fn at(&self, offset: usize) -> &AtomicU64 {
            let index = offset / WORD;
            assert!(index < self.count && offset.is_multiple_of(WORD), "a word of the ring");
            // SAFETY: needed because the memory is shared by address. The index was checked; base and
            // count are private and were checked (`UntrustedMemory::new`) or come from an allocation that
            // `owner` keeps alive. An `AtomicU64` may be changed by others while it is borrowed.
            unsafe { self.base.add(index).as_ref() }
        }

        /// The words that hold `len` bytes from a byte offset on.
        pub(super) fn run(&self, offset: usize, len: usize) -> &[AtomicU64] {
            let (first, count) = self.checked(offset, len);
            // SAFETY: as in `at`, for a run that was checked as a whole.
            unsafe { std::slice::from_raw_parts(self.base.add(first).as_ptr(), count) }
        }

        /// Where `len` bytes from a byte offset on lie.
        pub(super) fn bytes(&self, offset: usize, len: usize) -> *mut u8 {
            let (first, _) = self.checked(offset, len);
            // SAFETY: the run was checked, so its first word lies in the memory or at its end.
            unsafe { self.base.add(first) }.as_ptr().cast()
        }

        fn checked(&self, offset: usize, len: usize) -> (usize, usize) {
            let (first, count) = (offset / WORD, len.div_ceil(WORD));
            assert!(offset.is_multiple_of(WORD), "a word of the ring");
            assert!(first <= self.count && count <= self.count - first, "words of the ring");
            (first, count)
        }
    }

    // SAFETY: the words are atomics; whoever holds the `Words` may be on any thread, and `owner` is Send.
    unsafe impl Send for Words {}
}

/// The same words as objects of the model checker, which cannot watch plain memory.
#[cfg(loom)]
mod modelled {
    use super::*;

    pub(crate) struct Allocation(Vec<AtomicU64>);

    impl Allocation {
        pub(crate) fn zeroed(len: usize) -> Self {
            Self((0..len / WORD).map(|_| AtomicU64::new(0)).collect())
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len() * WORD
        }

        pub(crate) fn memory(self: &Arc<Self>, _: Range<usize>, end: End) -> UntrustedMemory {
            UntrustedMemory { words: Words(self.clone()), end }
        }
    }

    pub(crate) struct Words(Arc<Allocation>);

    impl Words {
        pub(super) fn count(&self) -> usize {
            self.0.0.len()
        }

        pub(super) fn at(&self, offset: usize) -> &AtomicU64 {
            &self.0.0[offset / WORD]
        }

        pub(super) fn run(&self, offset: usize, len: usize) -> &[AtomicU64] {
            &self.0.0[offset / WORD..][..len.div_ceil(WORD)]
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{Consumer, Producer, host};

    /// Ring memory as an enclave is told it: by address.
    fn by_address(buffer: &SharedBuffer) -> UntrustedMemory {
        let memory = buffer.allocation.memory(0..buffer.allocation.len(), End::Any);
        let range = memory.range();
        let base = memory.words.base.as_ptr().cast::<u8>();
        assert_eq!(base.addr(), range.start);
        // SAFETY: the buffer outlives what the tests make of it, and its content is only words.
        unsafe { UntrustedMemory::new(base, range.len()) }.unwrap()
    }

    #[test]
    fn addresses_are_checked() {
        let new = |base: usize, len: usize| {
            // SAFETY: none of these is accepted, so none is accessed.
            unsafe { UntrustedMemory::new(std::ptr::without_provenance_mut(base), len) }.err().unwrap()
        };
        let size = |len| GeometryError::Size { len, min: 128 + 4096, max: 128 + (1 << 30) };
        assert_eq!(new(0, 8192), GeometryError::Null);
        assert_eq!(new(4096 + 8, 8192), GeometryError::Misaligned { base: 4096 + 8 });
        assert_eq!(new(4096, 128 + 4095), size(128 + 4095));
        assert_eq!(new(4096, (1 << 30) + 129), size((1 << 30) + 129));
        assert_eq!(new(4096, usize::MAX), size(usize::MAX));
        let base = usize::MAX - 4095;
        assert_eq!(new(base, 8192), GeometryError::Overflow { base, len: 8192 });
    }

    #[test]
    fn sizes_are_checked() {
        for bytes in [0, 4095, (1 << 30) + 1, usize::MAX] {
            assert!(matches!(SharedBuffer::new(bytes), Err(GeometryError::Size { .. })), "{bytes}");
        }
        let (to, _) = SharedBuffer::new(5000).unwrap().ends();
        assert_eq!(Producer::new(to).unwrap().max_message(), 8192 / 4 - 8);
    }

    #[test]
    fn an_end_is_made_only_into_what_it_is() {
        let (to, from) = SharedBuffer::new(4096).unwrap().ends();
        assert_eq!(Producer::new(from).err(), Some(GeometryError::WrongEnd));
        assert_eq!(host::Consumer::new(to).err(), Some(GeometryError::WrongEnd));
        let buffer = SharedBuffer::new(4096).unwrap();
        assert_eq!(host::Producer::new(by_address(&buffer)).err(), Some(GeometryError::NotOwned));
        assert_eq!(host::Consumer::new(by_address(&buffer)).err(), Some(GeometryError::NotOwned));
    }

    #[test]
    fn a_ring_by_address_carries_messages() {
        let buffer = SharedBuffer::new(4096).unwrap();
        let mut producer = Producer::new(by_address(&buffer)).unwrap();
        let mut consumer = Consumer::new(by_address(&buffer)).unwrap();
        assert!(producer.push(&[b"by ", b"address"]).unwrap());
        let mut out = vec![1; 100];
        consumer.peek().unwrap().unwrap().copy_to(&mut out);
        assert_eq!(out, b"by address");
    }

    #[test]
    fn host_ends_work_in_place_between_threads() {
        let (to, from) = SharedBuffer::new(4096).unwrap().ends();
        let (mut producer, mut consumer) = (host::Producer::new(to).unwrap(), Consumer::new(from).unwrap());
        let (back_to, back_from) = SharedBuffer::new(4096).unwrap().ends();
        let (mut echo, mut replies) =
            (Producer::new(back_to).unwrap(), host::Consumer::new(back_from).unwrap());
        const ROUNDS: u32 = if cfg!(miri) { 60 } else { 5000 };
        let message = |round: u32| -> Vec<u8> { (0..round % 700).map(|at| (at ^ round) as u8).collect() };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let sent = message(round);
                    loop {
                        if let Some(mut reservation) = producer.reserve(1000).unwrap() {
                            let slice = reservation.host_slice(16);
                            assert_eq!(slice.len(), 984);
                            slice[..sent.len()].copy_from_slice(&sent);
                            reservation.write(0, &[9; 16]).unwrap();
                            assert!(reservation.host_slice(2000).is_empty());
                            reservation.commit(16 + sent.len());
                            break;
                        }
                        std::thread::yield_now();
                    }
                }
            });
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for _ in 0..ROUNDS {
                    loop {
                        if let Some(message) = consumer.peek().unwrap() {
                            message.copy_to(&mut bytes);
                            message.consume();
                            break;
                        }
                        std::thread::yield_now();
                    }
                    while !echo.push(&[&bytes]).unwrap() {
                        std::thread::yield_now();
                    }
                }
            });
            for round in 0..ROUNDS {
                loop {
                    if let Some(reply) = replies.peek().unwrap() {
                        assert_eq!(reply.host_slice(), [vec![9; 16], message(round)].concat());
                        reply.consume();
                        break;
                    }
                    std::thread::yield_now();
                }
            }
        });
    }
}
