//! ECREATE, EADD and EEXTEND: what may go into an enclave, and what MRENCLAVE becomes.

use sha2::{Digest, Sha256};

use crate::keys::field;
use crate::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_MODE64BIT, ATTRIBUTE_PROVISIONKEY, EnclaveState,
    Sigstruct, einit,
};

/// Size of an EPC page.
pub const PAGE_SIZE: usize = 4096;
/// What one EEXTEND measures.
pub const CHUNK_SIZE: usize = 256;
/// Largest enclave of this CPU (CPUID leaf 12H, MaxEnclaveSize_64): 64 GiB.
pub const MAX_ENCLAVE_SIZE: u64 = 1 << 36;

/// Why ECREATE, EADD or EEXTEND fault. On hardware the kernel sees only the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildFault {
    /// SECS.SIZE.
    #[error(
        "ECREATE #GP(0): SECS.SIZE is {0:#x}; it must be a power of two from two pages to {MAX_ENCLAVE_SIZE:#x}"
    )]
    EnclaveSize(u64),
    /// SECS.ATTRIBUTES, the flags.
    #[error(
        "ECREATE #GP(0): SECS.ATTRIBUTES is {0:#x}; it must have MODE64BIT and may have DEBUG, PROVISIONKEY \
         and EINITTOKENKEY"
    )]
    Attributes(u64),
    /// SECS.ATTRIBUTES.XFRM.
    #[error("ECREATE #GP(0): SECS.ATTRIBUTES.XFRM is {0:#x}, which XSETBV would refuse")]
    Xfrm(u64),
    /// SECS.MISCSELECT.
    #[error("ECREATE #GP(0): SECS.MISCSELECT is {0:#x}; only bit 0 (EXINFO) is known")]
    MiscSelect(u32),
    /// SECS.SSAFRAMESIZE.
    #[error("ECREATE #GP(0): SECS.SSAFRAMESIZE is {given} pages; XFRM and MISCSELECT need {needed}")]
    SsaFrameSize {
        /// What SECS says.
        given: u32,
        /// What the saved state takes.
        needed: u32,
    },
    /// An address is not aligned as the leaf wants it.
    #[error("#GP(0): offset {offset:#x} is not a multiple of {alignment}")]
    Misaligned {
        /// The offset from the enclave's base.
        offset: u64,
        /// What it must be a multiple of.
        alignment: usize,
    },
    /// EADD of a page outside the enclave.
    #[error("EADD #GP(0): offset {0:#x} is outside the enclave")]
    OutsideEnclave(u64),
    /// SECINFO of EADD.
    #[error("EADD #GP(0): SECINFO.FLAGS {0:#x} or the reserved bytes behind it are not valid for EADD")]
    Secinfo(u64),
    /// A TCS with something in a reserved place.
    #[error("EADD #GP(0): reserved bits of the TCS at offset {0:#x} are set")]
    Tcs(u64),
    /// EADD where a page is already.
    #[error("EADD #PF: the page at offset {0:#x} is already valid")]
    PageValid(u64),
    /// EEXTEND where no page is.
    #[error("EEXTEND #PF: there is no page at offset {0:#x}")]
    NoPage(u64),
}

/// SECS as ECREATE takes it (SDM 3D, "SGX Enclave Control Structure").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secs {
    /// Bytes of linear address space.
    pub size: u64,
    /// Pages of one frame of the state save area.
    pub ssa_frame_size: u32,
    /// ATTRIBUTES: flags and XFRM, see [`attributes`](crate::attributes).
    pub attributes: [u8; 16],
    /// MISCSELECT.
    pub misc_select: u32,
}

/// SECINFO.FLAGS.PAGE_TYPE, as far as EADD takes it on a CPU without CET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageType {
    /// PT_TCS: a thread control structure.
    Tcs,
    /// PT_REG: code or data.
    Regular,
}

/// SECINFO as EADD takes it (SDM 3D, "Security Information"): the page's type and EPCM permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secinfo {
    page_type: PageType,
    permissions: u64,
}

