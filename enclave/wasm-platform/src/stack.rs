//! Fiber stacks. Guests run on them, and so do host functions that guests call.
//!
//! There is no guard page below a stack. Guest code checks its depth itself and traps at
//! [`WASM_STACK_BYTES`]; the rest is for host functions. Below that lies a page of a secret pattern, the
//! canary, compared whenever a call is switched away from and when its stack comes back. A changed
//! canary means that memory of the enclave was overwritten: there is no safe way on, so it stops.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

use wasmtime::{StackCreator, StackMemory};

use crate::sys;
use crate::watch::CallWatch;

/// Size of a fiber stack.
pub const STACK_BYTES: usize = 512 * 1024;
/// How deep guest code may go; what is left is for the host functions it calls.
pub const WASM_STACK_BYTES: usize = 256 * 1024;
/// Stacks that wait in the pool at most; more are freed when they come back.
const KEEP: usize = 256;

/// As many calls run as there may be stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the enclave runs as many calls as it has stacks for ({0}): try again later")]
pub struct OutOfStacks(pub usize);

/// Hands out fiber stacks, at most `limit` at a time.
pub(crate) struct StackPool {
    canary: u64,
    limit: usize,
    used: AtomicUsize,
    waiting: Mutex<Vec<Arc<Stack>>>,
}

impl StackPool {
    pub(crate) fn new(limit: usize, canary: u64) -> Self {
        Self { canary, limit, used: AtomicUsize::new(0), waiting: Mutex::new(Vec::new()) }
    }

    /// Stacks handed out to running calls.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, zeroed: bool) -> Result<Arc<Stack>, OutOfStacks> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < self.limit).then_some(used + 1)
            })
            .map_err(|_| OutOfStacks(self.limit))?;
        // Erasing is asked for as a measure against leaks into code that forgets to initialise; a
        // stack that was used before is then replaced by a fresh one.
        let reused = if zeroed { None } else { self.reuse() };
        reused.or_else(|| Stack::new(self.canary).map(Arc::new)).ok_or_else(|| {
            self.used.fetch_sub(1, Ordering::Relaxed);
            OutOfStacks(self.limit)
        })
    }

    fn reuse(&self) -> Option<Arc<Stack>> {
        self.waiting.try_lock().ok()?.pop()
    }

    fn give(&self, stack: Arc<Stack>) {
        stack.verify();
        self.used.fetch_sub(1, Ordering::Relaxed);
        match self.waiting.try_lock() {
            Ok(mut waiting) if waiting.len() < KEEP => waiting.push(stack),
            Ok(_) | Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => drop(stack),
        }
    }
}

/// A canary page and the stack above it.
pub(crate) struct Stack {
    base: NonNull<u8>,
    layout: Layout,
    page: usize,
    canary: u64,
}

// SAFETY: a stack is plain memory that this value alone owns; the fiber on it is wasmtime's, which
// moves between threads only while it is suspended.
unsafe impl Send for Stack {}
// SAFETY: `&Stack` gives out addresses and reads the canary page, which nobody writes.
unsafe impl Sync for Stack {}

impl Stack {
    fn new(canary: u64) -> Option<Self> {
        let page = sys::page_size();
        let layout = Layout::from_size_align(page + STACK_BYTES.next_multiple_of(page), page).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        for word in 0..page / size_of::<u64>() {
            // SAFETY: the first page of the allocation, aligned; nobody else knows of it yet.
            unsafe { base.cast::<u64>().add(word).write(canary) };
        }
        Some(Self { base, layout, page, canary })
    }

    fn intact(&self) -> bool {
        (0..self.page / size_of::<u64>()).all(|word| {
            // SAFETY: inside the first page of the allocation, aligned and initialised. Volatile,
            // because the write this looks for is one that the language does not know of.
            unsafe { self.base.cast::<u64>().add(word).read_volatile() == self.canary }
        })
    }

    pub(crate) fn verify(&self) {
        if !self.intact() {
            overflowed();
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Ends the process: a panic cannot leave a function of this ABI, so it aborts on every platform.
extern "C" fn overflowed() -> ! {
    panic!("a fiber stack overflowed: memory of the enclave was overwritten");
}

/// A stack while wasmtime has it.
struct PooledStack {
    pool: Arc<StackPool>,
    stack: Arc<Stack>,
}

// SAFETY: the range is page-aligned, whole pages, readable and writable, and belongs to this value
// until it is dropped. It has no guard pages: guest code checks its own depth (`WASM_STACK_BYTES`),
// and host functions on top of it have the other half and a checked canary below.
unsafe impl StackMemory for PooledStack {
    fn top(&self) -> *mut u8 {
        self.stack.base.as_ptr().wrapping_add(self.stack.layout.size())
    }

    fn range(&self) -> Range<usize> {
        let base = self.stack.base.as_ptr().addr();
        base + self.stack.page..base + self.stack.layout.size()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let base = self.stack.base.as_ptr();
        base..base
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        self.pool.give(Arc::clone(&self.stack));
    }
}

/// What the engine is given.
pub(crate) struct Stacks(pub(crate) Arc<StackPool>);

// SAFETY: every stack it makes keeps the promises of `StackMemory` (above).
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, size: usize, zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        if size > STACK_BYTES {
            return Err(wasmtime::Error::msg("the pool has no stacks of that size"));
        }
        let stack = self.0.take(zeroed)?;
        if let Some(watch) = CallWatch::current() {
            watch.add(&stack);
        }
        Ok(Box::new(PooledStack { pool: Arc::clone(&self.0), stack }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_below_the_stack_is_seen() {
        let stack = Stack::new(0x5AFE_5AFE_5AFE_5AFE).unwrap();
        assert!(stack.intact());
        // SAFETY: inside the canary page of this test's stack.
        unsafe { stack.base.as_ptr().add(stack.page - 1).write(0) };
        assert!(!stack.intact());
    }

    #[test]
    fn stacks_are_page_aligned_reused_and_counted() {
        let pool = Arc::new(StackPool::new(2, 1));
        let creator = Stacks(Arc::clone(&pool));
        let first = creator.new_stack(STACK_BYTES, false).unwrap();
        let range = first.range();
        assert_eq!(range.len(), STACK_BYTES);
        assert!(range.start.is_multiple_of(sys::page_size()));
        assert_eq!(first.top().addr(), range.end);
        let _second = creator.new_stack(STACK_BYTES, false).unwrap();
        let refused = creator.new_stack(STACK_BYTES, false).err().unwrap();
        assert_eq!(refused.downcast_ref::<OutOfStacks>(), Some(&OutOfStacks(2)));
        drop(first);
        assert_eq!(creator.new_stack(STACK_BYTES, false).unwrap().range(), range);
        assert_eq!(pool.used(), 1);
    }

    #[test]
    fn a_watch_sees_the_stacks_of_its_own_poll_only() {
        let creator = Stacks(Arc::new(StackPool::new(4, 1)));
        let (watch, other) = (CallWatch::new(), CallWatch::new());
        let mine = watch.poll(|| creator.new_stack(STACK_BYTES, false).unwrap());
        let theirs = other.poll(|| creator.new_stack(STACK_BYTES, false).unwrap());
        let outside = creator.new_stack(STACK_BYTES, false).unwrap();
        assert_eq!((watch.stacks(), other.stacks()), (1, 1));
        drop((mine, theirs, outside));
    }
}
