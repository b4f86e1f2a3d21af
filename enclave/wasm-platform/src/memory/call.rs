//! The memories of one call: what they left behind, and what is made ready before they grow.

use std::sync::{Arc, Mutex, Weak};

use super::block::Block;
use super::{Memory, MemoryPool, Next, OutOfGuestMemory, STEP, lock};
use crate::watch::CallWatch;

/// The memories of one call. Cheap to clone; what the last clone still holds is erased when it is dropped.
#[derive(Clone, Default)]
pub struct CallMemory(Arc<Mutex<Call>>);

#[derive(Default)]
struct Call {
    /// Whose size the engine asked for last: it does so right before it says that a memory is to grow.
    asked: Weak<Mutex<Memory>>,
    /// What a growth was prepared for.
    prepared: Weak<Mutex<Memory>>,
    /// What is to be erased before the pool gets it back.
    left: Vec<(Arc<MemoryPool>, Block)>,
    growth: Option<Growth>,
    /// For a memory that is about to be made.
    fresh: Option<(Arc<MemoryPool>, Block)>,
    /// Why there is nothing for the memory that is about to grow.
    refused: Option<OutOfGuestMemory>,
    /// Bytes erased and copied since the current poll began.
    done: usize,
}

/// A growth that the engine is about to ask for. It does not say of which memory.
struct Growth {
    desired: usize,
    maximum: Option<usize>,
    /// The one whose size was asked for last, if it is of the size from which it grows. Another guess would only cost
    /// time.
    memory: Option<Weak<Mutex<Memory>>>,
    fresh: Option<Arc<MemoryPool>>,
}

impl CallMemory {
    /// That of the call which this thread is polling; of none, one by itself.
    pub(super) fn current() -> CallMemory {
        CallWatch::current().map(|watch| watch.memory().clone()).unwrap_or_default()
    }

    pub(super) fn make(
        &self,
        pool: &Arc<MemoryPool>,
        minimum: usize,
        maximum: Option<usize>,
    ) -> Result<Arc<Mutex<Memory>>, OutOfGuestMemory> {
        let (prepared, refused) = {
            let mut call = lock(&self.0);
            (call.fresh.take(), call.refused.take())
        };
        let block = match (prepared, refused) {
            (Some((_, block)), _) if block.len() >= minimum => block,
            (_, Some(full)) => return Err(full),
            (prepared, None) => {
                if let Some((_, block)) = prepared {
                    self.left(pool, block, 0);
                }
                pool.take(minimum, maximum)?
            }
        };
        let mut memory = Memory {
            pool: Arc::clone(pool),
            call: self.clone(),
            block: Some(block),
            size: 0,
            maximum,
            next: None,
        };
        memory.erase_up_to(minimum);
        memory.size = minimum;
        Ok(Arc::new(Mutex::new(memory)))
    }

    /// The engine asked for the size of this memory.
    pub(super) fn asked(&self, memory: &Arc<Mutex<Memory>>) {
        lock(&self.0).asked = Arc::downgrade(memory);
    }

    /// The growth was of a memory that there is: what was made ready for a new one is not needed.
    pub(super) fn has_grown(&self) {
        let fresh = lock(&self.0).fresh.take();
        if let Some((pool, block)) = fresh {
            self.left(&pool, block, 0);
        }
    }

    /// A memory of this call is about to grow from `current` bytes to `desired`, or one of `desired` bytes to be
    /// made. Call [`CallMemory::step`] until it says that all is ready, and let others run in between.
    pub fn prepare(&self, pool: &GuestMemory, current: usize, desired: usize, maximum: Option<usize>) {
        self.give_up_growth();
        let room = self.room();
        let mut call = lock(&self.0);
        let asked = call.asked.upgrade().filter(|memory| lock(memory).size == current);
        let memory = asked.as_ref().map(Arc::downgrade);
        call.prepared = memory.clone().unwrap_or_default();
        // What is small is made as it comes.
        let fresh = (current == 0 && desired > room).then(|| Arc::clone(&pool.0));
        call.growth = Some(Growth { desired, maximum, memory, fresh });
    }

    /// Erases and copies what there is to do, as far as the [`STEP`] bytes of one poll reach. `true`: there is more,
    /// and others are to run first.
    pub fn step(&self) -> bool {
        let mut most = self.room();
        self.erase_left(&mut most) || self.prepare_growth(&mut most)
    }

    /// Whether something is left to be erased.
    pub fn has_left(&self) -> bool {
        !lock(&self.0).left.is_empty()
    }

    /// Bytes that may still be erased and copied in this poll.
    fn room(&self) -> usize {
        STEP.saturating_sub(lock(&self.0).done)
    }

    /// A poll of the call begins.
    pub(crate) fn begin(&self) {
        lock(&self.0).done = 0;
    }

