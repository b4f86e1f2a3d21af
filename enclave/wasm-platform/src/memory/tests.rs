#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use super::block::Block;
use super::*;
use crate::watch::CallWatch;

/// A call with its pool, polled by hand.
struct Call {
    pool: Arc<MemoryPool>,
    watch: CallWatch,
}

impl Call {
    fn new(budget: usize) -> Self {
        Self::of(&Arc::new(MemoryPool::new(budget)))
    }

    fn of(pool: &Arc<MemoryPool>) -> Self {
        Self { pool: Arc::clone(pool), watch: CallWatch::new() }
    }

    fn make(&self, size: usize, maximum: Option<usize>) -> Result<PooledMemory, OutOfGuestMemory> {
        self.prepare(0, size, maximum);
        self.watch.poll(|| CallMemory::current().make(&self.pool, size, maximum).map(PooledMemory))
    }

    /// Polls until all is ready; how often it was.
    fn prepare(&self, current: usize, desired: usize, maximum: Option<usize>) -> usize {
        let memory = self.watch.memory();
        memory.prepare(&GuestMemory(Arc::clone(&self.pool)), current, desired, maximum);
        self.finish()
    }

    fn grow(&self, memory: &mut PooledMemory, size: usize) -> wasmtime::Result<()> {
        self.prepare(memory.byte_size(), size, None);
        self.watch.poll(|| memory.grow_to(size))
    }

    fn finish(&self) -> usize {
        let mut polls = 1;
        while self.watch.poll(|| self.watch.memory().step()) {
            polls += 1;
        }
        polls
    }
}

fn bytes(memory: &mut PooledMemory) -> &mut [u8] {
    // SAFETY: the memory's own bytes, borrowed as long as the memory.
    unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
}

#[test]
fn growing_doubles_keeps_contents_and_shows_zeroes() {
    let call = Call::new(1 << 24);
    let mut memory = call.make(3 * SMALLEST, None).unwrap();
    assert_eq!(memory.byte_capacity(), 4 * SMALLEST);
    bytes(&mut memory).fill(7);
    let before = memory.as_ptr();
    memory.grow_to(4 * SMALLEST).unwrap();
    assert_eq!(memory.as_ptr(), before, "growth within the capacity must not move");
    memory.grow_to(5 * SMALLEST).unwrap();
    assert_eq!(memory.byte_capacity(), 8 * SMALLEST);
    assert!(bytes(&mut memory)[..3 * SMALLEST].iter().all(|b| *b == 7));
    assert!(bytes(&mut memory)[3 * SMALLEST..].iter().all(|b| *b == 0));
}

#[test]
fn the_next_memory_sees_nothing_of_the_last() {
    let pool = Arc::new(MemoryPool::new(1 << 24));
    for size in [2 * SMALLEST, 32 * SMALLEST] {
        let call = Call::of(&pool);
        let mut first = call.make(size, None).unwrap();
        bytes(&mut first).fill(0xAA);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(call.watch.memory().has_left(), size > STEP, "what is little is erased at once");
        call.finish();
        let mut second = Call::of(&pool).make(size, None).unwrap();
        assert_eq!(second.as_ptr(), place, "the pool reuses blocks");
        assert!(bytes(&mut second).iter().all(|b| *b == 0));
    }
}

/// Whoever does not come to erase what a call left (its client is gone, its worker has ended) leaves nothing all the
/// same.
#[test]
fn what_nobody_erased_is_erased_with_the_call() {
    let pool = Arc::new(MemoryPool::new(1 << 24));
    let call = Call::of(&pool);
    let mut memory = call.make(64 * SMALLEST, None).unwrap();
    bytes(&mut memory).fill(0xAA);
    drop(memory);
    assert_eq!(pool.used(), 0, "it is no guest's any more");
    assert_eq!(pool.held.load(Ordering::Relaxed), 64 * SMALLEST);
    drop(call);
    let mut next = Call::of(&pool).make(64 * SMALLEST, None).unwrap();
    assert!(bytes(&mut next).iter().all(|b| *b == 0));
}

#[test]
fn the_budget_ends_one_request_and_returns_with_the_memory() {
    let call = Call::new(8 * SMALLEST);
    let mut first = call.make(4 * SMALLEST, None).unwrap();
    assert_eq!(call.pool.take(8 * SMALLEST, None).err().map(|e| e.asked), Some(8 * SMALLEST));
    let refused = call.grow(&mut first, 5 * SMALLEST).unwrap_err();
    assert!(
        refused.downcast_ref::<OutOfGuestMemory>().is_some(),
        "old and new block together pass the budget"
    );
    assert_eq!(first.byte_size(), 4 * SMALLEST);
    drop(first);
    assert_eq!(call.pool.used(), 0);
    let _second = call.make(8 * SMALLEST, None).unwrap();
    assert_eq!(call.pool.used(), 8 * SMALLEST);
    assert!(call.make(SMALLEST, None).is_err());
}

#[test]
fn near_the_budget_a_memory_gets_what_it_needs_instead_of_the_double() {
    let call = Call::new(9 * SMALLEST);
    let memory = call.make(5 * SMALLEST, None).unwrap();
    assert_eq!(memory.byte_capacity(), 8 * SMALLEST);
    let _small = call.pool.take(SMALLEST, None).unwrap();
    assert!(call.pool.take(1, None).is_err());
    drop(memory);
    let pool = Arc::new(MemoryPool::new(7 * SMALLEST));
    assert_eq!(pool.take(5 * SMALLEST, None).unwrap().len(), 5 * SMALLEST);
}

