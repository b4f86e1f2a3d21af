//! What the loader needs of a kernel with an SGX driver, so that tests can play one.

use rustix::io::Errno;

/// A kernel with `/dev/sgx_enclave` open.
pub trait Kernel: Send + Sync {
    /// Reserves `size` bytes of address space, aligned to `size` (a power of two), for as long as this lives.
    ///
    /// # Errors
    /// What `mmap` said.
    fn reserve(&self, size: usize) -> Result<usize, Errno>;

    /// An ioctl whose argument is a structure of 64-bit words, which the kernel may change.
    ///
    /// # Errors
    /// What it said.
    fn ioctl(&self, opcode: u32, argument: &mut [u64]) -> Result<(), Errno>;

    /// Maps enclave pages into what was reserved.
    ///
    /// # Errors
    /// What `mmap` said.
    fn map(&self, start: usize, bytes: usize, permissions: Permissions) -> Result<(), Errno>;
}

/// What a mapping permits. The EPCM can only take away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
}

/// What SECINFO says of a page.
pub(super) enum PageKind {
    Tcs,
    Regular(Permissions),
}

impl Permissions {
    /// Reads the flags of a SECINFO (SDM 3D, "SECINFO.FLAGS"). None: another type of page.
    pub(super) fn of(secinfo: &[u8; 64]) -> Option<PageKind> {
        let flags = u64::from_le_bytes(*secinfo.first_chunk()?);
        match flags >> 8 & 0xff {
            1 => Some(PageKind::Tcs),
            2 => {
                let bit = |bit: u64| flags & bit != 0;
                Some(PageKind::Regular(Permissions { read: bit(1), write: bit(2), execute: bit(4) }))
            }
            _ => None,
        }
    }
}
