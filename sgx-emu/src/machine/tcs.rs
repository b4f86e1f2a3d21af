//! Thread control structures. The CPU keeps them to itself: their pages are out of reach of any code.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::PAGE_SIZE;
use crate::keys::field;

/// A thread control structure (SDM 3D, "Thread Control Structure (TCS)").
#[derive(Debug)]
pub(super) struct Tcs {
    /// Where its page lies, from the enclave's base.
    pub(super) offset: usize,
    /// OENTRY: where EENTER begins, from the enclave's base.
    pub(super) oentry: u64,
    /// OGSBASGX: what GS points to inside, from the enclave's base.
    pub(super) ogsbasgx: u64,
    ofsbasgx: u64,
    ossa: u64,
    nssa: u32,
    cssa: AtomicU32,
    active: AtomicBool,
}

impl Tcs {
    pub(super) fn new(offset: usize, page: &[u8; PAGE_SIZE]) -> Self {
        Self {
            offset,
            oentry: u64::from_le_bytes(field(page, 32)),
            ogsbasgx: u64::from_le_bytes(field(page, 56)),
            ofsbasgx: u64::from_le_bytes(field(page, 48)),
            ossa: u64::from_le_bytes(field(page, 16)),
            nssa: u32::from_le_bytes(field(page, 28)),
            cssa: AtomicU32::new(0),
            active: AtomicBool::new(false),
        }
    }

    /// Makes it this thread's. False: a thread is in it (TCS.STATE is not INACTIVE).
    pub(super) fn acquire(&self) -> bool {
        self.active.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(super) fn release(&self) {
        self.active.store(false, Ordering::Release);
    }

    /// CSSA: the next free frame of the state save area.
    pub(super) fn cssa(&self) -> u32 {
        self.cssa.load(Ordering::Relaxed)
    }

    /// Only the thread that has acquired it changes it.
    pub(super) fn set_cssa(&self, cssa: u32) {
        self.cssa.store(cssa, Ordering::Relaxed);
    }

    /// Whether an asynchronous exit has a frame to save to.
    pub(super) fn has_free_frame(&self) -> bool {
        self.cssa() < self.nssa
    }

    /// What EENTER and ERESUME check: OSSA, OFSBASGX and OGSBASGX are multiples of a page.
    pub(super) fn aligned(&self) -> bool {
        [self.ossa, self.ofsbasgx, self.ogsbasgx].iter().all(|at| at.is_multiple_of(PAGE_SIZE as u64))
    }

    /// Where frame `index` of the state save area lies, from the enclave's base. None: in no enclave.
    pub(super) fn frame(&self, index: u32, frame_bytes: usize) -> Option<usize> {
        let before = u64::from(index).checked_mul(frame_bytes as u64)?;
        let at = self.ossa.checked_add(before).filter(|&at| at < crate::MAX_ENCLAVE_SIZE)?;
        usize::try_from(at).ok()
    }
}
