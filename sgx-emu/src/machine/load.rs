//! From an SGXS file and a SIGSTRUCT to an enclave that can be entered.

use std::io;
use std::sync::Arc;

use super::aex::XsaveLayout;
use super::enclave::{Enclave, Running};
use super::epc::{Epc, PageState};
use super::signals;
use super::tcs::Tcs;
use crate::keys::field;
use crate::sgxs::Page;
use crate::{
    BuildFault, CHUNK_SIZE, EinitError, PAGE_SIZE, PageType, Secinfo, Secs, Sgxs, SgxsError, Sigstruct,
    SoftwareCpu, UninitializedEnclave, attributes,
};

/// Why there is no enclave.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The CPU or the kernel lacks what the emulation needs.
    #[error(
        "the software SGX CPU needs RDGSBASE and WRGSBASE, which this CPU or this kernel does not allow \
         (Linux 5.9 or later; not booted with nofsgsbase)"
    )]
    NoFsGsBase,
    /// XFRM names state that the operating system has not enabled.
    #[error(
        "ECREATE #GP(0): the enclave's XFRM is {asked:#x}, and this machine has {here:#x} \
         (bit 2: AVX, bits 5 to 7: AVX-512)"
    )]
    Xfrm {
        /// What the enclave asks for.
        asked: u64,
        /// XCR0.
        here: u64,
    },
    /// The file is no SGXS file.
    #[error(transparent)]
    Sgxs(#[from] SgxsError),
    /// A page or the enclave as a whole is not valid.
    #[error(transparent)]
    Build(#[from] BuildFault),
    /// The SIGSTRUCT is not valid, or not for this enclave.
    #[error(transparent)]
    Einit(#[from] EinitError),
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// ATTRIBUTES and MISCSELECT of an enclave, which the host chooses at ECREATE and EINIT compares with what the
/// signer allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attributes {
    /// Those in SIGSTRUCT.
    #[default]
    Signed,
    /// These.
    Exactly {
        /// ATTRIBUTES, the flags.
        flags: u64,
        /// ATTRIBUTES.XFRM.
        xfrm: u64,
        /// MISCSELECT.
        misc_select: u32,
    },
}

impl Enclave {
    /// Builds the enclave of an SGXS file as ECREATE, EADD, EEXTEND and EINIT would.
    ///
    /// The first enclave of a process installs handlers for SIGILL, SIGSEGV, SIGBUS, SIGFPE and SIGTRAP, which
    /// hand on what is not an enclave's. A host's own handlers belong before that, or must hand on too.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        cpu: Arc<SoftwareCpu>,
        sgxs: &[u8],
        sigstruct: &[u8; Sigstruct::LEN],
        attributes: Attributes,
    ) -> Result<Self, LoadError> {
        if !fsgsbase() {
            return Err(LoadError::NoFsGsBase);
        }
        let sigstruct = Sigstruct::from_bytes(sigstruct)?;
        let sgxs = Sgxs::parse(sgxs)?;
        let secs = secs(&sgxs, &sigstruct, attributes)?;
        let xfrm = u64::from_le_bytes(field(&secs.attributes, 8));
        let frame_bytes = secs.ssa_frame_size as usize * PAGE_SIZE;
        let mut uninitialized = UninitializedEnclave::ecreate(secs)?;
        let xsave = XsaveLayout::of(xfrm);
        if !xsave.fits(frame_bytes) {
            let (given, needed) = (sgxs.ssa_frame_size, sgxs.ssa_frame_size + 1);
            return Err(BuildFault::SsaFrameSize { given, needed }.into());
        }

        let size = usize::try_from(sgxs.size).map_err(|_| BuildFault::EnclaveSize(sgxs.size))?;
        let epc = Epc::reserve(size).map_err(system("reserving the enclave's address range"))?;
        let mut tcs = Vec::new();
        {
            let pages = epc.lock();
            pages.open().map_err(system("making the enclave's pages writable"))?;
            for page in sgxs.pages() {
                let page = page?;
                let (state, thread) = add(&mut uninitialized, &page)?;
                let offset = page.offset as usize; // within the enclave, EADD has seen to that
                for chunk in page.chunks() {
                    pages.put(chunk.offset as usize, chunk.data);
                }
                pages.note(offset, state);
                tcs.extend(thread);
            }
            pages.set_all(0, size, |state| state).map_err(system("protecting the enclave's pages"))?;
        }
        let state = uninitialized.einit(&sigstruct)?;
        signals::install().map_err(system("installing signal handlers"))?;

        let addresses = tcs.iter().map(|tcs| epc.base() + tcs.offset).collect();
        tcs.sort_by_key(|tcs| tcs.offset);
        Ok(Self::new(Running { cpu, state, epc, threads: tcs, frame_bytes, xsave, tcs: addresses }))
    }
}

fn secs(sgxs: &Sgxs<'_>, sigstruct: &Sigstruct, chosen: Attributes) -> Result<Secs, LoadError> {
    let (flags, xfrm, misc_select) = match chosen {
        Attributes::Signed => (
            u64::from_le_bytes(field(&sigstruct.attributes, 0)),
            u64::from_le_bytes(field(&sigstruct.attributes, 8)),
            sigstruct.misc_select,
        ),
        Attributes::Exactly { flags, xfrm, misc_select } => (flags, xfrm, misc_select),
    };
    let here = xcr0();
    if xfrm & !here != 0 {
        return Err(LoadError::Xfrm { asked: xfrm, here });
    }
    Ok(Secs {
        size: sgxs.size,
        ssa_frame_size: sgxs.ssa_frame_size,
        attributes: attributes(flags, xfrm),
        misc_select,
    })
}

/// EADD of a page and EEXTEND of its measured chunks. A TCS is kept here, and its page left out of reach.
fn add(enclave: &mut UninitializedEnclave, page: &Page<'_>) -> Result<(PageState, Option<Tcs>), LoadError> {
    let secinfo = Secinfo::from_bytes(&page.secinfo)?;
    let mut thread = None;
    let state = match secinfo.page_type() {
        PageType::Regular => {
            // Only of a TCS does EADD look at the content.
            enclave.eadd(page.offset, secinfo, &mut [0; PAGE_SIZE])?;
            PageState::regular(secinfo.permissions())
        }
        PageType::Tcs => {
            let mut content = [0; PAGE_SIZE];
            for chunk in page.chunks() {
                // Chunks lie in their page, the parser has seen to that.
                let at = (chunk.offset - page.offset) as usize;
                content[at..at + CHUNK_SIZE].copy_from_slice(chunk.data);
            }
            enclave.eadd(page.offset, secinfo, &mut content)?;
            thread = Some(Tcs::new(page.offset as usize, &content));
            PageState::tcs()
        }
    };
    for chunk in page.chunks().filter(|chunk| chunk.measured) {
        enclave.eextend(chunk.offset, chunk.data)?;
    }
    Ok((state, thread))
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    move |source| LoadError::System { what, source }
}

/// AT_HWCAP2, bit 1: the kernel lets programs use RDGSBASE and WRGSBASE.
fn fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: u64 = 1 << 1;
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// The extended state that the operating system has enabled. Kernels that know of FSGSBASE use XSAVE, and so
/// let programs read XCR0, unless the CPU has none.
fn xcr0() -> u64 {
    if !std::is_x86_feature_detected!("xsave") {
        return 0;
    }
    let (low, high): (u32, u32);
    // SAFETY: reads a register; the detection above includes that the kernel has enabled XSAVE.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}
