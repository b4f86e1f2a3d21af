//! Enclaves that were loaded: their handles, and which of them a TCS belongs to.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::PageState;
use super::aex::XsaveLayout;
use super::epc::Epc;
use super::tcs::Tcs;
use crate::{EnclaveState, PAGE_SIZE, SoftwareCpu};

/// An enclave between EINIT and EREMOVE.
pub(super) struct Running {
    pub(super) cpu: Arc<SoftwareCpu>,
    pub(super) state: EnclaveState,
    pub(super) epc: Epc,
    /// By offset.
    pub(super) threads: Vec<Tcs>,
    /// Bytes of one frame of a state save area.
    pub(super) frame_bytes: usize,
    pub(super) xsave: XsaveLayout,
    /// Addresses of the TCS in EADD order.
    pub(super) tcs: Vec<usize>,
}

impl Running {
    /// Which of its threads has the TCS at this address.
    pub(super) fn thread_at(&self, address: u64) -> Option<usize> {
        let offset = self.epc.offset_of(address)?;
        self.threads.binary_search_by_key(&offset, |tcs| tcs.offset).ok()
    }
}

/// Where enclaves lie. One that is being dropped does not count any more.
static LIVE: RwLock<Vec<Placed>> = RwLock::new(Vec::new());

struct Placed {
    base: usize,
    size: usize,
    enclave: Weak<Running>,
}

/// The enclave whose ELRANGE contains this address.
pub(super) fn containing(address: u64) -> Option<Arc<Running>> {
    let address = usize::try_from(address).ok()?;
    let live = LIVE.read().unwrap_or_else(PoisonError::into_inner);
    let within = |placed: &&Placed| address.checked_sub(placed.base).is_some_and(|at| at < placed.size);
    live.iter().find(within)?.enclave.upgrade()
}

/// An enclave that can be entered. Clones are the same enclave; with the last one, and the last thread that
/// has left, its memory goes.
#[derive(Clone)]
pub struct Enclave {
    running: Arc<Running>,
}

/// Why the pages of an enclave stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The range is none of whole pages within the enclave.
    #[error("offset {offset:#x} and {bytes:#x} bytes are no range of pages in the enclave")]
    Range {
        /// Where it should begin.
        offset: u64,
        /// How long it should be.
        bytes: u64,
    },
    /// EMODPR or EAUG faults.
    #[error(
        "#GP(0): the permissions {0:#x} are not valid: read 1, write 2, execute 4, no write without read"
    )]
    Permissions(u8),
    /// EMODPR on a page that it may not change.
    #[error("EMODPR: the page at offset {offset:#x} cannot be restricted: {state}")]
    NotModifiable {
        /// The page.
        offset: u64,
        /// What it is.
        state: PageState,
    },
    /// EAUG where a page is.
    #[error("EAUG: there is a page at offset {offset:#x} already: {state}")]
    Occupied {
        /// The page.
        offset: u64,
        /// What it is.
        state: PageState,
    },
    /// The operating system did not change the protection.
    #[error("the operating system did not change the protection of the enclave's pages: {0}")]
    System(#[from] io::Error),
}

impl Enclave {
    pub(super) fn new(running: Running) -> Self {
        let running = Arc::new(running);
        let (base, size) = (running.epc.base(), running.epc.size());
        let mut live = LIVE.write().unwrap_or_else(PoisonError::into_inner);
        live.retain(|placed| placed.enclave.strong_count() != 0);
        live.push(Placed { base, size, enclave: Arc::downgrade(&running) });
        drop(live);
        Self { running }
    }

    /// Where ELRANGE begins.
    pub fn base(&self) -> usize {
        self.running.epc.base()
    }

    /// Bytes of ELRANGE: SECS.SIZE.
    pub fn size(&self) -> usize {
        self.running.epc.size()
    }

    /// The addresses of the TCS, in the order in which they were added.
    pub fn tcs(&self) -> &[usize] {
        &self.running.tcs
    }

    /// What reports and keys say of it.
    pub fn identity(&self) -> &EnclaveState {
        &self.running.state
    }

    /// What the EPCM says of the page around `offset`.
    pub fn page(&self, offset: u64) -> PageState {
        usize::try_from(offset).map_or(PageState::NONE, |offset| self.running.epc.state(offset))
    }

    /// EMODPR on each page (SDM 3D, "EMODPR—Restrict the Permissions of an EPC Page"), and what a kernel
    /// does around it: from now on no thread has more than `permissions` ([`PageState::READ`] and so on) there.
    /// The enclave sees for itself with EACCEPT. All pages change or, but for [`PagesError::System`], none.
    ///
    /// # Errors
    /// [`PagesError`].
    pub fn restrict_permissions(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), PagesError> {
        let write_only = permissions & (PageState::READ | PageState::WRITE) == PageState::WRITE;
        if permissions & !PageState::PERMISSIONS != 0 || write_only {
            return Err(PagesError::Permissions(permissions));
        }
        let (start, bytes) = self.pages(offset, bytes)?;
        let epc = self.running.epc.lock();
        for page in (start..start + bytes).step_by(PAGE_SIZE) {
            let state = self.running.epc.state(page);
            if !state.usable() {
                return Err(PagesError::NotModifiable { offset: page as u64, state });
            }
        }
        Ok(epc.set_all(start, bytes, |state| state.narrowed(permissions))?)
    }

    /// EAUG of each page (SDM 3D, "EAUG—Add a Page to an Initialized Enclave"): zeroed pages that the
    /// enclave can read and write once it has accepted them, with EACCEPT or EACCEPTCOPY.
    ///
    /// # Errors
    /// [`PagesError`].
    pub fn augment(&self, offset: u64, bytes: u64) -> Result<(), PagesError> {
        let (start, bytes) = self.pages(offset, bytes)?;
        let epc = self.running.epc.lock();
        for page in (start..start + bytes).step_by(PAGE_SIZE) {
            let state = self.running.epc.state(page);
            if state.valid() {
                return Err(PagesError::Occupied { offset: page as u64, state });
            }
        }
        Ok(epc.set_all(start, bytes, |_| PageState::augmented())?)
    }

    fn pages(&self, offset: u64, bytes: u64) -> Result<(usize, usize), PagesError> {
        let page = PAGE_SIZE as u64;
        let end = offset.checked_add(bytes).filter(|&end| end <= self.size() as u64);
        match end {
            Some(_) if offset.is_multiple_of(page) && bytes.is_multiple_of(page) && bytes != 0 => {
                // Within ELRANGE, whose size is a `usize`.
                Ok((offset as usize, bytes as usize))
            }
            _ => Err(PagesError::Range { offset, bytes }),
        }
    }
}

impl std::fmt::Debug for Enclave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enclave")
            .field("base", &self.base())
            .field("size", &self.size())
            .field("threads", &self.tcs().len())
            .field("identity", self.identity())
            .finish()
    }
}
