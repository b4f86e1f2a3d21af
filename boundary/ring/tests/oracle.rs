//! A ring does what a queue of messages does, whatever the order of operations.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;

use boundary_ring::{Consumer, Producer, RingError, SharedBuffer, host};
use proptest::prelude::*;

/// What a caller can do to a ring.
#[derive(Clone, Debug)]
enum Operation {
    /// Send these parts as one message.
    Push(Vec<Vec<u8>>),
    /// Reserve room, write into it in pieces, and send the first part of it.
    Reserve { room: usize, pieces: Vec<usize>, commit: usize },
    /// Reserve room and let go of it.
    Abandon(usize),
    /// Look at the next message and leave it.
    Peek,
    /// Take the next message.
    Consume,
}

const DATA: usize = 4096;
const MAX: usize = DATA / 4 - 8;

fn operation() -> impl Strategy<Value = Operation> {
    let len = prop_oneof![0..40usize, 0..MAX + 1, MAX - 9..MAX + 1];
    let bytes = (len, any::<u8>()).prop_map(|(len, seed)| pattern(seed, len));
    prop_oneof![
        2 => proptest::collection::vec(bytes, 0..3).prop_map(Operation::Push),
        2 => (0..MAX + 20, proptest::collection::vec(0..300usize, 0..5), any::<prop::sample::Index>())
            .prop_map(|(room, pieces, at)| Operation::Reserve { room, pieces, commit: at.index(room + 1) }),
        1 => (0..MAX + 1).prop_map(Operation::Abandon),
        1 => Just(Operation::Peek),
        4 => Just(Operation::Consume),
    ]
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed.wrapping_add((at * 31) as u8)).collect()
}

/// The enclave's and the host's sending end, which must behave alike.
trait Sender {
    fn push(&mut self, parts: &[&[u8]]) -> Result<bool, RingError>;
    /// Writes `bytes` in pieces and commits the first `commit`. `None`: full.
    fn in_place(&mut self, bytes: &[u8], pieces: &[usize], commit: usize) -> Result<Option<()>, RingError>;
    fn abandon(&mut self, room: usize) -> Result<bool, RingError>;
}

/// The same for receiving.
trait Receiver {
    fn next(&mut self, consume: bool) -> Option<Vec<u8>>;
}

fn split<'a>(bytes: &'a [u8], pieces: &'a [usize]) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut at = 0;
    pieces.iter().copied().chain([bytes.len()]).map(move |len| {
        let end = bytes.len().min(at + len);
        let piece = (at, &bytes[at..end]);
        at = end;
        piece
    })
}

impl Sender for Producer {
    fn push(&mut self, parts: &[&[u8]]) -> Result<bool, RingError> {
        Producer::push(self, parts)
    }

    fn in_place(&mut self, bytes: &[u8], pieces: &[usize], commit: usize) -> Result<Option<()>, RingError> {
        let Some(mut reservation) = self.reserve(bytes.len())? else { return Ok(None) };
        for (at, piece) in split(bytes, pieces) {
            reservation.write(at, piece)?;
        }
        reservation.commit(commit);
        Ok(Some(()))
    }

    fn abandon(&mut self, room: usize) -> Result<bool, RingError> {
        let Some(mut reservation) = self.reserve(room)? else { return Ok(false) };
        reservation.write(0, &vec![0xEE; room])?;
        Ok(true)
    }
}

impl Sender for host::Producer {
    fn push(&mut self, parts: &[&[u8]]) -> Result<bool, RingError> {
        host::Producer::push(self, parts)
    }

    fn in_place(&mut self, bytes: &[u8], pieces: &[usize], commit: usize) -> Result<Option<()>, RingError> {
        let Some(mut reservation) = self.reserve(bytes.len())? else { return Ok(None) };
        for (at, piece) in split(bytes, pieces) {
            reservation.host_slice(at)[..piece.len()].copy_from_slice(piece);
        }
        reservation.commit(commit);
        Ok(Some(()))
    }

    fn abandon(&mut self, room: usize) -> Result<bool, RingError> {
        let Some(mut reservation) = self.reserve(room)? else { return Ok(false) };
        reservation.host_slice(0).fill(0xEE);
        Ok(true)
    }
}

impl Receiver for Consumer {
    fn next(&mut self, consume: bool) -> Option<Vec<u8>> {
        let message = self.peek().unwrap()?;
        let mut out = vec![0xAA; 3];
        message.copy_to(&mut out);
        assert_eq!((out.len(), out.is_empty()), (message.len(), message.is_empty()));
        if consume {
            message.consume();
        }
        Some(out)
    }
}

impl Receiver for host::Consumer {
    fn next(&mut self, consume: bool) -> Option<Vec<u8>> {
        let message = self.peek().unwrap()?;
        let out = message.host_slice().to_vec();
        if consume {
            message.consume();
        }
        Some(out)
    }
}

