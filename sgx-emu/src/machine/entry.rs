//! The way in and out: a function with the ABI of the kernel's `__vdso_sgx_enter_enclave`.
//!
//! EENTER is plain code: checks in [`prepare`], then a jump. What the kernel's function leaves to the enclave
//! and its runtime is left to them here too (`arch/x86/include/uapi/asm/sgx.h`): extended state, and what the
//! general registers but RBP and RSP hold after an exit. RBX and R12 to R15 come back as they were.

use std::arch::naked_asm;
use std::{fmt, io};

use super::aex::{self, ERESUME};
use super::enclave;
use super::fault::{Exception, page_fault, vector};
use super::processor::{self, Mode, Outside, Processor, Registers};
use super::stack;
use crate::PAGE_SIZE;

/// `struct sgx_enclave_run` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EnclaveRun {
    /// Address of the TCS to enter.
    pub tcs: u64,
    /// The last ENCLU leaf: EEXIT (4), or the one that an exception ended: EENTER (2) where it came before the
    /// enclave ran, ERESUME (3) where it came of the enclave.
    pub function: u32,
    /// The exception's vector.
    pub exception_vector: u16,
    /// Its error code.
    pub exception_error_code: u16,
    /// The address of a page fault, its low twelve bits cleared.
    pub exception_addr: u64,
    /// 0, or the address of a `sgx_enclave_user_handler_t`.
    pub user_handler: u64,
    /// For the user handler.
    pub user_data: u64,
    /// Zero.
    pub reserved: [u8; 216],
}

impl EnclaveRun {
    /// Enters at the TCS of this address, without a user handler.
    pub const fn new(tcs: u64) -> Self {
        Self {
            tcs,
            function: 0,
            exception_vector: 0,
            exception_error_code: 0,
            exception_addr: 0,
            user_handler: 0,
            user_data: 0,
            reserved: [0; 216],
        }
    }
}

impl fmt::Debug for EnclaveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnclaveRun")
            .field("tcs", &format_args!("{:#x}", self.tcs))
            .field("function", &self.function)
            .field("exception_vector", &self.exception_vector)
            .field("exception_error_code", &format_args!("{:#x}", self.exception_error_code))
            .field("exception_addr", &format_args!("{:#x}", self.exception_addr))
            .finish_non_exhaustive()
    }
}

const EENTER: u32 = 2;

/// What [`prepare`] decided. The entry code knows the numbers.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Refuse = 0,
    Raise = 1,
    Resume = 2,
    Enter = 3,
}

/// A pair of words, which C returns in RAX and RDX.
#[repr(C)]
struct Answer {
    decision: Decision,
    /// [`Registers`] to load, or the number to return.
    detail: u64,
}

/// Enters an enclave: `leaf` is EENTER (2) or ERESUME (3). RDI, RSI, RDX, R8 and R9 are the enclave's to read
/// on entry, and hold what it left there on return: call this from assembly to see them.
///
/// Returns 0 when ENCLU was tried, and `run` says what came of it; `-EINVAL` for another leaf or a reserved
/// byte of `run` that is set; `-ENOMEM` when this thread gets no stack for its signals; or what the user
/// handler returned, if that is not positive.
///
/// # Safety
/// `run` must point to an [`EnclaveRun`] that nobody else uses until this returns. The enclave is native code
/// of this process and can do anything; its handle must live until this is called. It must keep to the ABI:
/// leave RBP and RSP on exit as they were on entry, and keep off FS.
///
/// Not from a signal handler.
#[unsafe(naked)]
pub unsafe extern "C" fn enter_enclave(
    rdi: u64,
    rsi: u64,
    rdx: u64,
    leaf: u32,
    r8: u64,
    r9: u64,
    run: *mut EnclaveRun,
) -> i32 {
    // Frame, from RBP: +16 `run`, -8 RBX, -16 to -40 R12 to R15. Below that RSP may be anything after an exit,
    // as in the kernel's function: an enclave may hand its user handler something on this stack.
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_offset r15, -56",
        "mov eax, ecx",
        // With the leaf in EAX: what the enclave is to see is put aside while `prepare` runs.
        "20:",
        "push rdi",
        "push rsi",
        "push rdx",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "mov rbx, rsp",
        "and rsp, -16",
        "lea rcx, [rip + 80f]", // Outside, from its last field to its first
        "push rcx",
        "lea rcx, [rip + 50f]",
        "push rcx",
        "push rbp",
        "lea rcx, [rbx + 56]",
        "push rcx",
        "mov rdi, [rbp + 16]",
        "mov esi, eax",
        "mov rdx, rsp",
        "cld",
        "call {prepare}",
        "mov rsp, rbx",
        "mov rbx, rdx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "cmp eax, {enter}",
        "je 30f",
        "cmp eax, {resume}",
        "je 80f",
        "cmp eax, {raise}",
        "je 40f",
        "mov eax, ebx",
        "jmp 90f",
        // EENTER. The word below RSP is in the red zone, where no signal handler writes.
        "30:",
        "mov rcx, [rbx]",
        "mov [rsp - 8], rcx",
        "mov rcx, [rbx + 8]",
        "wrgsbase rcx",
        "mov rax, [rbx + 16]",
        "mov rbx, [rbx + 24]",
        "lea rcx, [rip + 60f]",
        "jmp qword ptr [rsp - 8]",
        // ERESUME: SIGILL, whose handler loads the saved state. This is the AEP.
        "80:",
        "ud2",
        // EENTER or ERESUME fault.
        "40:",
        "mov rdi, [rbx]",
        "mov rsi, [rbx + 8]",
        "mov rdx, [rbx + 16]",
        "mov rax, [rbx + 24]",
        // An exception: leaf, vector, error code and address in RAX, RDI, RSI and RDX.
        "50:",
        "mov rbx, [rbp + 16]",
        "mov [rbx + 8], eax",
        "mov [rbx + 12], di",
        "mov [rbx + 14], si",
        "mov [rbx + 16], rdx",
        "jmp 70f",
        // EEXIT.
        "60:",
        "mov rbx, [rbp + 16]",
        "mov dword ptr [rbx + 8], 4",
        "70:",
        "push rdi",
        "push rsi",
        "push rdx",
        "push r8",
        "push r9",
        "mov r12, rsp",
        "and rsp, -16",
        "cld",
        "call {left}",
        "mov rsp, r12",
        "pop r9",
        "pop r8",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "xor eax, eax",
        "cmp qword ptr [rbx + 24], 0",
        "je 90f",
        // The user handler: RDI, RSI, RDX, R8 and R9 as they are, RSP in RCX, `run` on the stack.
        "mov rcx, rsp",
        "mov r12, rsp",
        "and rsp, -16",
        "push rbx",
        "push rbx",
        "call qword ptr [rbx + 24]",
        "mov rsp, r12",
        "test eax, eax",
        "jg 20b",
        "90:",
        "mov rbx, [rbp - 8]",
        "mov r12, [rbp - 16]",
        "mov r13, [rbp - 24]",
        "mov r14, [rbp - 32]",
        "mov r15, [rbp - 40]",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        prepare = sym prepare,
        left = sym left,
        raise = const Decision::Raise as u64,
        resume = const Decision::Resume as u64,
        enter = const Decision::Enter as u64,
    )
}