#[test]
fn a_declared_maximum_bounds_the_block() {
    assert_eq!(capacity(3 * SMALLEST, Some(3 * SMALLEST)), 3 * SMALLEST);
    assert_eq!(capacity(0, Some(0)), 1);
    assert_eq!(capacity(0, None), SMALLEST);
    assert_eq!(class(3 * SMALLEST), None);
    assert_eq!(class(SMALLEST), Some(0));
}

/// However large memories are, and however many grow at once: no poll of the call does more than a step.
#[test]
fn no_poll_erases_or_copies_more_than_a_step() {
    let call = Call::new(1 << 28);
    let pages = |n: usize| n * SMALLEST;
    // Fresh blocks, blocks of the pool, growth in place and by copying, two memories of one size.
    for round in 0..2 {
        let mut first = call.make(pages(100), None).unwrap();
        let mut second = call.make(pages(100), Some(pages(300))).unwrap();
        bytes(&mut first).fill(1);
        bytes(&mut second).fill(2);
        call.grow(&mut second, pages(120)).unwrap();
        assert!(call.prepare(first.byte_size(), pages(200), None) >= pages(100) / STEP, "round {round}");
        call.watch.poll(|| first.grow_to(pages(200))).unwrap();
        call.grow(&mut second, pages(250)).unwrap();
        for size in 201..=240 {
            call.grow(&mut first, pages(size)).unwrap();
        }
        for (memory, written, size) in [(&mut first, 1, 240), (&mut second, 2, 250)] {
            let (old, new) = bytes(memory).split_at(pages(100));
            assert!(old.iter().all(|b| *b == written) && new.iter().all(|b| *b == 0));
            assert_eq!(new.len(), pages(size - 100));
        }
        drop((first, second));
        assert!(call.watch.memory().has_left());
        assert!(call.finish() > 400 * SMALLEST / STEP);
        assert_eq!(call.pool.used(), 0);
    }
    assert_eq!(call.pool.longest(), STEP);
}

/// Bug: each of many small growths was little, and all of them in one poll as much as a guest liked.
/// Required: they count together.
#[test]
fn small_growths_in_one_poll_count_together() {
    let call = Call::new(1 << 28);
    let guest = GuestMemory(Arc::clone(&call.pool));
    let memory = call.watch.memory();
    let mut grown = call.make(pages(1), Some(pages(1000))).unwrap();
    let mut polls = 0;
    fn pages(n: usize) -> usize {
        n * SMALLEST
    }
    call.watch.poll(|| {});
    for size in 2..=200 {
        memory.prepare(&guest, grown.byte_size(), pages(size), None);
        // As on a fiber: the same poll goes on until it has to wait.
        while memory.step() {
            polls += 1;
            call.watch.poll(|| {});
        }
        grown.grow_to(pages(size)).unwrap();
    }
    assert!(polls >= 198 * SMALLEST / STEP - 1, "{polls} polls for 199 pages");
    assert!(call.pool.longest() <= STEP, "{}", call.pool.longest());
}

/// A growth that was prepared and refused, or that the call did not live to see.
#[test]
fn a_growth_that_does_not_come_about_holds_nothing() {
    let call = Call::new(1 << 26);
    let memory = call.make(32 * SMALLEST, None).unwrap();
    call.prepare(memory.byte_size(), 128 * SMALLEST, None);
    assert_eq!(call.pool.used(), (32 + 128) * SMALLEST);
    call.prepare(1, 1, None);
    assert_eq!(call.pool.used(), 32 * SMALLEST);
    call.prepare(memory.byte_size(), 128 * SMALLEST, None);
    call.prepare(0, 64 * SMALLEST, None);
    drop(memory);
    drop(call.watch);
    assert_eq!(call.pool.used(), 0);
    let waiting: usize = call.pool.waiting.lock().unwrap().iter().flatten().map(Block::len).sum();
    assert_eq!(call.pool.held.load(Ordering::Relaxed), waiting);
    assert!(call.pool.waiting.lock().unwrap().iter().flatten().all(Block::is_zero));
}

/// Bug: a block was made ready for every memory of the size that grew, as large as the growth.
/// Required: for the one that the engine grows.
#[test]
fn one_growth_takes_one_block_however_many_memories_are_of_its_size() {
    let call = Call::new(1 << 28);
    let mut memories: Vec<_> = (0..20).map(|_| call.make(SMALLEST, None).unwrap()).collect();
    let before = call.pool.used();
    call.prepare(memories[7].byte_size(), 64 * SMALLEST, None);
    assert_eq!(call.pool.used(), before + 64 * SMALLEST);
    call.watch.poll(|| memories[7].grow_to(64 * SMALLEST)).unwrap();
    assert_eq!(call.pool.used(), before + 63 * SMALLEST);
    drop(memories);
    call.finish();
    assert_eq!(call.pool.used(), 0);
}

/// Bug: what was made ready for a memory to be made, where an empty one grew, was held to the end of the call and then
/// erased in one go.
#[test]
fn an_empty_memory_that_grows_holds_nothing_else() {
    let call = Call::new(1 << 28);
    let mut memory = call.make(0, None).unwrap();
    call.grow(&mut memory, 64 * SMALLEST).unwrap();
    call.finish();
    assert_eq!(call.pool.used(), 64 * SMALLEST);
    call.prepare(0, 64 * SMALLEST, None);
    call.watch.memory().give_up_growth();
    call.finish();
    assert_eq!(call.pool.used(), 64 * SMALLEST);
    assert!(call.pool.longest() <= STEP);
}
