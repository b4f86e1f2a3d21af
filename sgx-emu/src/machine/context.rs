//! The registers of an interrupted thread, as the kernel lays them out for a signal handler.

use libc::{
    REG_CR2, REG_EFL, REG_ERR, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX,
    REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP, REG_TRAPNO,
};

/// A general register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Register {
    Rax = REG_RAX,
    Rcx = REG_RCX,
    Rdx = REG_RDX,
    Rbx = REG_RBX,
    Rsp = REG_RSP,
    Rbp = REG_RBP,
    Rsi = REG_RSI,
    Rdi = REG_RDI,
    R8 = REG_R8,
    R9 = REG_R9,
    R10 = REG_R10,
    R11 = REG_R11,
    R12 = REG_R12,
    R13 = REG_R13,
    R14 = REG_R14,
    R15 = REG_R15,
    Rflags = REG_EFL,
    Rip = REG_RIP,
}

/// RFLAGS.CF, PF, AF, ZF, SF and OF.
pub(super) const ARITHMETIC_FLAGS: u64 = 1 | 1 << 2 | 1 << 4 | ZERO_FLAG | 1 << 7 | 1 << 11;
/// RFLAGS.ZF.
pub(super) const ZERO_FLAG: u64 = 1 << 6;
/// RFLAGS.TF.
pub(super) const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.DF.
pub(super) const DIRECTION_FLAG: u64 = 1 << 10;
/// RFLAGS.RF.
pub(super) const RESUME_FLAG: u64 = 1 << 16;
/// RFLAGS.AC.
pub(super) const ALIGNMENT_FLAG: u64 = 1 << 18;

/// Whether an address is one, with 48 bits.
pub(super) fn is_canonical(address: u64) -> bool {
    (address.cast_signed() << 16 >> 16).cast_unsigned() == address
}

/// The frame that the kernel restores when the handler returns.
pub(super) struct Context<'a>(&'a mut libc::ucontext_t);

impl<'a> Context<'a> {
    pub(super) fn new(frame: &'a mut libc::ucontext_t) -> Self {
        Self(frame)
    }

    pub(super) fn get(&self, register: Register) -> u64 {
        self.0.uc_mcontext.gregs[register as usize].cast_unsigned()
    }

    pub(super) fn set(&mut self, register: Register, value: u64) {
        self.0.uc_mcontext.gregs[register as usize] = value.cast_signed();
    }

    /// The exception that made the signal: its vector, error code, and the address of a page fault.
    pub(super) fn trap(&self) -> (u64, u64, u64) {
        let word = |index: i32| self.0.uc_mcontext.gregs[index as usize].cast_unsigned();
        (word(REG_TRAPNO), word(REG_ERR), word(REG_CR2))
    }

    /// The XSAVE area. None: a kernel without XSAVE.
    pub(super) fn extended_state(&mut self) -> Option<&mut [u8]> {
        /// FP_XSTATE_MAGIC1, and where it and the size of the area stand in the kernel's frame.
        const MAGIC: u32 = 0x4650_5853;
        const MAGIC_AT: usize = 464;
        const SIZE_AT: usize = 480;
        const LEGACY: usize = 512;

        let area = self.0.uc_mcontext.fpregs.cast::<u8>();
        if area.is_null() {
            return None;
        }
        // SAFETY: the kernel's frame of this signal has at least the 512 bytes of FXSAVE here, and the handler
        // alone has the frame.
        let legacy = unsafe { std::slice::from_raw_parts(area, LEGACY) };
        let word = |at| u32::from_le_bytes(crate::keys::field(legacy, at));
        if word(MAGIC_AT) != MAGIC {
            return None;
        }
        let size = usize::try_from(word(SIZE_AT)).ok()?;
        // SAFETY: with the magic the kernel says how many bytes of XSAVE area its frame has. The slice above
        // is not used any more, and this one borrows the frame mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(area, size) })
    }
}
