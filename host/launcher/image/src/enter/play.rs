//! A function that plays an enclave: the entry's ABI on the outside, a closure on the inside.

use std::arch::naked_asm;

use sgx_emu::EnclaveRun;

use super::{Entry, Registers, Visit};

type Act = dyn Fn(usize, Registers) -> Visit + Send + Sync;

/// An enclave with one TCS or more, each of which is a number that the closure gets beside the registers.
pub(crate) struct Play {
    /// Never moved: their addresses are given away.
    tcs: Box<[Tcs]>,
}

struct Tcs {
    number: usize,
    act: std::sync::Arc<Act>,
}

impl Play {
    pub(crate) fn new(act: impl Fn(usize, Registers) -> Visit + Send + Sync + 'static) -> Play {
        Self::with_threads(1, act)
    }

    pub(crate) fn with_threads(
        threads: usize,
        act: impl Fn(usize, Registers) -> Visit + Send + Sync + 'static,
    ) -> Play {
        let act = std::sync::Arc::new(act);
        Play { tcs: (0..threads).map(|number| Tcs { number, act: act.clone() }).collect() }
    }

    pub(crate) fn tcs(&self) -> usize {
        self.all_tcs()[0]
    }

    pub(crate) fn all_tcs(&self) -> Vec<usize> {
        self.tcs.iter().map(|tcs| std::ptr::from_ref(tcs).expose_provenance()).collect()
    }

    pub(crate) fn entry(&self) -> Entry {
        // SAFETY: `entry` keeps to the ABI, and to the callee-saved registers.
        unsafe { Entry::new(entry as *const () as usize) }
    }
}

/// Puts the registers where Rust can see them, as [`Registers`] in memory, and back.
#[unsafe(naked)]
unsafe extern "C" fn entry() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push r9",
        "push r8",
        "push rdx",
        "push rsi",
        "push rdi",
        "mov rdi, rsp",
        "mov rsi, [rbp + 16]",
        "sub rsp, 8",
        "call {act}",
        "add rsp, 8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop r8",
        "pop r9",
        "pop rbp",
        "ret",
        act = sym act,
    )
}

extern "C" fn act(registers: &mut Registers, run: &mut EnclaveRun) -> i32 {
    // SAFETY: tests enter only where a `Play` that lives says that a TCS is.
    let tcs = unsafe { &*std::ptr::with_exposed_provenance::<Tcs>(run.tcs as usize) };
    match (tcs.act)(tcs.number, *registers) {
        Visit::Left(after) => {
            *registers = after;
            run.function = 4;
            0
        }
        Visit::Exception(exception) => {
            run.function = if exception.on_entry { 2 } else { 3 };
            run.exception_vector = exception.vector;
            run.exception_error_code = exception.error_code;
            run.exception_addr = exception.address;
            0
        }
        Visit::Refused(number) => number,
    }
}
