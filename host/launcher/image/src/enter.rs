//! Entering an enclave by a function with the ABI of the kernel's `__vdso_sgx_enter_enclave`.
//!
//! That ABI (Linux, `arch/x86/include/uapi/asm/sgx.h`) is the one of a C function but for this: RDI, RSI, RDX,
//! R8 and R9 go into the enclave as they are and come back as the enclave left them, and any register that C
//! lets a function change is changed, extended state included. An enclave of EDP puts a usercall's number and
//! parameters into those five registers and takes its result from RSI and RDX.

use std::arch::asm;
use std::fmt;

use sgx_emu::EnclaveRun;

const EENTER: u32 = 2;
const ERESUME: u32 = 3;
const EEXIT: u32 = 4;

/// A function with the ABI of `__vdso_sgx_enter_enclave`.
#[derive(Clone, Copy, Debug)]
pub struct Entry(usize);

impl Entry {
    /// # Safety
    /// `address` is that of a function with this ABI, for as long as the result is used, and what it enters
    /// keeps to EDP's entry ABI: callee-saved registers, MXCSR, the x87 control word and the stack come back.
    pub unsafe fn new(address: usize) -> Entry {
        Entry(address)
    }
}

/// The registers that pass between host and enclave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Usercall number; 0 when the thread ends.
    pub rdi: u64,
    /// First parameter, or first result.
    pub rsi: u64,
    /// Second parameter, or second result.
    pub rdx: u64,
    /// Third parameter.
    pub r8: u64,
    /// Fourth parameter.
    pub r9: u64,
}

/// How a visit to the enclave ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// By EEXIT, with these registers.
    Left(Registers),
    /// By an exception that the enclave cannot handle.
    Exception(Exception),
    /// Not begun: the entry function returned this number.
    Refused(i32),
}

/// An exception as the entry function reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// It came from EENTER itself, so the enclave was not entered.
    pub on_entry: bool,
    /// Its vector (SDM 3A, table 6-1).
    pub vector: u16,
    /// Its error code.
    pub error_code: u16,
    /// The address of a page fault.
    pub address: u64,
}

/// Enters at `tcs` with `registers`.
///
/// # Safety
/// `tcs` is the address of a TCS of an enclave that is loaded and stays loaded until this returns, and no other
/// thread is entered there.
pub(crate) unsafe fn enter(entry: Entry, tcs: usize, registers: Registers) -> Visit {
    let mut run = EnclaveRun::new(tcs as u64);
    let Registers { mut rdi, mut rsi, mut rdx, mut r8, mut r9 } = registers;
    let result: i32;
    // SAFETY: needed because no calling convention returns five registers. The stack pointer is aligned here, as
    // for any call, and again after the eight bytes and the pushed argument. `Entry` is a function of that ABI;
    // RBX and RBP are kept by it, and everything else that it may change is named below. `run` outlives the call
    // and nobody else has it.
    unsafe {
        asm!(
            "sub rsp, 8",
            "push r11",
            "call r10",
            "add rsp, 16",
            inout("rdi") rdi,
            inout("rsi") rsi,
            inout("rdx") rdx,
            inout("rcx") u64::from(EENTER) => _,
            inout("r8") r8,
            inout("r9") r9,
            inout("r10") entry.0 => _,
            inout("r11") &raw mut run => _,
            lateout("eax") result,
            // Callee-saved, but an exception leaves them as the CPU set them.
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        );
    }
    match (result, run.function) {
        (0, EEXIT) => Visit::Left(Registers { rdi, rsi, rdx, r8, r9 }),
        (0, function @ (EENTER | ERESUME)) => Visit::Exception(Exception {
            on_entry: function == EENTER,
            vector: run.exception_vector,
            error_code: run.exception_error_code,
            address: run.exception_addr,
        }),
        (other, _) => Visit::Refused(other),
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.vector {
            0 => "divide error (#DE)",
            3 => "breakpoint (#BP)",
            6 => "invalid opcode (#UD)",
            13 => "general protection (#GP)",
            14 => "page fault (#PF)",
            17 => "alignment check (#AC)",
            19 => "SIMD floating-point error (#XM)",
            _ => "exception",
        };
        write!(f, "{name}, vector {}, error code {:#x}", self.vector, self.error_code)?;
        if self.vector == 14 {
            write!(f, ", address {:#x}", self.address)?;
        }
        if self.on_entry {
            f.write_str(
                " at EENTER: the enclave's memory is gone (was the machine suspended?) or its TCS is in use",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod play;

#[cfg(test)]
mod tests {
    use super::play::Play;
    use super::*;

    fn visit(play: &Play, registers: Registers) -> Visit {
        // SAFETY: the entry is the play's own.
        unsafe { enter(play.entry(), play.tcs(), registers) }
    }

    #[test]
    fn registers_pass_both_ways() {
        let play = Play::new(|_, r| {
            let [rdi, rsi, rdx, r8, r9] = [r.rdi, r.rsi, r.rdx, r.r8, r.r9].map(|n| n.wrapping_add(1));
            Visit::Left(Registers { rdi, rsi, rdx, r8, r9 })
        });
        let registers = Registers { rdi: 1, rsi: 2, rdx: 3, r8: 4, r9: u64::MAX };
        let back = Registers { rdi: 2, rsi: 3, rdx: 4, r8: 5, r9: 0 };
        assert_eq!(visit(&play, registers), Visit::Left(back));
    }

    #[test]
    fn an_exception_and_a_refusal_are_told_apart() {
        let exception = Exception { on_entry: false, vector: 14, error_code: 7, address: 0x5000 };
        let play = Play::new(move |_, _| Visit::Exception(exception));
        assert_eq!(visit(&play, Registers::default()), Visit::Exception(exception));
        assert_eq!(exception.to_string(), "page fault (#PF), vector 14, error code 0x7, address 0x5000");
        let play = Play::new(|_, _| Visit::Refused(-22));
        assert_eq!(visit(&play, Registers::default()), Visit::Refused(-22));
    }
}
