//! What a logical processor knows while it runs an enclave: one for each thread, in its thread-local storage.
//!
//! FS stays the host's inside an enclave, so a signal handler finds it there. The first entry of a thread
//! touches it, so that no handler is the first to.

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use super::enclave::Running;
use super::fault::Fault;
use super::tcs::Tcs;

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In no enclave.
    Outside,
    /// At the instruction that stands for ERESUME.
    Resuming,
    /// In enclave mode.
    Inside,
}

/// What the entry code loads on EENTER, or hands on when EENTER or ERESUME fault. Its offsets are known to
/// that code.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Registers {
    /// RIP, or the vector.
    pub(super) first: u64,
    /// GS base, or the error code.
    pub(super) second: u64,
    /// RAX (CSSA), or the address.
    pub(super) third: u64,
    /// RBX (TCS), or the leaf.
    pub(super) fourth: u64,
}

/// What the entry code says of the untrusted side.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Outside {
    pub(super) rsp: u64,
    pub(super) rbp: u64,
    pub(super) exception_landing: u64,
    pub(super) aep: u64,
}

pub(super) struct Processor {
    mode: AtomicU8,
    /// An `Arc<Running>` that this owns, or null: the enclave that the thread entered and has not left.
    enclave: AtomicPtr<Running>,
    tcs: AtomicUsize,
    host_gs: AtomicU64,
    /// RSP and RBP outside.
    stack: [AtomicU64; 2],
    /// Where an asynchronous exit continues.
    exception_landing: AtomicU64,
    /// The AEP, which is the instruction that stands for ERESUME.
    aep: AtomicU64,
    registers: UnsafeCell<Registers>,
    last_fault: Cell<Option<Fault>>,
}

thread_local! {
    static PROCESSOR: Processor = const { Processor {
        mode: AtomicU8::new(0),
        enclave: AtomicPtr::new(std::ptr::null_mut()),
        tcs: AtomicUsize::new(0),
        host_gs: AtomicU64::new(0),
        stack: [AtomicU64::new(0), AtomicU64::new(0)],
        exception_landing: AtomicU64::new(0),
        aep: AtomicU64::new(0),
        registers: UnsafeCell::new(Registers { first: 0, second: 0, third: 0, fourth: 0 }),
        last_fault: Cell::new(None),
    } };
}

/// This thread's. It has no destructor, so it is there as long as the thread is.
pub(super) fn with<T>(f: impl FnOnce(&Processor) -> T) -> T {
    PROCESSOR.with(f)
}

pub(super) fn last_fault() -> Option<Fault> {
    with(|p| p.last_fault.get())
}

impl Processor {
    pub(super) fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            0 => Mode::Outside,
            1 => Mode::Resuming,
            _ => Mode::Inside,
        }
    }

    /// The last thing on the way in and the first on the way out: handlers trust the rest while it says so.
    pub(super) fn set_mode(&self, mode: Mode) {
        compiler_fence(Ordering::SeqCst);
        let number = match mode {
            Mode::Outside => 0,
            Mode::Resuming => 1,
            Mode::Inside => 2,
        };
        self.mode.store(number, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Keeps the enclave alive until [`left`](Self::left), and remembers where its exits go.
    pub(super) fn enters(&self, enclave: Arc<Running>, tcs: usize, outside: &Outside) {
        drop(self.left());
        self.tcs.store(tcs, Ordering::Relaxed);
        self.stack[0].store(outside.rsp, Ordering::Relaxed);
        self.stack[1].store(outside.rbp, Ordering::Relaxed);
        self.exception_landing.store(outside.exception_landing, Ordering::Relaxed);
        self.aep.store(outside.aep, Ordering::Relaxed);
        self.host_gs.store(gs_base(), Ordering::Relaxed);
        self.enclave.store(Arc::into_raw(enclave).cast_mut(), Ordering::Relaxed);
    }

    /// The enclave that the thread has left, if it holds one still.
    pub(super) fn left(&self) -> Option<Arc<Running>> {
        let held = self.enclave.swap(std::ptr::null_mut(), Ordering::Relaxed);
        if held.is_null() {
            return None;
        }
        // SAFETY: needed to hold an Arc where a signal handler can read it. It came from `Arc::into_raw` in
        // `enters`, and the swap takes it out once.
        Some(unsafe { Arc::from_raw(held) })
    }

    /// The enclave and the TCS that this thread is in.
    pub(super) fn inside(&self) -> Option<(&Running, &Tcs)> {
        if self.mode() == Mode::Outside {
            return None;
        }
        let enclave = self.enclave.load(Ordering::Relaxed);
        // SAFETY: outside of `Outside` it is the Arc stored by `enters`, which `left` has not taken: that is
        // called outside only, by this thread. The result borrows from this thread's processor.
        let enclave = unsafe { enclave.as_ref()? };
        Some((enclave, enclave.threads.get(self.tcs.load(Ordering::Relaxed))?))
    }

    /// RSP and RBP outside.
    pub(super) fn untrusted_stack(&self) -> (u64, u64) {
        (self.stack[0].load(Ordering::Relaxed), self.stack[1].load(Ordering::Relaxed))
    }

    pub(super) fn exception_landing(&self) -> u64 {
        self.exception_landing.load(Ordering::Relaxed)
    }

    pub(super) fn aep(&self) -> u64 {
        self.aep.load(Ordering::Relaxed)
    }

    /// Enclave mode ends: GS is the host's again and the TCS free.
    pub(super) fn leave(&self, tcs: &Tcs) {
        set_gs_base(self.host_gs.load(Ordering::Relaxed));
        self.set_mode(Mode::Outside);
        tcs.release();
    }

    pub(super) fn set_registers(&self, registers: Registers) -> *const Registers {
        // SAFETY: only this thread has the cell, no reference to its content is ever made, and the entry code
        // reads it after this has returned.
        unsafe { self.registers.get().write(registers) };
        self.registers.get()
    }

    pub(super) fn set_last_fault(&self, fault: Fault) {
        self.last_fault.set(Some(fault));
    }
}

pub(super) fn gs_base() -> u64 {
    let base;
    // SAFETY: reads a register. FSGSBASE was checked before the first enclave was loaded.
    unsafe { std::arch::asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

pub(super) fn set_gs_base(base: u64) {
    // SAFETY: Rust code on x86-64 Linux does not use GS; FSGSBASE was checked as above. The base is canonical:
    // it was read from the register, or points into ELRANGE.
    unsafe { std::arch::asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags)) };
}
