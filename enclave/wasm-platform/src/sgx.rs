//! Memory for native code in an SGX image: a section of its own, the only pages that may ever hold it.
//!
//! The pages are added without being measured, so what is in them at the start is the host's. Where page
//! permissions can be changed (SGX2), they first become readable and writable, never executable, and a piece
//! becomes executable only when it is no longer writable. Where they cannot, the section is erased before
//! anything else, and stays readable, writable and executable.

use std::arch::global_asm;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use enclave_platform::pages::{self, PAGE, PageError, Permissions};
use enclave_platform::sgx::{OwnPages, page_table};

/// Bytes of the section: two artifacts of the largest size that is taken, or many small ones.
const SECTION: usize = 128 << 20;

global_asm!(
    ".section .wasm_code, \"awx\", @nobits",
    ".balign 4096",
    ".global ENCLAVE_OS_CODE_START, ENCLAVE_OS_CODE_END",
    "ENCLAVE_OS_CODE_START: .zero {bytes}",
    "ENCLAVE_OS_CODE_END:",
    ".text",
    bytes = const SECTION,
);

unsafe extern "C" {
    static mut ENCLAVE_OS_CODE_START: u8;
}

/// The granularity of page permissions.
pub(crate) fn page_size() -> usize {
    PAGE as usize
}

/// Whether the section has been given out.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The code section, or its first part.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    /// `None`: this CPU cannot change page permissions.
    table: Option<OwnPages>,
}

// SAFETY: a region is an address range that this value alone owns; nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: `&Region` gives out the address and changes page permissions, which the code pool serialises.
unsafe impl Sync for Region {}

impl Region {
    /// Gives out the section, or its first `len` bytes in whole pages. Once.
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        let len = len.clamp(1, SECTION).next_multiple_of(page_size());
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let base = NonNull::new(&raw mut ENCLAVE_OS_CODE_START).ok_or(io::ErrorKind::NotFound)?;
        let region = Self { base, len, table: page_table() };
        match &region.table {
            Some(table) => {
                pages::restrict(table, region.offset(0), SECTION as u64, Permissions::RW).map_err(said)?;
            }
            // SAFETY: the section belongs to this value, which has not been given out yet.
            None => unsafe { region.base.write_bytes(0, SECTION) },
        }
        Ok(region)
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How pages of native code are protected while they run, as the `core.platform` leaf says it.
    pub(crate) fn protection(&self) -> &'static str {
        match self.table {
            Some(_) => "write-xor-execute",
            None => "read-write-execute",
        }
    }

    /// Makes pages readable and executable, no longer writable. `at` and `len` are whole pages inside.
    pub(crate) fn make_executable(&self, at: usize, len: usize) -> io::Result<()> {
        self.change(at, len, Permissions::RX)
    }

    /// Makes pages readable and writable, no longer executable. `at` and `len` are whole pages inside.
    pub(crate) fn make_writable(&self, at: usize, len: usize) -> io::Result<()> {
        self.change(at, len, Permissions::RW)
    }

    fn change(&self, at: usize, len: usize, to: Permissions) -> io::Result<()> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside || !at.is_multiple_of(page_size()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match &self.table {
            Some(table) => pages::change(table, self.offset(at), len as u64, to).map_err(said),
            None => Ok(()),
        }
    }

    fn offset(&self, at: usize) -> u64 {
        OwnPages::offset(self.base.addr().get()) + at as u64
    }
}

fn said(error: PageError) -> io::Error {
    io::Error::other(error)
}
