//! The allocator against a program that remembers what it wrote where.

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::cell::Cell;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

std::thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(1 << 12) };
}

/// Numbers that the test gives out, so that it may let one thread act for several, one after another.
struct Numbered;

// SAFETY: no test gives one number to two threads at a time.
unsafe impl Threads for Numbered {
    fn current(&self) -> NonZeroUsize {
        NonZeroUsize::new(NUMBER.get()).unwrap()
    }
}

fn become_thread(n: usize) {
    NUMBER.set((n + 1) << 12);
}

/// A block and what it must hold.
struct Held {
    block: *mut u8,
    layout: Layout,
    fill: u8,
}

// SAFETY: plain memory that this value alone owns.
unsafe impl Send for Held {}

impl Held {
    fn new(heap: &Arenas<Numbered>, layout: Layout, fill: u8, zeroed: bool) -> Held {
        // SAFETY: no test asks for an empty block.
        let block = unsafe { if zeroed { heap.alloc_zeroed(layout) } else { heap.alloc(layout) } };
        assert!(!block.is_null());
        assert!(block.addr().is_multiple_of(layout.align()));
        let mut held = Held { block, layout, fill: 0 };
        if zeroed {
            held.check();
        }
        held.fill(fill);
        held
    }

    /// Ends and middle: what overlaps another block in between overlaps its ends.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let size = self.layout.size();
        let step = (size / 64).max(1);
        (0..size).step_by(step).chain([size - 1])
    }

    fn fill(&mut self, fill: u8) {
        self.fill = fill;
        // SAFETY: the block is as long as its layout says.
        self.places().for_each(|at| unsafe { self.block.add(at).write(fill) });
    }

    fn check(&self) {
        // SAFETY: as above, and every place was written.
        self.places().for_each(|at| assert_eq!(unsafe { self.block.add(at).read() }, self.fill, "at {at}"));
    }

    fn resize(&mut self, heap: &Arenas<Numbered>, size: usize) {
        let kept = self.layout.size().min(size);
        // SAFETY: the block is valid for its layout; all of it is written, so that any of it may be read.
        unsafe {
            self.block.write_bytes(self.fill, self.layout.size());
            self.block = heap.realloc(self.block, self.layout, size);
            assert!(!self.block.is_null());
            (0..kept)
                .step_by((kept / 64).max(1))
                .for_each(|at| assert_eq!(self.block.add(at).read(), self.fill));
        }
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        self.fill(self.fill);
    }

    fn free(self, heap: &Arenas<Numbered>) {
        self.check();
        // SAFETY: the block is valid for its layout and goes with `self`.
        unsafe { heap.dealloc(self.block, self.layout) };
    }
}

