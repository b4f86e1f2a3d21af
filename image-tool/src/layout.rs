//! Where things lie in ELRANGE.

use crate::{PAGE_SIZE, Parameters};

/// Never added, so that a stack that overflows faults instead of reaching what lies below it.
const GUARD: u64 = 64 << 10;

/// One frame of the state save area, in pages: the XSAVE area for XFRM 7 is 832 bytes, GPRSGX 184 (SDM 3D,
/// "SSA Frame"). Even with AVX-512 state a page would do.
pub(crate) const SSA_FRAME_PAGES: u32 = 1;

/// Frames per thread. One suffices: no enclave of this tool's handles its own exceptions.
pub(crate) const SSA_FRAMES: u32 = 1;

/// Offsets from the enclave's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The heap: the first page after the program.
    pub(crate) heap: u64,
    /// The end of everything: where no page is.
    pub(crate) end: u64,
    /// SECS.SIZE.
    pub(crate) enclave_size: u64,
    heap_len: u64,
    stack_len: u64,
    threads: u32,
}

/// What one thread has, in the order of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// Where no page is, below the stack.
    pub(crate) guard: u64,
    /// The lowest page of the stack.
    pub(crate) stack: u64,
    /// The page that GS points to; the stack ends here.
    pub(crate) tls: u64,
    pub(crate) tcs: u64,
    pub(crate) ssa: u64,
}

impl Layout {
    /// The layout behind a program that ends at `program_end`, or none if it does not fit into 64 bits.
    pub(crate) fn new(program_end: u64, parameters: &Parameters) -> Option<Self> {
        let heap = program_end.checked_next_multiple_of(PAGE_SIZE)?;
        let threads = thread_len(parameters.stack).checked_mul(parameters.threads.into())?;
        let end = heap.checked_add(parameters.heap)?.checked_add(threads)?;
        Some(Self {
            heap,
            end,
            enclave_size: end.checked_next_power_of_two()?,
            heap_len: parameters.heap,
            stack_len: parameters.stack,
            threads: parameters.threads,
        })
    }

    pub(crate) fn threads(&self) -> impl Iterator<Item = Thread> {
        let (first, stack_len) = (self.heap + self.heap_len, self.stack_len);
        (0..u64::from(self.threads)).map(move |n| {
            let guard = first + n * thread_len(stack_len);
            let stack = guard + GUARD;
            let tls = stack + stack_len;
            let tcs = tls + PAGE_SIZE;
            Thread { guard, stack, tls, tcs, ssa: tcs + PAGE_SIZE }
        })
    }
}

fn thread_len(stack: u64) -> u64 {
    const TLS_AND_TCS: u64 = 2;
    GUARD + stack + (TLS_AND_TCS + u64::from(SSA_FRAMES * SSA_FRAME_PAGES)) * PAGE_SIZE
}
