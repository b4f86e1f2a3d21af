//! What went wrong inside, for a person to read.

use std::fmt;

use super::PageState;
use super::processor;

/// Exceptions, by vector (SDM 3A, "Exception and Interrupt Reference").
pub(super) mod vector {
    pub(in super::super) const DIVIDE_ERROR: u8 = 0;
    pub(in super::super) const DEBUG: u8 = 1;
    pub(in super::super) const BREAKPOINT: u8 = 3;
    pub(in super::super) const BOUND_RANGE: u8 = 5;
    pub(in super::super) const INVALID_OPCODE: u8 = 6;
    pub(in super::super) const GENERAL_PROTECTION: u8 = 13;
    pub(in super::super) const PAGE_FAULT: u8 = 14;
    pub(in super::super) const X87_ERROR: u8 = 16;
    pub(in super::super) const ALIGNMENT_CHECK: u8 = 17;
    pub(in super::super) const SIMD_ERROR: u8 = 19;
}

/// Bits of a page fault's error code (SDM 3A, "Interrupt 14—Page-Fault Exception").
pub(super) mod page_fault {
    pub(in super::super) const PRESENT: u16 = 1 << 0;
    pub(in super::super) const WRITE: u16 = 1 << 1;
    pub(in super::super) const USER: u16 = 1 << 2;
    pub(in super::super) const FETCH: u16 = 1 << 4;
    /// The EPCM forbids it.
    pub(in super::super) const SGX: u16 = 1 << 15;
}

/// An exception as the CPU raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) vector: u8,
    pub(super) error_code: u16,
    /// CR2 of a page fault.
    pub(super) address: u64,
}

impl Exception {
    /// #GP(0).
    pub(super) const GENERAL_PROTECTION: Self =
        Self { vector: vector::GENERAL_PROTECTION, error_code: 0, address: 0 };

    /// #PF of an instruction of this CPU that accesses an EPC page it may not.
    pub(super) fn page_fault(address: u64, write: bool) -> Self {
        let access = if write { page_fault::WRITE } else { 0 };
        let error_code = page_fault::SGX | page_fault::USER | page_fault::PRESENT | access;
        Self { vector: vector::PAGE_FAULT, error_code, address }
    }
}

/// What a faulting instruction did to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It read.
    Read,
    /// It wrote.
    Write,
    /// It was to be fetched.
    Execute,
}

/// An exception inside an enclave, or on the way into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The exception's vector.
    pub vector: u8,
    /// Its error code, as in [`EnclaveRun`](super::EnclaveRun).
    pub error_code: u16,
    /// Of a page fault: the page's address.
    pub address: Option<u64>,
    /// Of a page fault: where the page lies from the enclave's base, if it does lie in the enclave.
    pub page: Option<u64>,
    /// Of a page fault in the enclave: what the EPCM says of the page.
    pub state: Option<PageState>,
    /// Of a page fault: what was tried.
    pub access: Option<Access>,
    /// Where the instruction lies from the enclave's base. None: outside of it, or it was EENTER or ERESUME.
    pub instruction: Option<u64>,
    /// The leaf, if the instruction was ENCLU.
    pub leaf: Option<u32>,
}

/// The last fault of an enclave on this thread. Each replaces the one before.
pub fn last_fault() -> Option<Fault> {
    processor::last_fault()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.vector) {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "exception {}", self.vector)?,
        }
        if let (Some(access), Some(address)) = (self.access, self.address) {
            let what = match access {
                Access::Read => "reading",
                Access::Write => "writing",
                Access::Execute => "running",
            };
            match self.page {
                Some(page) => write!(f, " {what} the page at enclave offset {page:#x}")?,
                None => write!(f, " {what} the page at {address:#x}, outside the enclave")?,
            }
        }
        if let Some(state) = self.state {
            write!(f, " ({state})")?;
        }
        if let Some(leaf) = self.leaf {
            match leaf_name(leaf) {
                Some(name) => write!(f, " in {name}")?,
                None => write!(f, " in ENCLU leaf {leaf}")?,
            }
        }
        match self.instruction {
            Some(at) => write!(f, " at enclave offset {at:#x}"),
            None => write!(f, " outside the enclave's code"),
        }
    }
}

impl fmt::Display for PageState {
    /// As in `r-x` or `rw-, pending`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.valid() {
            return f.write_str("no page was added there");
        }
        if self.is_tcs() {
            return f.write_str("a TCS");
        }
        let letter = |bit, letter| if self.permissions() & bit != 0 { letter } else { '-' };
        let [r, w, x] =
            [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::EXECUTE, 'x')].map(|(b, l)| letter(b, l));
        let pending = if self.pending() { ", pending" } else { "" };
        let restricted = if self.restricted() { ", restriction not accepted" } else { "" };
        write!(f, "{r}{w}{x}{pending}{restricted}")
    }
}

fn name(vector: u8) -> Option<&'static str> {
    Some(match vector {
        vector::DIVIDE_ERROR => "divide error (#DE)",
        vector::DEBUG => "debug exception (#DB)",
        vector::BREAKPOINT => "breakpoint (#BP)",
        vector::BOUND_RANGE => "bound range exceeded (#BR)",
        vector::INVALID_OPCODE => "invalid opcode (#UD)",
        vector::GENERAL_PROTECTION => "general protection (#GP)",
        vector::PAGE_FAULT => "page fault (#PF)",
        vector::X87_ERROR => "x87 floating-point error (#MF)",
        vector::ALIGNMENT_CHECK => "alignment check (#AC)",
        vector::SIMD_ERROR => "SIMD floating-point error (#XM)",
        _ => return None,
    })
}

fn leaf_name(leaf: u32) -> Option<&'static str> {
    const NAMES: [&str; 8] =
        ["EREPORT", "EGETKEY", "EENTER", "ERESUME", "EEXIT", "EACCEPT", "EMODPE", "EACCEPTCOPY"];
    NAMES.get(usize::try_from(leaf).ok()?).copied()
}