/// EENTER and ERESUME up to the jump (SDM 3D, "EENTER—Enters an Enclave", "ERESUME—Re-Enters an Enclave").
extern "C" fn prepare(run: *const EnclaveRun, leaf: u32, outside: *const Outside) -> Answer {
    // SAFETY: the caller of `enter_enclave` vouches for `run`; the entry code made `outside` on its stack.
    let (run, outside) = unsafe { (run.read(), outside.read()) };
    let refuse = |error: io::Error| {
        let number = -i64::from(error.raw_os_error().unwrap_or(libc::ENOMEM));
        Answer { decision: Decision::Refuse, detail: number.cast_unsigned() }
    };
    if !matches!(leaf, EENTER | ERESUME) || run.reserved != [0; 216] {
        return refuse(io::Error::from_raw_os_error(libc::EINVAL));
    }
    if let Err(error) = stack::ready() {
        return refuse(error);
    }
    processor::with(|processor| match enter(processor, run.tcs, leaf, &outside) {
        Ok(answer) => answer,
        Err(exception) => {
            let registers = Registers {
                first: exception.vector.into(),
                second: exception.error_code.into(),
                third: exception.address,
                fourth: leaf.into(),
            };
            let detail = processor.set_registers(registers) as u64;
            Answer { decision: Decision::Raise, detail }
        }
    })
}

fn enter(processor: &Processor, tcs: u64, leaf: u32, outside: &Outside) -> Result<Answer, Exception> {
    // In enclave mode already: this is a signal handler on top of enclave code.
    if processor.mode() != Mode::Outside || !tcs.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Exception::GENERAL_PROTECTION);
    }
    let no_tcs = Exception {
        vector: vector::PAGE_FAULT,
        error_code: page_fault::USER | page_fault::WRITE,
        address: tcs,
    };
    let running = enclave::containing(tcs).ok_or(no_tcs)?;
    let exception = |exception| {
        processor.set_last_fault(aex::report(&running, exception, None, Some(leaf)));
        exception
    };
    let index = running.thread_at(tcs).ok_or_else(|| exception(Exception::page_fault(tcs, true)))?;
    let thread = &running.threads[index];
    if !thread.acquire() {
        return Err(exception(Exception::GENERAL_PROTECTION));
    }
    let checked = (|| {
        if !thread.aligned() {
            return Err(Exception::GENERAL_PROTECTION);
        }
        let frame = match leaf {
            EENTER if thread.has_free_frame() => thread.cssa(),
            ERESUME if thread.cssa() > 0 => thread.cssa() - 1,
            _ => return Err(Exception::GENERAL_PROTECTION),
        };
        let beyond = Exception::page_fault(running.epc.base() as u64, true);
        let frame = thread.frame(frame, running.frame_bytes).ok_or(beyond)?;
        aex::note_stack(&running, frame, outside.rsp, outside.rbp).map_err(|page| {
            Exception::page_fault((running.epc.base() as u64).wrapping_add(page as u64), true)
        })
    })();
    if let Err(refused) = checked {
        thread.release();
        return Err(exception(refused));
    }
    let base = running.epc.base() as u64;
    let registers = Registers {
        first: base.wrapping_add(thread.oentry),
        second: base.wrapping_add(thread.ogsbasgx),
        third: thread.cssa().into(),
        fourth: tcs,
    };
    processor.enters(running.clone(), index, outside);
    let detail = processor.set_registers(registers) as u64;
    let (mode, decision) = match leaf {
        EENTER => (Mode::Inside, Decision::Enter),
        _ => (Mode::Resuming, Decision::Resume),
    };
    processor.set_mode(mode);
    Ok(Answer { decision, detail })
}

/// Behind every exit: the enclave may be unmapped now.
extern "C" fn left() {
    processor::with(|processor| drop(processor.left()));
}
