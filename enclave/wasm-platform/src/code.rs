//! Memory for native code: one reserved region, an allocator over it, and write-xor-execute.
//!
//! An artifact is copied into a piece of the region and runs in place. wasmtime asks for the text to be
//! made executable (`publish`) and says when nothing can run or read it any more (`unpublish`, its last
//! act on that memory); then the piece is erased and free again.

use std::collections::BTreeMap;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::CustomCodeMemory;

use crate::sys::{self, Region};

/// Pieces of one region that artifacts live in.
pub(crate) struct CodePool {
    region: Region,
    book: Mutex<Book>,
}

/// Which parts of the region are free and which are taken. All numbers are whole pages, in bytes.
#[derive(Default)]
struct Book {
    /// Offset -> length; no two touch.
    free: BTreeMap<usize, usize>,
    /// Offset -> piece.
    taken: BTreeMap<usize, Piece>,
    /// Ticket of the next piece.
    next: u64,
}

struct Piece {
    len: usize,
    ticket: u64,
    /// Its pages could not be made what they should be. It stays taken, and nothing touches it again.
    lost: bool,
}

/// One piece, from [`CodePool::take`] until the engine has it or it is given up.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    at: usize,
    number: u64,
}

/// No stretch of the code region is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room for native code: {asked} bytes asked for, the longest free stretch has {longest} of {total}"
)]
pub struct OutOfCode {
    /// What was asked for.
    pub asked: usize,
    /// The longest stretch that is free.
    pub longest: usize,
    /// What there is in all.
    pub total: usize,
}

