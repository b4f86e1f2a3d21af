//! One thread's arena: chunks of the heap with `dlmalloc` over them, and a list of blocks that other threads
//! have freed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use dlmalloc::Dlmalloc;

use super::{LARGE, MOST_ALIGN};

/// Bytes of a chunk, and what its address is a multiple of. Chunks begin zeroed: dlmalloc reads flags of heads
/// that it has not written yet.
const CHUNK: usize = 1 << 20;
const CHUNK_LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};
/// Bytes of a chunk that its header takes.
const HEADER: usize = 64;
/// Where the blocks of an arena's first chunk begin: behind the arena itself.
const FIRST: usize = HEADER + size_of::<Arena>().next_multiple_of(HEADER);

// The largest block, with what dlmalloc adds before it asks for a chunk, must fit into one.
const _: () = assert!(FIRST + (LARGE + MOST_ALIGN).next_multiple_of(64 * 1024) + 64 * 1024 <= CHUNK);
const _: () = assert!(size_of::<Header>() <= HEADER && align_of::<Arena>() <= HEADER);

/// At the start of every chunk.
struct Header {
    owner: *const Arena,
}

/// In the first of its chunks, which is never given back.
pub(super) struct Arena {
    /// Blocks freed by other threads.
    freed: AtomicPtr<Freed>,
    /// How many chunks it has.
    chunks: AtomicUsize,
    /// Everything else: used by the arena's thread only.
    own: UnsafeCell<Dlmalloc<Chunks>>,
}

/// A block on the list of freed ones. Every block is at least that large.
struct Freed {
    next: *mut Freed,
    size: usize,
}

impl Arena {
    /// A new arena in a chunk of its own.
    pub(super) fn create() -> Option<NonNull<Arena>> {
        // SAFETY: the layout's size is not zero.
        let chunk = NonNull::new(unsafe { System.alloc_zeroed(CHUNK_LAYOUT) })?;
        // SAFETY: `HEADER` bytes into a chunk, which is longer.
        let arena = unsafe { chunk.add(HEADER) }.cast::<Arena>();
        let chunks = Chunks { owner: arena.as_ptr(), first: Cell::new(Some(chunk)) };
        let own = Dlmalloc::new_with_allocator(chunks);
        // SAFETY: header and arena lie in the chunk, one behind the other and aligned (asserted above), and
        // nobody else knows of the chunk yet.
        unsafe {
            chunk.cast().write(Header { owner: arena.as_ptr() });
            arena.write(Arena {
                freed: AtomicPtr::new(ptr::null_mut()),
                chunks: AtomicUsize::new(1),
                own: UnsafeCell::new(own),
            });
        }
        Some(arena)
    }

    /// A block for a layout that is not large, or null.
    ///
    /// # Safety
    /// `arena` is the running thread's.
    pub(super) unsafe fn allocate(arena: NonNull<Arena>, layout: Layout, zeroed: bool) -> *mut u8 {
        // SAFETY: the arena is the running thread's, so that nobody else uses `own`.
        unsafe {
            let blocks = Self::enter(arena);
            match zeroed {
                true => blocks.calloc(size_of_block(layout), layout.align()),
                false => blocks.malloc(size_of_block(layout), layout.align()),
            }
        }
    }

    /// Frees a block of any arena. `own` is the running thread's, if it has one.
    ///
    /// # Safety
    /// The block came from an arena, for this layout, and is not used any more.
    pub(super) unsafe fn free(own: Option<NonNull<Arena>>, block: *mut u8, layout: Layout) {
        let size = size_of_block(layout);
        // SAFETY: the block came from an arena, which is never freed. If it is the running thread's, nobody
        // else uses `own`; if not, the block goes onto its list.
        unsafe {
            let owner = owner(block);
            match own {
                Some(arena) if ptr::eq(arena.as_ptr(), owner) => {
                    Self::enter(arena).free(block, size, layout.align());
                }
                _ => (*owner).push(block, size),
            }
        }
    }

    /// Changes the size of a block within its arena. `None`: it has to move elsewhere.
    ///
    /// # Safety
    /// `arena` is the running thread's; the block came from an arena, for this layout, and if a block is
    /// returned the old one is not used any more. Neither size is large.
    pub(super) unsafe fn reallocate(
        arena: NonNull<Arena>,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> Option<NonNull<u8>> {
        let new_size = new_size.max(size_of::<Freed>());
        // SAFETY: as in `free`.
        unsafe {
            if !ptr::eq(arena.as_ptr(), owner(block)) {
                return None;
            }
            let blocks = Self::enter(arena);
            NonNull::new(blocks.realloc(block, size_of_block(layout), layout.align(), new_size))
        }
    }

    /// Gives back everything, itself too: Miri counts what is left.
    ///
    /// # Safety
    /// Nobody uses the arena or a block of it from now on.
    #[cfg(test)]
    pub(super) unsafe fn destroy(arena: NonNull<Arena>) {
        // SAFETY: the caller gives up the arena; it lies `HEADER` bytes into its first chunk, which dlmalloc
        // leaves alone.
        unsafe {
            Self::enter(arena);
            arena.read().own.into_inner().destroy();
            System.dealloc(arena.as_ptr().cast::<u8>().sub(HEADER), CHUNK_LAYOUT);
        }
    }

    /// Chunks it has at the moment.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.load(Ordering::Relaxed)
    }