impl Secinfo {
    /// Size of the SECINFO structure.
    pub const LEN: usize = 64;

    const READ: u64 = 1;
    const WRITE: u64 = 2;
    const EXECUTE: u64 = 4;
    const PERMISSIONS: u64 = Self::READ | Self::WRITE | Self::EXECUTE;
    const TYPE_SHIFT: u32 = 8;
    const TCS: u64 = 1;
    const REGULAR: u64 = 2;

    /// Reads a SECINFO as EADD does: the permissions of a TCS become none, whatever is asked.
    ///
    /// # Errors
    /// [`BuildFault::Secinfo`] for another page type, a reserved bit or byte, a state bit (PENDING,
    /// MODIFIED, PR), or a page that could be written and not read.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, BuildFault> {
        let flags = u64::from_le_bytes(field(bytes, 0));
        let permissions = flags & Self::PERMISSIONS;
        let reserved = bytes[8..].iter().any(|&b| b != 0);
        let write_only = permissions & (Self::READ | Self::WRITE) == Self::WRITE;
        match (flags & !Self::PERMISSIONS) >> Self::TYPE_SHIFT {
            _ if reserved || flags & 0xff != permissions => Err(BuildFault::Secinfo(flags)),
            Self::TCS => Ok(Self { page_type: PageType::Tcs, permissions: 0 }),
            Self::REGULAR if !write_only => Ok(Self { page_type: PageType::Regular, permissions }),
            _ => Err(BuildFault::Secinfo(flags)),
        }
    }

    /// What kind of page it is.
    pub fn page_type(self) -> PageType {
        self.page_type
    }

    /// EPCM.R: enclave code may read the page.
    pub fn readable(self) -> bool {
        self.permissions & Self::READ != 0
    }

    /// EPCM.W: enclave code may write the page.
    pub fn writable(self) -> bool {
        self.permissions & Self::WRITE != 0
    }

    /// EPCM.X: enclave code may run from the page.
    pub fn executable(self) -> bool {
        self.permissions & Self::EXECUTE != 0
    }

    /// EPCM.R, W and X in the lowest bits, as in SECINFO.FLAGS.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn permissions(self) -> u8 {
        (self.permissions & Self::PERMISSIONS) as u8
    }

    fn flags(self) -> u64 {
        let page_type = match self.page_type {
            PageType::Tcs => Self::TCS,
            PageType::Regular => Self::REGULAR,
        };
        self.permissions | page_type << Self::TYPE_SHIFT
    }
}

/// An enclave from ECREATE to EINIT. It keeps the measurement and which pages there are; their bytes stay
/// with the caller.
#[derive(Clone, Debug)]
pub struct UninitializedEnclave {
    secs: Secs,
    measurement: Sha256,
    pages: PageSet,
}

impl UninitializedEnclave {
    /// ECREATE (SDM 3D, "ECREATE—Create an SECS page in the Enclave Page Cache").
    ///
    /// # Errors
    /// [`BuildFault`] where the instruction faults.
    pub fn ecreate(secs: Secs) -> Result<Self, BuildFault> {
        if !secs.size.is_power_of_two() || secs.size < 2 * PAGE_SIZE as u64 || secs.size > MAX_ENCLAVE_SIZE {
            return Err(BuildFault::EnclaveSize(secs.size));
        }
        check_attributes(&secs)?;
        let mut block = [0; 64];
        block[..8].copy_from_slice(b"ECREATE\0");
        block[8..12].copy_from_slice(&secs.ssa_frame_size.to_le_bytes());
        block[12..20].copy_from_slice(&secs.size.to_le_bytes());
        let pages = PageSet::new(secs.size);
        Ok(Self { secs, measurement: Sha256::new_with_prefix(block), pages })
    }