    /// `bytes` were erased or copied.
    pub(super) fn did(&self, pool: &MemoryPool, bytes: usize) {
        let mut call = lock(&self.0);
        call.done = call.done.saturating_add(bytes);
        pool.did(call.done);
    }

    /// Takes over a block whose first `size` bytes were in use, for it to be erased: at once if that is little.
    pub(super) fn left(&self, pool: &Arc<MemoryPool>, mut block: Block, size: usize) {
        block.used(size);
        pool.out_of_use(&block);
        let all = 0..block.len();
        if block.unclean_in(all.clone()) <= self.room() {
            let erased = block.erase(all, usize::MAX);
            self.did(pool, erased);
            pool.give(block);
        } else {
            lock(&self.0).left.push((Arc::clone(pool), block));
        }
    }

    /// `true`: there is more than `most`.
    fn erase_left(&self, most: &mut usize) -> bool {
        loop {
            let Some((pool, mut block)) = lock(&self.0).left.pop() else { return false };
            let all = 0..block.len();
            let erased = block.erase(all, *most);
            *most -= erased;
            self.did(&pool, erased);
            if !block.is_zero() {
                lock(&self.0).left.push((pool, block));
                return true;
            }
            pool.give(block);
        }
    }

    /// `true`: it takes more than `most`.
    fn prepare_growth(&self, most: &mut usize) -> bool {
        let Some(mut growth) = lock(&self.0).growth.take() else { return false };
        if let Some(memory) = growth.memory.as_ref().and_then(Weak::upgrade) {
            match lock(&memory).prepare(growth.desired, growth.maximum, most) {
                Ok(true) => growth.memory = None,
                Ok(false) => {
                    lock(&self.0).growth = Some(growth);
                    return true;
                }
                Err(full) => {
                    lock(&self.0).refused = Some(full);
                    return false;
                }
            }
        }
        let Some(pool) = &growth.fresh else { return false };
        let prepared = lock(&self.0).fresh.take();
        let block = match prepared {
            Some((_, block)) => Ok(block),
            None => pool.take(growth.desired, growth.maximum),
        };
        let mut block = match block {
            Ok(block) => block,
            Err(full) => {
                lock(&self.0).refused = Some(full);
                return false;
            }
        };
        let erased = block.erase(0..growth.desired, *most);
        *most -= erased;
        self.did(pool, erased);
        let ready = block.unclean_in(0..growth.desired) == 0;
        let mut call = lock(&self.0);
        call.fresh = Some((Arc::clone(pool), block));
        if !ready {
            call.growth = Some(growth);
        }
        !ready
    }

    /// What was prepared for a growth that did not come about, or will not any more.
    pub fn give_up_growth(&self) {
        let (fresh, prepared) = {
            let mut call = lock(&self.0);
            (call.growth, call.refused) = (None, None);
            (call.fresh.take(), std::mem::take(&mut call.prepared).upgrade())
        };
        if let Some((pool, block)) = fresh {
            self.left(&pool, block, 0);
        }
        if let Some(memory) = prepared {
            lock(&memory).give_up_growth();
        }
    }

    pub(super) fn refused(&self) -> Option<OutOfGuestMemory> {
        lock(&self.0).refused.take()
    }
}

impl Memory {
    /// Makes it possible to grow without much to do. `false`: it takes more than `most`.
    fn prepare(
        &mut self,
        desired: usize,
        maximum: Option<usize>,
        most: &mut usize,
    ) -> Result<bool, OutOfGuestMemory> {
        let Memory { pool, call, block, size, next, .. } = self;
        let fits = block.as_ref().is_some_and(|block| block.len() >= desired);
        let target = if fits {
            block.as_mut()
        } else {
            if next.is_none() {
                *next = Some(Next { block: pool.take(desired, maximum)?, copied: 0 });
            }
            let next = next.as_mut();
            next.and_then(|next| {
                let copied = next.copy(block.as_ref(), *size, *most);
                *most -= copied;
                call.did(pool, copied);
                (next.copied >= *size).then_some(&mut next.block)
            })
        };
        let Some(target) = target else { return Ok(false) };
        let erased = target.erase(*size..desired, *most);
        *most -= erased;
        call.did(pool, erased);
        Ok(target.unclean_in(*size..desired) == 0)
    }

    fn give_up_growth(&mut self) {
        if let Some(next) = self.next.take() {
            self.call.left(&self.pool, next.block, next.copied);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let fresh = self.fresh.take().map(|(pool, block)| {
            pool.out_of_use(&block);
            (pool, block)
        });
        for (pool, mut block) in self.left.drain(..).chain(fresh) {
            let all = 0..block.len();
            block.erase(all, usize::MAX);
            pool.give(block);
        }
    }
}

/// The memory that all guests share, as a call is told of it.
#[derive(Clone)]
pub struct GuestMemory(pub(crate) Arc<MemoryPool>);