impl CodePool {
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let region = Region::reserve(bytes)?;
        let book = Book { free: BTreeMap::from([(0, region.len())]), ..Book::default() };
        Ok(Self { region, book: Mutex::new(book) })
    }

    /// Bytes taken by artifacts, in whole pages.
    pub(crate) fn used(&self) -> usize {
        self.book().taken.values().map(|piece| piece.len).sum()
    }

    pub(crate) fn total(&self) -> usize {
        self.region.len()
    }

    pub(crate) fn protection(&self) -> &'static str {
        self.region.protection()
    }

    /// Copies `artifact` into a piece of its own, and zeros behind it; `change` may change the copy. The bytes
    /// stay writable until the engine publishes them, and stay where they are until it unpublishes them or the
    /// ticket is given up.
    pub(crate) fn take(
        &self,
        artifact: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(Ticket, NonNull<[u8]>), OutOfCode> {
        let len = artifact.len().max(1).next_multiple_of(sys::page_size());
        let ticket = self.book().take(len).map_err(|longest| OutOfCode {
            asked: len,
            longest,
            total: self.region.len(),
        })?;
        // SAFETY: the book gave `ticket.at..ticket.at + len` of the region to this piece alone; free
        // pieces are writable and nobody refers to them.
        let place = unsafe {
            let place = self.region.base().add(ticket.at);
            place.copy_from_nonoverlapping(NonNull::from_ref(artifact).cast(), artifact.len());
            place.add(artifact.len()).write_bytes(0, len - artifact.len());
            change(NonNull::slice_from_raw_parts(place, artifact.len()).as_mut());
            place
        };
        Ok((ticket, NonNull::slice_from_raw_parts(place, artifact.len())))
    }

    /// Frees a piece that the engine did not take over. If it had and has given it back, nothing is
    /// left to do.
    pub(crate) fn give_up(&self, ticket: Ticket) {
        let mut book = self.book();
        let still = |piece: &Piece| piece.ticket == ticket.number && !piece.lost;
        if book.taken.get(&ticket.at).is_some_and(still) {
            self.release(&mut book, ticket.at);
        }
    }

    /// Erases a writable piece and frees it.
    fn release(&self, book: &mut Book, at: usize) {
        let Some(piece) = book.taken.remove(&at) else { return };
        // SAFETY: the piece lies in the region and is writable; its owner has let go of it, and the
        // locked book keeps it from being taken again meanwhile.
        unsafe { self.region.base().add(at).write_bytes(0, piece.len) };
        book.give(at, piece.len);
    }

    /// The pages around `len` bytes at `ptr`, if they lie in one piece: its offset, then the pages'.
    fn locate(&self, book: &Book, ptr: *const u8, len: usize) -> Option<(usize, usize, usize)> {
        let offset = ptr.addr().checked_sub(self.region.base().addr().get())?;
        let (at, piece) = book.taken.range(..=offset).next_back()?;
        let page = sys::page_size();
        let start = offset / page * page;
        let end = offset.checked_add(len)?.checked_next_multiple_of(page)?;
        (end <= at + piece.len).then_some((*at, start, end - start))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// The smallest free stretch that is long enough, or the length of the longest.
    fn take(&mut self, len: usize) -> Result<Ticket, usize> {
        let fit = self.free.iter().filter(|(_, free)| **free >= len).min_by_key(|(_, free)| **free);
        let Some((&at, &free)) = fit else {
            return Err(self.free.values().copied().max().unwrap_or(0));
        };
        self.free.remove(&at);
        if free > len {
            self.free.insert(at + len, free - len);
        }
        let number = self.next;
        self.next += 1;
        self.taken.insert(at, Piece { len, ticket: number, lost: false });
        Ok(Ticket { at, number })
    }

    /// The piece stays taken and counted, so that nothing is ever written over pages that may be executable
    /// or cannot be written: a kernel was out of memory for its tables, or a host lied.
    fn lose(&mut self, at: usize) {
        if let Some(piece) = self.taken.get_mut(&at) {
            piece.lost = true;
        }
    }

    fn give(&mut self, at: usize, len: usize) {
        let (mut start, mut end) = (at, at + len);
        if let Some((&before, &free)) = self.free.range(..at).next_back()
            && before + free == at
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(free) = self.free.remove(&end) {
            end += free;
        }
        self.free.insert(start, end - start);
    }
}

/// What the engine is given.
pub(crate) struct CodeMemory(pub(crate) Arc<CodePool>);

impl CustomCodeMemory for CodeMemory {
    fn required_alignment(&self) -> usize {
        sys::page_size()
    }

    fn publish_executable(&self, ptr: *const u8, len: usize) -> wasmtime::Result<()> {
        let mut book = self.0.book();
        let Some((at, start, len)) = self.0.locate(&book, ptr, len) else {
            return Err(wasmtime::Error::msg("code outside the code pool cannot be made executable"));
        };
        let result = self.0.region.make_executable(start, len);
        if result.is_err() {
            book.lose(at);
        }
        Ok(result?)
    }

    fn unpublish_executable(&self, ptr: *const u8, len: usize) -> wasmtime::Result<()> {
        let mut book = self.0.book();
        let Some((at, start, len)) = self.0.locate(&book, ptr, len) else { return Ok(()) };
        match self.0.region.make_writable(start, len) {
            Ok(()) => self.0.release(&mut book, at),
            Err(_) => book.lose(at),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(pages: usize) -> CodePool {
        CodePool::new(pages * sys::page_size()).unwrap()
    }

    fn take(pool: &CodePool, bytes: &[u8]) -> Result<(Ticket, NonNull<[u8]>), OutOfCode> {
        pool.take(bytes, |_| {})
    }

    fn page_of(byte: u8) -> Vec<u8> {
        vec![byte; sys::page_size()]
    }

    #[test]
    fn pieces_are_reused_and_neighbours_merge() {
        let pool = pool(4);
        let tickets: Vec<_> = (0..4).map(|n| take(&pool, &page_of(n)).unwrap().0).collect();
        assert!(take(&pool, &[1]).is_err());
        pool.give_up(tickets[1]);
        pool.give_up(tickets[3]);
        assert_eq!(take(&pool, &vec![0; 2 * sys::page_size()]).err().unwrap().longest, sys::page_size());
        pool.give_up(tickets[2]);
        let (whole, _) = take(&pool, &vec![5; 3 * sys::page_size()]).unwrap();
        assert_eq!(pool.used(), 4 * sys::page_size());
        pool.give_up(whole);
        pool.give_up(tickets[0]);
        assert_eq!(pool.used(), 0);
        assert_eq!(pool.book().free.len(), 1);
    }

    #[test]
    fn an_old_ticket_frees_nothing_of_the_next_owner() {
        let pool = pool(1);
        let (old, _) = take(&pool, &[1]).unwrap();
        pool.give_up(old);
        let (_new, _) = take(&pool, &[2]).unwrap();
        pool.give_up(old);
        assert_eq!(pool.used(), sys::page_size());
    }

    #[test]
    fn unpublishing_frees_and_erases() {
        let pool = Arc::new(pool(2));
        let memory = CodeMemory(Arc::clone(&pool));
        let (_, bytes) = take(&pool, &page_of(9)).unwrap();
        let ptr = bytes.cast::<u8>().as_ptr();
        memory.publish_executable(ptr, 100).unwrap();
        assert_eq!(pool.used(), sys::page_size());
        memory.unpublish_executable(ptr, 100).unwrap();
        assert_eq!(pool.used(), 0);
        // SAFETY: the region is mapped as long as the pool lives, and this test is its only user.
        assert_eq!(unsafe { ptr.read() }, 0);
    }

    #[test]
    fn a_piece_that_was_lost_is_never_touched_again() {
        let pool = Arc::new(pool(2));
        let (ticket, bytes) = take(&pool, &page_of(9)).unwrap();
        pool.book().lose(ticket.at);
        pool.give_up(ticket);
        assert_eq!(pool.used(), sys::page_size());
        // SAFETY: the region is mapped as long as the pool lives, and this test is its only user.
        assert_eq!(unsafe { bytes.cast::<u8>().read() }, 9);
    }

    #[test]
    fn behind_an_artifact_lie_zeros() {
        let pool = pool(1);
        // SAFETY: the region is mapped as long as the pool lives, and this test is its only user.
        unsafe { pool.region.base().write_bytes(0xCC, sys::page_size()) };
        let (_, bytes) = take(&pool, &[1, 2, 3]).unwrap();
        // SAFETY: as above.
        let page = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>().as_ptr(), sys::page_size()) };
        assert_eq!(page[..3], [1, 2, 3]);
        assert!(page[3..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn only_pages_of_one_piece_become_executable() {
        let pool = Arc::new(pool(2));
        let memory = CodeMemory(Arc::clone(&pool));
        let (_, bytes) = take(&pool, &page_of(9)).unwrap();
        let ptr = bytes.cast::<u8>().as_ptr();
        assert!(memory.publish_executable(ptr, sys::page_size() + 1).is_err());
        assert!(memory.publish_executable(page_of(1).as_ptr(), 1).is_err());
    }
}