    /// EADD (SDM 3D, "EADD—Add a Page to an Uninitialized Enclave") of the page at `offset` from the
    /// enclave's base. Its content is not measured. In a TCS the fields that belong to the CPU (STATE,
    /// DBGOPTIN, CSSA, AEP) are cleared, as in the copy that the instruction makes.
    ///
    /// Hardware has many EPC pages and could add two for one address; here each address has one.
    ///
    /// # Errors
    /// [`BuildFault`] where the instruction faults.
    pub fn eadd(
        &mut self,
        offset: u64,
        secinfo: Secinfo,
        page: &mut [u8; PAGE_SIZE],
    ) -> Result<(), BuildFault> {
        aligned(offset, PAGE_SIZE)?;
        if secinfo.page_type == PageType::Tcs && !tcs::reserved_is_zero(page) {
            return Err(BuildFault::Tcs(offset));
        }
        if offset >= self.secs.size {
            return Err(BuildFault::OutsideEnclave(offset));
        }
        if !self.pages.insert(offset) {
            return Err(BuildFault::PageValid(offset));
        }
        if secinfo.page_type == PageType::Tcs {
            tcs::clear_what_the_cpu_owns(page);
        }
        let mut block = [0; 64];
        block[..4].copy_from_slice(b"EADD");
        block[8..16].copy_from_slice(&offset.to_le_bytes());
        // The first 48 bytes of SECINFO, of which FLAGS alone can be other than zero.
        block[16..24].copy_from_slice(&secinfo.flags().to_le_bytes());
        self.measurement.update(block);
        Ok(())
    }

    /// EEXTEND (SDM 3D, "EEXTEND—Extend Uninitialized Enclave Measurement by 256 Bytes"): measures `chunk`,
    /// which is what the added page holds at `offset`.
    ///
    /// # Errors
    /// [`BuildFault`] where the instruction faults.
    pub fn eextend(&mut self, offset: u64, chunk: &[u8; CHUNK_SIZE]) -> Result<(), BuildFault> {
        aligned(offset, CHUNK_SIZE)?;
        if !self.pages.contains(offset) {
            return Err(BuildFault::NoPage(offset));
        }
        let mut block = [0; 64];
        block[..8].copy_from_slice(b"EEXTEND\0");
        block[8..16].copy_from_slice(&offset.to_le_bytes());
        self.measurement.update(block);
        self.measurement.update(chunk);
        Ok(())
    }

    /// MRENCLAVE, if this were all.
    pub fn mrenclave(&self) -> [u8; 32] {
        self.measurement.clone().finalize().into()
    }

    /// EINIT (SDM 3D, "EINIT—Initialize an Enclave for Execution"). Launch control is that of a kernel which
    /// sets IA32_SGXLEPUBKEYHASH to the signer of each enclave, as Linux does: no EINITTOKEN is needed.
    ///
    /// # Errors
    /// [`EinitError`](crate::EinitError) with the SDM's error code.
    pub fn einit(self, sigstruct: &Sigstruct) -> Result<EnclaveState, crate::EinitError> {
        einit::einit(&self.secs, self.mrenclave(), sigstruct)
    }
}

/// Which pages of an enclave there are: one bit each, so that a large heap is quick to add.
#[derive(Clone, Debug)]
struct PageSet(Vec<u64>);

impl PageSet {
    fn new(enclave_size: u64) -> Self {
        // ECREATE has bounded the size: 2 MiB of bits at most.
        let words = (enclave_size / PAGE_SIZE as u64).div_ceil(u64::from(u64::BITS));
        Self(vec![0; usize::try_from(words).unwrap_or(0)])
    }

    /// Where the bit of the page at or around `offset` is. None: outside the enclave.
    fn place(&self, offset: u64) -> Option<(usize, u64)> {
        let page = offset / PAGE_SIZE as u64;
        let word = usize::try_from(page / u64::from(u64::BITS)).ok()?;
        (word < self.0.len()).then_some((word, 1 << (page % u64::from(u64::BITS))))
    }

