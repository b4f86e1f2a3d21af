//! The enclave page cache of one enclave: its linear address range, and an EPCM entry for each page.
//!
//! The EPCM is held to by page protections: an access that the EPCM forbids faults. All of it is ordinary
//! memory of the process, which the host can read and change.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::PAGE_SIZE;

/// An entry of the EPCM (SDM 3D, "Enclave Page Cache Map (EPCM)"), as far as this CPU has the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageState(u8);

impl PageState {
    /// EPCM.R.
    pub const READ: u8 = 1 << 0;
    /// EPCM.W.
    pub const WRITE: u8 = 1 << 1;
    /// EPCM.X.
    pub const EXECUTE: u8 = 1 << 2;
    /// All three.
    pub const PERMISSIONS: u8 = Self::READ | Self::WRITE | Self::EXECUTE;
    const PENDING: u8 = 1 << 3;
    const PR: u8 = 1 << 5;
    const TCS: u8 = 1 << 6;
    const VALID: u8 = 1 << 7;

    /// No page.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn tcs() -> Self {
        Self(Self::VALID | Self::TCS)
    }

    pub(super) fn regular(permissions: u8) -> Self {
        Self(Self::VALID | permissions & Self::PERMISSIONS)
    }

    /// What EAUG makes: to be read and written once the enclave has accepted it.
    pub(super) fn augmented() -> Self {
        Self(Self::VALID | Self::PENDING | Self::READ | Self::WRITE)
    }

    /// EPCM.VALID: there is a page.
    pub fn valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// EPCM.PT is PT_TCS, and the page out of reach of any code.
    pub fn is_tcs(self) -> bool {
        self.0 & Self::TCS != 0
    }

    /// EPCM.PENDING: added by EAUG, not accepted.
    pub fn pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }

    /// EPCM.PR: restricted by EMODPR, not accepted.
    pub fn restricted(self) -> bool {
        self.0 & Self::PR != 0
    }

    /// EPCM.R, W and X, as in SECINFO.
    pub fn permissions(self) -> u8 {
        self.0 & Self::PERMISSIONS
    }

    /// A page that code may use: valid, PT_REG, not PENDING.
    pub(super) fn usable(self) -> bool {
        self.0 & (Self::VALID | Self::TCS | Self::PENDING) == Self::VALID
    }

    /// Whether an access that needs these permissions goes through.
    pub(super) fn allows(self, permissions: u8) -> bool {
        self.usable() && self.0 & permissions == permissions
    }

    /// EACCEPT: PENDING and PR are cleared.
    pub(super) fn accepted(self) -> Self {
        Self(self.0 & !(Self::PENDING | Self::PR))
    }

    /// EMODPE: may only gain.
    pub(super) fn extended(self, permissions: u8) -> Self {
        Self(self.0 | permissions & Self::PERMISSIONS)
    }

    /// EMODPR: may only lose, and PR is set.
    pub(super) fn narrowed(self, permissions: u8) -> Self {
        Self(self.0 & (permissions | !Self::PERMISSIONS) | Self::PR)
    }

    /// What the host's page tables say. They cannot express a page that may be run and not read.
    fn protection(self) -> MprotectFlags {
        let mut flags = MprotectFlags::empty();
        if self.usable() {
            flags.set(MprotectFlags::READ, self.permissions() != 0);
            flags.set(MprotectFlags::WRITE, self.allows(Self::WRITE));
            flags.set(MprotectFlags::EXEC, self.allows(Self::EXECUTE));
        }
        flags
    }
}

/// ELRANGE and its EPCM.
pub(super) struct Epc {
    base: usize,
    size: usize,
    entries: Box<[AtomicU8]>,
    locked: AtomicBool,
}

impl Epc {
    /// Reserves `size` bytes, a power of two, aligned to itself (SDM: ECREATE, BASEADDR), without a page.
    pub(super) fn reserve(size: usize) -> io::Result<Self> {
        let entries = Box::<[AtomicU8]>::new_zeroed_slice(size / PAGE_SIZE);
        // SAFETY: needed to take zeroed memory that the system need not touch; a zeroed `AtomicU8` is one.
        let entries = unsafe { entries.assume_init() };
        let twice = size.checked_mul(2).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new private mapping at an address of the system's choice touches nothing that exists.
        let raw = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                twice,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        } as usize;
        let base = raw.next_multiple_of(size);
        for (start, end) in [(raw, base), (base + size, raw + twice)] {
            if start != end {
                // SAFETY: the parts of the new mapping that lie before and behind ELRANGE; nobody has them.
                unsafe { rustix::mm::munmap(start as *mut _, end - start)? };
            }
        }
        Ok(Self { base, size, entries, locked: AtomicBool::new(false) })
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The offset of an address in ELRANGE.
    pub(super) fn offset_of(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address).ok()?.checked_sub(self.base)?;
        (offset < self.size).then_some(offset)
    }

    /// The state of the page around `offset`, as it was a moment ago.
    pub(super) fn state(&self, offset: usize) -> PageState {
        self.entries.get(offset / PAGE_SIZE).map_or(PageState::NONE, |e| PageState(e.load(Ordering::Acquire)))
    }

    /// Takes the EPCM for one leaf. Where hardware finds an entry in use and faults, this waits.
    ///
    /// Also called by signal handlers: a thread is interrupted by one of those only while it runs enclave
    /// code, and so never while it holds this.
    pub(super) fn lock(&self) -> Locked<'_> {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            rustix::thread::sched_yield();
        }
        Locked(self)
    }
}

