//! Bytes of one connection between the ring and its reader.

use std::collections::VecDeque;

use boundary_wire::frame::INITIAL_CREDIT;

/// Credit goes back to the host in portions of this size: few frames, and the host always has the rest.
pub(crate) const CREDIT_PORTION: u32 = INITIAL_CREDIT / 4;

/// An empty buffer keeps no more than this.
const KEPT_WHEN_EMPTY: usize = 4 * 1024;

/// Holds at most [`INITIAL_CREDIT`] bytes, because that is what the host was told it may send.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    bytes: VecDeque<u8>,
    /// What the host may still send.
    window: u32,
    /// What was read and not yet given back.
    read: u32,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        ReceiveBuffer { bytes: VecDeque::new(), window: INITIAL_CREDIT, read: 0 }
    }

    /// Takes bytes from the host. `false`: more than it may send.
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> bool {
        let Some(left) = u32::try_from(bytes.len()).ok().and_then(|n| self.window.checked_sub(n)) else {
            return false;
        };
        self.window = left;
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

    /// Credit that is due to the host now, if a portion is.
    pub(crate) fn take_credit(&mut self) -> Option<u32> {
        if self.read < CREDIT_PORTION {
            return None;
        }
        let credit = std::mem::take(&mut self.read);
        self.window = self.window.saturating_add(credit).min(INITIAL_CREDIT);
        Some(credit)
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
            steps in proptest::collection::vec((any::<bool>(), 1usize..70_000), 1..60),
        ) {
            let mut buffer = ReceiveBuffer::new();
            let (mut sent, mut read, mut may_send) = (0usize, 0usize, INITIAL_CREDIT as usize);
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
                    may_send += buffer.take_credit().unwrap_or(0) as usize;
                }
                prop_assert!(sent - read <= INITIAL_CREDIT as usize);
                prop_assert!(buffer.bytes.len() <= INITIAL_CREDIT as usize);
            }
        }
    }
}
