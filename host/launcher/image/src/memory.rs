//! Memory outside that the enclave's standard library asks for, to put text for the log into.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All of it together, at most.
const MOST_BYTES: usize = 64 << 20;
/// Pieces, at most.
const MOST_PIECES: usize = 4096;
/// The widest alignment.
const MOST_ALIGNMENT: usize = 4096;
/// Enclaves touch untrusted memory in whole words.
const WORD: usize = 8;

/// What of the host's memory the enclave has. Given back at the end, whatever the enclave does.
#[derive(Debug, Default)]
pub(crate) struct UserMemory(Mutex<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    by_address: BTreeMap<usize, Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    memory: NonNull<u8>,
    /// What was asked for.
    size: usize,
    alignment: usize,
    layout: Layout,
}

// SAFETY: a piece is owned by the table and touched through atomics only.
unsafe impl Send for Piece {}

impl UserMemory {
    /// Zeroed memory. None: the request is beyond the bounds, or no memory is left.
    pub(crate) fn allocate(&self, size: u64, alignment: u64) -> Option<u64> {
        let (size, alignment) = (usize::try_from(size).ok()?, usize::try_from(alignment).ok()?);
        if size == 0 || !alignment.is_power_of_two() || alignment > MOST_ALIGNMENT {
            return None;
        }
        let whole = size.checked_next_multiple_of(WORD)?;
        let layout = Layout::from_size_align(whole, alignment.max(WORD)).ok()?;
        let mut pieces = self.pieces();
        if pieces.by_address.len() >= MOST_PIECES || whole > MOST_BYTES - pieces.bytes {
            return None;
        }
        // SAFETY: needed for an alignment that is known at run time only. The layout has a size, checked above.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        pieces.bytes += whole;
        let address = memory.addr().get();
        pieces.by_address.insert(address, Piece { memory, size, alignment, layout });
        Some(address as u64)
    }

    /// Takes memory back. `false`: nothing of the kind was given.
    pub(crate) fn free(&self, address: u64, size: u64, alignment: u64) -> bool {
        if size == 0 {
            return true;
        }
        let mut pieces = self.pieces();
        let Ok(address) = usize::try_from(address) else { return false };
        let given = pieces
            .by_address
            .get(&address)
            .is_some_and(|piece| piece.size as u64 == size && piece.alignment as u64 == alignment);
        if given && let Some(piece) = pieces.by_address.remove(&address) {
            pieces.bytes -= piece.layout.size();
            piece.free();
        }
        given
    }

    /// A copy of bytes that lie within one piece. None: they do not.
    pub(crate) fn read(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        let (address, len) = (usize::try_from(address).ok()?, usize::try_from(len).ok()?);
        let pieces = self.pieces();
        let (start, piece) = pieces.by_address.range(..=address).next_back()?;
        let offset = address - start;
        if offset > piece.size || len > piece.size - offset {
            return None;
        }
        let byte = |at| {
            // SAFETY: needed because the enclave may write at any time, so the bytes are read as atomics. The
            // range was checked to lie in the piece, which lives while the table is locked.
            let byte = unsafe { AtomicU8::from_ptr(piece.memory.as_ptr().add(at)) };
            byte.load(Ordering::Relaxed)
        };
        Some((offset..offset + len).map(byte).collect())
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    fn free(self) {
        // SAFETY: the memory came from `alloc_zeroed` with this layout, and the piece is given away.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

impl Drop for UserMemory {
    fn drop(&mut self) {
        let pieces = std::mem::take(&mut *self.pieces());
        pieces.by_address.into_values().for_each(Piece::free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_read_and_taken_back() {
        let memory = UserMemory::default();
        let a = memory.allocate(13, 1).unwrap();
        let b = memory.allocate(4096, 4096).unwrap();
        assert_eq!((a % 8, b % 4096), (0, 0));
        assert_eq!(memory.read(a, 13), Some(vec![0; 13]));
        assert_eq!(memory.read(b + 1, 4095), Some(vec![0; 4095]));
        assert!(memory.free(a, 13, 1) && memory.free(b, 4096, 4096) && memory.free(0, 0, 1));
        assert_eq!(memory.pieces().bytes, 0);
        memory.allocate(8, 8).unwrap();
    }

    #[test]
    fn what_was_not_given_is_neither_read_nor_freed() {
        let memory = UserMemory::default();
        let a = memory.allocate(16, 8).unwrap();
        for (address, len) in [(a, 17), (a + 16, 1), (a - 8, 8), (0, 1), (u64::MAX, 1), (a, u64::MAX)] {
            assert_eq!(memory.read(address, len), None, "{address:#x} {len}");
        }
        for (address, size, alignment) in [(a + 8, 8, 8), (a, 8, 8), (a, 16, 16), (0, 16, 8)] {
            assert!(!memory.free(address, size, alignment), "{address:#x} {size} {alignment}");
        }
        assert!(memory.free(a, 16, 8));
        assert!(!memory.free(a, 16, 8), "a second time");
    }

    #[test]
    fn requests_are_bounded() {
        let memory = UserMemory::default();
        for (size, alignment) in
            [(0, 8), (8, 0), (8, 3), (8, 8192), (u64::MAX, 8), (MOST_BYTES as u64 + 1, 8)]
        {
            assert_eq!(memory.allocate(size, alignment), None, "{size} {alignment}");
        }
        for _ in 0..MOST_PIECES {
            memory.allocate(8, 8).unwrap();
        }
        assert_eq!(memory.allocate(8, 8), None);
    }
}