/// The test is over: every block has been freed.
fn destroy(heap: Arenas<Numbered>) {
    // SAFETY: the tests' blocks are gone, and nobody else has this allocator.
    heap.table.arenas().for_each(|arena| unsafe { Arena::destroy(arena) });
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn each_thread_has_its_arena_and_large_blocks_have_none() {
    let heap = Arenas::new(Numbered);
    let large = Held::new(&heap, layout(LARGE, 8), 1, true);
    assert_eq!(heap.chunks(), 0);
    let strict = Held::new(&heap, layout(8, 2 * MOST_ALIGN), 2, false);
    assert_eq!(heap.chunks(), 0);
    let mut all = vec![large, strict];
    for thread in 0..3 {
        become_thread(thread);
        all.push(Held::new(&heap, layout(100, 8), 3, false));
        all.push(Held::new(&heap, layout(LARGE - 1, MOST_ALIGN), 4, true));
        assert_eq!(heap.chunks(), thread + 1);
    }
    all.into_iter().for_each(|held| held.free(&heap));
    destroy(heap);
}

#[test]
fn a_block_that_another_thread_freed_is_used_again_by_its_own() {
    let heap = Arenas::new(Numbered);
    become_thread(0);
    let first = Held::new(&heap, layout(5000, 8), 1, false);
    let place = first.block;
    become_thread(1);
    first.free(&heap);
    let other = Held::new(&heap, layout(5000, 8), 2, false);
    assert_ne!(other.block, place);
    become_thread(0);
    let again = Held::new(&heap, layout(5000, 8), 3, true);
    assert_eq!(again.block, place, "taken back");
    // One that has no arena of its own can free too.
    become_thread(7);
    again.free(&heap);
    other.free(&heap);
    become_thread(0);
    let third = Held::new(&heap, layout(5000, 8), 3, true);
    assert_eq!(third.block, place);
    third.free(&heap);
    destroy(heap);
}

#[test]
fn sizes_change_within_an_arena_across_the_border_and_out_of_another_arena() {
    let heap = Arenas::new(Numbered);
    become_thread(0);
    let mut held = Held::new(&heap, layout(10, 16), 7, false);
    for size in [1, 100, LARGE - 1, LARGE, 2 * LARGE, LARGE, 20, 3] {
        held.resize(&heap, size);
    }
    become_thread(1);
    held.resize(&heap, 5000);
    held.resize(&heap, LARGE + 1);
    become_thread(2);
    held.resize(&heap, 4);
    held.free(&heap);
    destroy(heap);
}

#[test]
fn chunks_are_used_again() {
    let heap = Arenas::new(Numbered);
    let fill = || {
        let all: Vec<_> = (0..24).map(|n| Held::new(&heap, layout(LARGE - 1, 8), n, false)).collect();
        all.into_iter().for_each(|held| held.free(&heap));
    };
    become_thread(0);
    fill();
    let most = heap.chunks();
    assert!((7..=9).contains(&most), "{most}");
    (0..3).for_each(|_| fill());
    assert_eq!(heap.chunks(), most);
    destroy(heap);
}

/// Every thread makes blocks and hands them on to the next, which frees them.
#[test]
fn blocks_wander_between_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = if cfg!(miri) { 40 } else { 20_000 };
    let heap = Arenas::new(Numbered);
    std::thread::scope(|scope| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..THREADS).map(|_| mpsc::sync_channel::<Held>(16)).unzip();
        for (thread, inbox) in receivers.into_iter().enumerate() {
            let next = senders[(thread + 1) % THREADS].clone();
            let heap = &heap;
            scope.spawn(move || {
                become_thread(thread);
                for round in 0..ROUNDS {
                    let size = 1 + (round * 37 + thread * 11) % 3000;
                    let mut sent = Held::new(heap, layout(size, 8), round as u8, round % 3 == 0);
                    // What does not fit into the queue is freed here: nobody waits for nobody.
                    if round % 5 == 0 {
                        sent.resize(heap, size / 2 + 1);
                    }
                    if let Err(mpsc::TrySendError::Full(back) | mpsc::TrySendError::Disconnected(back)) =
                        next.try_send(sent)
                    {
                        back.free(heap);
                    }
                    while let Ok(received) = inbox.try_recv() {
                        received.free(heap);
                    }
                }
                drop(next);
                inbox.iter().for_each(|left| left.free(heap));
            });
        }
        drop(senders);
    });
    // Queues are short, so that nothing piles up.
    assert!(heap.chunks() >= THREADS && heap.chunks() <= 2 * THREADS, "{}", heap.chunks());
    destroy(heap);
}

#[derive(Clone, Debug)]
enum Act {
    Alloc { size: usize, align: u32, zeroed: bool },
    Free(prop::sample::Index),
    Resize(prop::sample::Index, usize),
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1..300usize, 3 => 300..40_000usize, 1 => LARGE - 40..LARGE + 40]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (size(), 0..14u32, any::<bool>())
            .prop_map(|(size, align, zeroed)| Act::Alloc { size, align, zeroed }),
        3 => any::<prop::sample::Index>().prop_map(Act::Free),
        2 => (any::<prop::sample::Index>(), size()).prop_map(|(at, size)| Act::Resize(at, size)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// No block overlaps another, zeroed ones are zero, content survives resizing, whichever of three threads
    /// acts.
    #[test]
    fn blocks_keep_what_was_written(
        acts in proptest::collection::vec((0..3usize, act()), 1..if cfg!(miri) { 30 } else { 200 }),
    ) {
        let heap = Arenas::new(Numbered);
        let mut all: Vec<Held> = Vec::new();
        for (n, (thread, act)) in acts.into_iter().enumerate() {
            become_thread(thread);
            match act {
                Act::Alloc { size, align, zeroed } => {
                    all.push(Held::new(&heap, layout(size, 1 << align), n as u8 | 1, zeroed));
                }
                Act::Free(at) if !all.is_empty() => {
                    all.swap_remove(at.index(all.len())).free(&heap);
                }
                Act::Resize(at, size) if !all.is_empty() => {
                    let at = at.index(all.len());
                    all[at].resize(&heap, size);
                }
                Act::Free(_) | Act::Resize(..) => {}
            }
        }
        all.iter().for_each(Held::check);
        become_thread(1);
        all.into_iter().for_each(|held| held.free(&heap));
        destroy(heap);
    }
}