    fn contains(&self, offset: u64) -> bool {
        self.place(offset).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// False: it was there.
    fn insert(&mut self, offset: u64) -> bool {
        let Some((word, bit)) = self.place(offset) else { return false };
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }
}

fn aligned(offset: u64, alignment: usize) -> Result<(), BuildFault> {
    if offset.is_multiple_of(alignment as u64) {
        Ok(())
    } else {
        Err(BuildFault::Misaligned { offset, alignment })
    }
}

fn check_attributes(secs: &Secs) -> Result<(), BuildFault> {
    const KNOWN: u64 =
        ATTRIBUTE_DEBUG | ATTRIBUTE_MODE64BIT | ATTRIBUTE_PROVISIONKEY | ATTRIBUTE_EINITTOKENKEY;
    const EXINFO: u32 = 1;
    const EXINFO_BYTES: u32 = 16;
    const GPRSGX_BYTES: u32 = 184;

    let flags = u64::from_le_bytes(field(&secs.attributes, 0));
    let xfrm = u64::from_le_bytes(field(&secs.attributes, 8));
    if flags & !KNOWN != 0 || flags & ATTRIBUTE_MODE64BIT == 0 {
        return Err(BuildFault::Attributes(flags));
    }
    if secs.misc_select & !EXINFO != 0 {
        return Err(BuildFault::MiscSelect(secs.misc_select));
    }
    let xsave = xsave_bytes(xfrm).ok_or(BuildFault::Xfrm(xfrm))?;
    let misc = if secs.misc_select & EXINFO != 0 { EXINFO_BYTES } else { 0 };
    let needed = (xsave + misc + GPRSGX_BYTES).div_ceil(PAGE_SIZE as u32);
    if secs.ssa_frame_size < needed {
        return Err(BuildFault::SsaFrameSize { given: secs.ssa_frame_size, needed });
    }
    Ok(())
}

/// Size of the XSAVE area for this XFRM in the standard format, or none if it is no legal XCR0 (SDM 1,
/// "Enabling the XSAVE Feature Set and XSAVE-Enabled Features").
fn xsave_bytes(xfrm: u64) -> Option<u32> {
    const X87_SSE: u64 = 0b11;
    const AVX: u64 = 1 << 2;
    const AVX512: u64 = 0b111 << 5;
    const PKRU: u64 = 1 << 9;
    const AMX: u64 = 0b11 << 17;
    /// Where each component ends, those that stand or fall together as one.
    const ENDS: [(u64, u32); 5] = [(X87_SSE, 576), (AVX, 832), (AVX512, 2688), (PKRU, 2696), (AMX, 11008)];

    let whole = |group: u64| xfrm & group == 0 || xfrm & group == group;
    let known = ENDS.iter().fold(0, |all, (group, _)| all | group);
    if xfrm & !known != 0
        || xfrm & X87_SSE != X87_SSE
        || !whole(AVX512)
        || !whole(AMX)
        || (xfrm & AVX512 != 0 && xfrm & AVX == 0)
    {
        return None;
    }
    ENDS.iter().filter(|(group, _)| xfrm & group != 0).map(|&(_, end)| end).max()
}

/// The thread control structure (SDM 3D, "Thread Control Structure"), as EADD sees it on a CPU without CET
/// and AEX-notify.
mod tcs {
    use super::PAGE_SIZE;

    const DBGOPTIN: u8 = 1;
    const FLAGS: usize = 8;
    const END_OF_FLAGS: usize = 16;
    /// Everything from here on.
    const RESERVED: usize = 72;

    pub(super) fn reserved_is_zero(page: &[u8; PAGE_SIZE]) -> bool {
        page[FLAGS] & !DBGOPTIN == 0
            && page[FLAGS + 1..END_OF_FLAGS].iter().chain(&page[RESERVED..]).all(|&b| b == 0)
    }

    pub(super) fn clear_what_the_cpu_owns(page: &mut [u8; PAGE_SIZE]) {
        // STATE with FLAGS.DBGOPTIN, CSSA, AEP. No other flag can be set.
        for owned in [0..END_OF_FLAGS, 24..28, 40..48] {
            page[owned].fill(0);
        }
    }
}

#[cfg(test)]
mod tests;