    /// What only the arena's own thread uses, after it has taken back what others freed.
    ///
    /// # Safety
    /// `arena` is the running thread's, and nothing else that this gave is still in use.
    unsafe fn enter<'a>(arena: NonNull<Arena>) -> &'a mut Dlmalloc<Chunks> {
        // SAFETY: arenas are never freed; of this one only atomics are shared. `own` is this
        // thread's, and the caller has no other reference to it. The list was filled with blocks of this
        // arena that their users gave up (`free`); taking it makes this thread their only owner.
        unsafe {
            let arena = arena.as_ref();
            let blocks = &mut *arena.own.get();
            if !arena.freed.load(Ordering::Relaxed).is_null() {
                let mut next = arena.freed.swap(ptr::null_mut(), Ordering::Acquire);
                while !next.is_null() {
                    let Freed { next: after, size } = next.read();
                    blocks.free(next.cast(), size, 1);
                    next = after;
                }
            }
            blocks
        }
    }

    /// Puts a block onto the list.
    ///
    /// # Safety
    /// The block is this arena's, of that size, and not used any more.
    unsafe fn push(&self, block: *mut u8, size: usize) {
        let freed = block.cast::<Freed>();
        let mut next = self.freed.load(Ordering::Relaxed);
        loop {
            // SAFETY: a block has room for it (`size_of_block`) and dlmalloc aligns blocks to 16 bytes; until
            // the exchange below succeeds, nobody else has it.
            unsafe { freed.write(Freed { next, size }) };
            match self.freed.compare_exchange_weak(next, freed, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => next = current,
            }
        }
    }
}

/// The arena that a block lies in.
///
/// # Safety
/// The block came from an arena.
unsafe fn owner(block: *mut u8) -> *const Arena {
    let header = block.map_addr(|address| address & !(CHUNK - 1)).cast::<Header>();
    // SAFETY: blocks lie in chunks, chunks are aligned to their size, and the header at their start is
    // written once, before there are blocks.
    unsafe { (*header).owner }
}

fn size_of_block(layout: Layout) -> usize {
    layout.size().max(size_of::<Freed>())
}

/// Where dlmalloc takes its chunks from.
struct Chunks {
    owner: *const Arena,
    /// The chunk that the arena lies in, until dlmalloc has taken the rest of it.
    first: Cell<Option<NonNull<u8>>>,
}

// SAFETY: an arena is not tied to the thread that made it; nothing in it is used by two at a time.
unsafe impl Send for Chunks {}

/// Says that dlmalloc may neither free the memory nor join it with its neighbour's.
const NOT_GIVEN_BACK: u32 = 1;

// SAFETY: what `alloc` gives is memory of a chunk behind its header: valid, unused, and as long as it says.
unsafe impl dlmalloc::Allocator for Chunks {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if let Some(chunk) = self.first.take() {
            // SAFETY: within the chunk, whose length is larger.
            return (unsafe { chunk.add(FIRST) }.as_ptr(), CHUNK - FIRST, NOT_GIVEN_BACK);
        }
        if size > CHUNK - HEADER {
            return (ptr::null_mut(), 0, 0);
        }
        // SAFETY: the layout's size is not zero.
        let Some(chunk) = NonNull::new(unsafe { System.alloc_zeroed(CHUNK_LAYOUT) }) else {
            return (ptr::null_mut(), 0, 0);
        };
        // SAFETY: the chunk is new, aligned and longer than its header; arenas are never freed.
        unsafe {
            (*self.owner).chunks.fetch_add(1, Ordering::Relaxed);
            chunk.cast().write(Header { owner: self.owner });
            (chunk.add(HEADER).as_ptr(), CHUNK - HEADER, 0)
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, base: *mut u8, size: usize) -> bool {
        // The end of an arena in a test; otherwise chunks stay with it (`can_release_part`).
        if size != CHUNK - HEADER {
            return false;
        }
        // SAFETY: `base` lies `HEADER` bytes behind the start of a chunk that `alloc` took, and headers keep
        // the memory of two chunks apart, so that dlmalloc returns what it was given.
        unsafe { System.dealloc(base.sub(HEADER), CHUNK_LAYOUT) };
        true
    }

    /// What a thread once needed it will need again, and every budget of the enclave counts on all being used
    /// at a time.
    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}
