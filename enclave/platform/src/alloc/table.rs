//! Which arena a thread has: written once per thread, read at every allocation.

use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::arena::Arena;

/// An open-addressed table that only grows.
pub(super) struct Table<const SLOTS: usize> {
    slots: [Slot; SLOTS],
}

/// A thread's number, 0 if the slot is free, and its arena, null until there is one. Both are written by that
/// thread alone, once the number has been claimed.
struct Slot {
    thread: AtomicUsize,
    arena: AtomicPtr<Arena>,
}

impl<const SLOTS: usize> Table<SLOTS> {
    pub(super) const fn new() -> Self {
        const { assert!(SLOTS.is_power_of_two()) };
        Self {
            slots: [const { Slot { thread: AtomicUsize::new(0), arena: AtomicPtr::new(ptr::null_mut()) } };
                SLOTS],
        }
    }

    /// The arena of the running thread, whose number is `thread`.
    pub(super) fn find(&self, thread: NonZeroUsize) -> Option<NonNull<Arena>> {
        for slot in self.probe(thread) {
            match slot.thread.load(Ordering::Relaxed) {
                0 => return None,
                number if number == thread.get() => return NonNull::new(slot.arena.load(Ordering::Acquire)),
                _ => {}
            }
        }
        None
    }

    /// The same, made if there is none. `None` if there are more threads than slots, or `make` gives none.
    pub(super) fn find_or_insert(
        &self,
        thread: NonZeroUsize,
        make: impl FnOnce() -> Option<NonNull<Arena>>,
    ) -> Option<NonNull<Arena>> {
        let slot = self.claim(thread)?;
        if let Some(arena) = NonNull::new(slot.arena.load(Ordering::Acquire)) {
            return Some(arena);
        }
        let arena = make()?;
        slot.arena.store(arena.as_ptr(), Ordering::Release);
        Some(arena)
    }

    /// All that there are.
    #[cfg(test)]
    pub(super) fn arenas(&self) -> impl Iterator<Item = NonNull<Arena>> {
        self.slots.iter().filter_map(|slot| NonNull::new(slot.arena.load(Ordering::Acquire)))
    }

    fn claim(&self, thread: NonZeroUsize) -> Option<&Slot> {
        self.probe(thread).find(|slot| {
            let number = slot.thread.load(Ordering::Relaxed);
            number == thread.get()
                || number == 0
                    && slot
                        .thread
                        .compare_exchange(0, thread.get(), Ordering::Relaxed, Ordering::Relaxed)
                        .is_ok()
        })
    }

    /// All slots, beginning with the one where this number should be. Thread control structures lie pages
    /// apart.
    fn probe(&self, thread: NonZeroUsize) -> impl Iterator<Item = &Slot> {
        let hash = (thread.get() >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        (0..SLOTS).filter_map(move |step| self.slots.get(hash.wrapping_add(step) & (SLOTS - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    /// Stands for an arena; nobody looks inside.
    fn arena(n: usize) -> NonNull<Arena> {
        NonNull::without_provenance(number(n << 12))
    }

    #[test]
    fn each_thread_finds_its_own() {
        let table = Table::<8>::new();
        for n in 1..=8 {
            assert_eq!(table.find(number(n)), None);
            assert_eq!(table.find_or_insert(number(n), || Some(arena(n))), Some(arena(n)));
        }
        for n in 1..=8 {
            assert_eq!(table.find(number(n)), Some(arena(n)));
            assert_eq!(table.find_or_insert(number(n), || None), Some(arena(n)));
        }
        assert_eq!(table.find_or_insert(number(9), || Some(arena(9))), None, "the table is full");
        assert_eq!(table.find(number(9)), None);
    }

    #[test]
    fn a_thread_without_memory_for_an_arena_tries_again() {
        let table = Table::<8>::new();
        assert_eq!(table.find_or_insert(number(4096), || None), None);
        assert_eq!(table.find(number(4096)), None);
        assert_eq!(table.find_or_insert(number(4096), || Some(arena(1))), Some(arena(1)));
    }

    #[test]
    fn threads_that_begin_together_get_slots_of_their_own() {
        let table = Table::<64>::new();
        std::thread::scope(|scope| {
            for n in 1..=8 {
                let table = &table;
                scope.spawn(move || {
                    for at in 0..8 {
                        let n = n << 15 | at << 12;
                        assert_eq!(table.find_or_insert(number(n), || Some(arena(n))), Some(arena(n)));
                        assert_eq!(table.find(number(n)), Some(arena(n)));
                    }
                });
            }
        });
    }
}
