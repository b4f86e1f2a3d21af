//! Page permissions and reserved memory from the operating system: the native platform.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// The granularity of page permissions.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// A stretch of address space of our own: readable, writable, zero, and backed by memory only where it
/// was touched.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address range that this value alone owns; nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: `&Region` gives out the address and changes page permissions, which the kernel serialises.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves `len` bytes, rounded up to whole pages.
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        let len = len.max(1).checked_next_multiple_of(page_size()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory
        // that anybody uses.
        let base = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How pages of native code are protected while they run, as the `core.platform` leaf says it.
    pub(crate) fn protection(&self) -> &'static str {
        "write-xor-execute"
    }

    /// Makes pages readable and executable, no longer writable. `at` and `len` are whole pages inside.
    pub(crate) fn make_executable(&self, at: usize, len: usize) -> io::Result<()> {
        self.protect(at, len, MprotectFlags::READ | MprotectFlags::EXEC)
    }

    /// Makes pages readable and writable, no longer executable. `at` and `len` are whole pages inside.
    pub(crate) fn make_writable(&self, at: usize, len: usize) -> io::Result<()> {
        self.protect(at, len, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    fn protect(&self, at: usize, len: usize, to: MprotectFlags) -> io::Result<()> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if !inside || !at.is_multiple_of(page_size()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the range lies in the mapping that `self` owns (checked above). Who holds references
        // into it is the code pool's business: it changes permissions only of an allocation that
        // nobody writes to (before execution) or executes (after it).
        unsafe { mprotect(self.base.as_ptr().add(at).cast(), len, to)? };
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and, as everything that points into it keeps the pool that owns
        // this region alive, nothing refers to it any more. An error would leave it mapped: harmless.
        let _unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