/// A message, its record header and its rounding.
fn record(len: usize) -> usize {
    8 + len.next_multiple_of(8)
}

/// A ring may be full only if what is in it, this message, and padding before one of each leave no room.
fn assert_may_be_full(queue: &VecDeque<Vec<u8>>, len: usize) {
    let used: usize = queue.iter().map(|message| record(message.len())).sum();
    assert!(!queue.is_empty() && used + record(len) * 2 + record(MAX) > DATA, "{used} used, {len} refused");
}

fn check(mut sender: impl Sender, mut receiver: impl Receiver, operations: Vec<Operation>) {
    let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
    for operation in operations {
        match operation {
            Operation::Push(parts) => {
                let whole = parts.concat();
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                match sender.push(&parts) {
                    Ok(true) => queue.push_back(whole),
                    Ok(false) => assert_may_be_full(&queue, whole.len()),
                    Err(error) => {
                        assert!(whole.len() > MAX);
                        assert_eq!(error, RingError::TooLarge { len: whole.len(), max: MAX });
                    }
                }
            }
            Operation::Reserve { room, pieces, commit } => {
                let bytes = pattern(room as u8, room);
                match sender.in_place(&bytes, &pieces, commit) {
                    Ok(Some(())) => queue.push_back(bytes[..commit].to_vec()),
                    Ok(None) => assert_may_be_full(&queue, room),
                    Err(error) => assert_eq!(error, RingError::TooLarge { len: room, max: MAX }),
                }
            }
            Operation::Abandon(room) => {
                if !sender.abandon(room).unwrap() {
                    assert_may_be_full(&queue, room);
                }
            }
            Operation::Peek => assert_eq!(receiver.next(false), queue.front().cloned()),
            Operation::Consume => assert_eq!(receiver.next(true), queue.pop_front()),
        }
    }
    while let Some(message) = queue.pop_front() {
        assert_eq!(receiver.next(true), Some(message));
    }
    assert_eq!(receiver.next(true), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn from_enclave_to_host(operations in proptest::collection::vec(operation(), 0..200)) {
        let (to, from) = SharedBuffer::new(DATA).unwrap().ends();
        check(Producer::new(to).unwrap(), host::Consumer::new(from).unwrap(), operations);
    }

    #[test]
    fn from_host_to_enclave(operations in proptest::collection::vec(operation(), 0..200)) {
        let (to, from) = SharedBuffer::new(DATA).unwrap().ends();
        check(host::Producer::new(to).unwrap(), Consumer::new(from).unwrap(), operations);
    }
}

#[test]
fn the_largest_message_fits_wherever_an_empty_ring_stands() {
    let (to, from) = SharedBuffer::new(DATA).unwrap().ends();
    let (mut producer, mut consumer) = (Producer::new(to).unwrap(), Consumer::new(from).unwrap());
    for step in 0..3 * DATA / 8 {
        assert!(producer.push(&[&[1; MAX]]).unwrap(), "step {step}");
        assert_eq!(consumer.next(true).map(|message| message.len()), Some(MAX));
        assert!(producer.push(&[]).unwrap(), "step {step}");
        assert_eq!(consumer.next(true), Some(Vec::new()));
    }
}

#[test]
fn writes_stay_within_what_was_reserved() {
    let (to, from) = SharedBuffer::new(DATA).unwrap().ends();
    let (mut producer, mut consumer) = (Producer::new(to).unwrap(), Consumer::new(from).unwrap());
    let mut reservation = producer.reserve(20).unwrap().unwrap();
    let outside = |at, len| Err(RingError::OutsideReservation { at, len, reserved: 20 });
    assert_eq!(reservation.write(0, &[0; 21]), outside(0, 21));
    assert_eq!(reservation.write(16, &[0; 5]), outside(16, 5));
    assert_eq!(reservation.write(usize::MAX, &[0; 2]), outside(usize::MAX, 2));
    assert_eq!(reservation.write(3, &[0]), Err(RingError::Unaligned { at: 3 }));
    reservation.write(0, b"abc").unwrap();
    assert_eq!(reservation.write(4, b"x"), Err(RingError::Unaligned { at: 4 }));
    reservation.write(3, b"defghijklm").unwrap();
    reservation.write(13, b"n").unwrap();
    reservation.write(16, b"qrst").unwrap();
    reservation.commit(20);
    assert_eq!(consumer.next(true).unwrap(), b"abcdefghijklmn\0\0qrst");
}

#[test]
fn the_size_that_was_asked_for_is_the_size_that_fits() {
    for max in [1, 100, 65_552, 65_528, 1 << 20] {
        let data = boundary_ring::data_bytes_for(max);
        assert!(boundary_ring::max_message_for(data) >= max);
        assert!(data == boundary_ring::MIN_DATA || boundary_ring::max_message_for(data / 2) < max);
    }
}
