//! What one call took from the pools, from the outside: looked after each time the call is polled.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use crate::memory::CallMemory;
use crate::stack::Stack;

thread_local! {
    /// The watch of the call that this thread is polling.
    static POLLING: RefCell<Option<CallWatch>> = const { RefCell::new(None) };
}

/// Compares the canaries of one call's stacks each time the call is switched away from, and knows its memories.
#[derive(Clone, Default)]
pub struct CallWatch {
    stacks: Arc<Mutex<Vec<Arc<Stack>>>>,
    memory: CallMemory,
}

impl CallWatch {
    /// A watch for one call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of the call which this thread is polling.
    pub(crate) fn current() -> Option<CallWatch> {
        POLLING.with_borrow(Clone::clone)
    }

    /// The call's memories.
    pub fn memory(&self) -> &CallMemory {
        &self.memory
    }

    /// Runs one poll of the call. Stacks and memories that it takes from the pools are watched from then on; the
    /// process is aborted if a stack was overrun.
    pub fn poll<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.memory.begin();
        let outer = POLLING.replace(Some(self.clone()));
        let restore = Restore(Some(outer));
        let result = poll();
        drop(restore);
        if let Ok(stacks) = self.stacks.lock() {
            stacks.iter().for_each(|stack| stack.verify());
        }
        result
    }

    pub(crate) fn add(&self, stack: &Arc<Stack>) {
        if let Ok(mut stacks) = self.stacks.lock() {
            stacks.push(Arc::clone(stack));
        }
    }

    #[cfg(test)]
    pub(crate) fn stacks(&self) -> usize {
        self.stacks.lock().unwrap().len()
    }
}

/// Puts the outer watch back, also when a poll unwinds.
struct Restore(Option<Option<CallWatch>>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            POLLING.set(outer);
        }
    }
}
