//! Bytes of one connection between the ring and its reader.

use std::collections::VecDeque;

use boundary_wire::frame::{FIRST_CREDIT, MAX_CREDIT};

/// An empty buffer keeps no more than this.
const KEPT_WHEN_EMPTY: usize = 4 * 1024;

/// Holds at most `limit` bytes, because that is what the host was told it may send.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    bytes: VecDeque<u8>,
    /// Between [`FIRST_CREDIT`] and [`MAX_CREDIT`], both powers of two.
    limit: u32,
    /// What the host may still send.
    window: u32,
    /// What was read and not yet given back.
    read: u32,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        ReceiveBuffer { bytes: VecDeque::new(), limit: FIRST_CREDIT, window: FIRST_CREDIT, read: 0 }
    }

    /// Takes bytes from the host. `false`: more than it may send.
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> bool {
        let Some(left) = u32::try_from(bytes.len()).ok().and_then(|n| self.window.checked_sub(n)) else {
            return false;
        };
        self.window = left;
        // Doubling from a power of two on, up to `limit`: the memory never exceeds it either.
        let len = self.bytes.len() + bytes.len();
        if len > self.bytes.capacity() {
            self.bytes.reserve_exact(len.next_power_of_two() - self.bytes.len());
        }
        self.bytes.extend(bytes);
        true
    }

    /// Moves bytes to the reader.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut moved = 0;
        let (first, second) = self.bytes.as_slices();
        for part in [first, second] {
            let n = part.len().min(out.len() - moved);
            out[moved..moved + n].copy_from_slice(&part[..n]);
            moved += n;
        }
        self.bytes.drain(..moved);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_WHEN_EMPTY {
            self.bytes = VecDeque::new();
        }
        self.read = self.read.saturating_add(u32::try_from(moved).unwrap_or(u32::MAX));
        moved
    }

    /// Credit that is due to the host now, if a quarter of what it may have is: few frames, and the host
    /// always has the rest. A host that had used up more than half of it gets twice as much from then on, out
    /// of `spare` bytes.
    pub(crate) fn take_credit(&mut self, spare: &mut usize) -> Option<u32> {
        if self.read < self.limit / 4 {
            return None;
        }
        let mut credit = std::mem::take(&mut self.read);
        if self.limit < MAX_CREDIT
            && self.window < self.limit / 2
            && let Some(left) = spare.checked_sub(self.limit as usize)
        {
            *spare = left;
            credit = credit.saturating_add(self.limit);
            self.limit *= 2;
        }
        self.window = self.window.saturating_add(credit).min(self.limit);
        Some(credit)
    }

    /// Bytes that it took out of `spare`.
    pub(crate) fn taken(&self) -> usize {
        (self.limit - FIRST_CREDIT) as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Drops what nobody will read any more.
    pub(crate) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_received_is_read_in_order_and_never_exceeds_the_credit(
            spare in 0usize..600_000,
            steps in proptest::collection::vec((any::<bool>(), 1usize..70_000), 1..60),
        ) {
            let mut buffer = ReceiveBuffer::new();
            let mut left = spare;
            let (mut sent, mut read, mut may_send) = (0usize, 0usize, FIRST_CREDIT as usize);
            for (send, n) in steps {
                if send {
                    let bytes: Vec<u8> = (0..n).map(|i| (sent + i) as u8).collect();
                    prop_assert_eq!(buffer.receive(&bytes), n <= may_send);
                    if n <= may_send {
                        sent += n;
                        may_send -= n;
                    }
                } else {
                    let mut out = vec![0; n];
                    let got = buffer.read(&mut out);
                    prop_assert_eq!(got, n.min(sent - read));
                    prop_assert!(out[..got].iter().enumerate().all(|(i, b)| *b == (read + i) as u8));
                    read += got;
                    may_send += buffer.take_credit(&mut left).unwrap_or(0) as usize;
                }
                prop_assert!(may_send <= MAX_CREDIT as usize);
                prop_assert!(sent - read <= FIRST_CREDIT as usize + buffer.taken());
                prop_assert!(buffer.bytes.capacity() <= FIRST_CREDIT as usize + buffer.taken());
                prop_assert_eq!(left + buffer.taken(), spare);
            }
        }
    }

    /// What a fast sender and a reader that keeps up come to.
    #[test]
    fn a_connection_that_uses_its_credit_gets_more_while_there_is_some() {
        let fill = |buffer: &mut ReceiveBuffer, spare: &mut usize| {
            let window = buffer.window as usize;
            assert!(buffer.receive(&vec![1; window]));
            assert_eq!(buffer.read(&mut vec![0; window]), window);
            buffer.take_credit(spare);
            buffer.limit
        };
        let (mut fast, mut late) = (ReceiveBuffer::new(), ReceiveBuffer::new());
        let mut spare = (MAX_CREDIT - FIRST_CREDIT) as usize;
        let limits: Vec<u32> = (0..6).map(|_| fill(&mut fast, &mut spare) / 1024).collect();
        assert_eq!(limits, [32, 64, 128, 256, 256, 256]);
        assert_eq!(spare, 0);
        assert_eq!(fill(&mut late, &mut spare), FIRST_CREDIT);
        // One that reads little of what it was sent keeps what it had.
        let mut slow = ReceiveBuffer::new();
        let mut spare = usize::MAX;
        assert!(slow.receive(&[1; 5000]));
        assert_eq!(slow.read(&mut [0; 5000]), 5000);
        assert_eq!(slow.take_credit(&mut spare), Some(5000));
        assert_eq!(slow.taken(), 0);
    }
}