impl Drop for Epc {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `reserve`. The last handle is gone and no thread runs in it, so nothing
        // of this crate points into it any more.
        let unmapped = unsafe { rustix::mm::munmap(self.base as *mut _, self.size) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The EPC of an enclave while nobody else changes it.
pub(super) struct Locked<'a>(&'a Epc);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}

impl Locked<'_> {
    /// Notes the state of the page at `offset` without changing its protection.
    pub(super) fn note(&self, offset: usize, state: PageState) {
        if let Some(entry) = self.0.entries.get(offset / PAGE_SIZE) {
            entry.store(state.0, Ordering::Release);
        }
    }

    /// Gives the page at `offset` a new state.
    pub(super) fn set(&self, offset: usize, state: PageState) -> io::Result<()> {
        let before = self.0.state(offset);
        if before.protection() != state.protection() {
            self.protect(offset, PAGE_SIZE, state.protection())?;
        }
        self.note(offset, state);
        Ok(())
    }

    /// Gives each page from `offset` on a new state, with one system call for pages that end up alike.
    pub(super) fn set_all(
        &self,
        offset: usize,
        bytes: usize,
        state: impl Fn(PageState) -> PageState,
    ) -> io::Result<()> {
        let end = offset + bytes;
        let mut start = offset;
        while start < end {
            let protection = state(self.0.state(start)).protection();
            let mut stop = start;
            while stop < end && state(self.0.state(stop)).protection() == protection {
                stop += PAGE_SIZE;
            }
            self.protect(start, stop - start, protection)?;
            for page in (start..stop).step_by(PAGE_SIZE) {
                self.note(page, state(self.0.state(page)));
            }
            start = stop;
        }
        Ok(())
    }

    /// Makes all of ELRANGE writable, for the loader.
    pub(super) fn open(&self) -> io::Result<()> {
        self.protect(0, self.0.size, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    fn protect(&self, offset: usize, bytes: usize, flags: MprotectFlags) -> io::Result<()> {
        assert!(offset <= self.0.size && bytes <= self.0.size - offset, "within ELRANGE");
        // SAFETY: the range lies in ELRANGE, where no Rust value lives: this crate reaches it through the
        // copies below only.
        unsafe { rustix::mm::mprotect((self.0.base + offset) as *mut _, bytes, flags)? };
        Ok(())
    }

    /// Copies out of ELRANGE. None: a page of the range may not be read.
    pub(super) fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.permit(offset, N, PageState::READ)?;
        self.copy_out(offset)
    }

    /// As instruction fetch does: from pages that may be run.
    pub(super) fn fetch<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.permit(offset, N, PageState::EXECUTE)?;
        self.copy_out(offset)
    }

    fn copy_out<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut out = [0; N];
        // SAFETY: the callers found the range in ELRANGE and its pages readable (those that may be run are);
        // protections change under this lock only. Enclave threads may write there meanwhile; what is copied
        // is bytes, valid whatever they are.
        unsafe { copy((self.0.base + offset) as *const u8, out.as_mut_ptr(), N) };
        Some(out)
    }

    /// Copies a page onto another. None: one may not be read, or the other not written.
    pub(super) fn copy_page(&self, from: usize, to: usize) -> Option<()> {
        self.permit(from, PAGE_SIZE, PageState::READ)?;
        self.permit(to, PAGE_SIZE, PageState::WRITE)?;
        // SAFETY: both ranges lie in ELRANGE and allow it, as in `read` and `write`. They are whole pages, of
        // which the same one may be both: a copy onto itself changes nothing.
        unsafe { copy((self.0.base + from) as *const u8, (self.0.base + to) as *mut u8, PAGE_SIZE) };
        Some(())
    }

    /// Copies into ELRANGE. None: a page of the range may not be read and written.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.permit(offset, bytes.len(), PageState::READ | PageState::WRITE)?;
        self.put(offset, bytes);
        Some(())
    }

    /// Copies into ELRANGE where the loader opened it.
    pub(super) fn put(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.0.size && bytes.len() <= self.0.size - offset, "within ELRANGE");
        // SAFETY: the range lies in ELRANGE, where no Rust value lives, and can be written: it was opened, or
        // `write` has looked, and protections change under this lock only.
        unsafe { copy(bytes.as_ptr(), (self.0.base + offset) as *mut u8, bytes.len()) };
    }

    /// Whether all pages of a range allow an access.
    pub(super) fn permit(&self, offset: usize, bytes: usize, permissions: u8) -> Option<()> {
        let end = offset.checked_add(bytes).filter(|&end| end <= self.0.size)?;
        let first = offset - offset % PAGE_SIZE;
        (first..end).step_by(PAGE_SIZE).all(|page| self.0.state(page).allows(permissions)).then_some(())
    }
}

/// Copies bytes that enclave threads may be writing or reading: by an instruction that the compiler does not
/// look into.
///
/// # Safety
/// `from` must be readable and `to` writable for `bytes` bytes; they must be apart or the same.
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!("rep movsb", inout("rcx") bytes => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags));
    }
}
