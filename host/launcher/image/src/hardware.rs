//! An image on SGX hardware: the kernel's driver (`/dev/sgx_enclave`, Linux 5.11 and later) and its vDSO.
//!
//! Thin on purpose: everything above the loader is shared with the software CPU. This path is tested against a
//! played kernel ([`Kernel`]); it has not run on a machine with SGX yet.

mod device;
mod ioctl;
mod kernel;
mod vdso;

use std::io;
use std::ops::Range;
use std::path::Path;

use boundary_wire::start;
use rustix::io::Errno;
use sgx_emu::{Page, Sgxs, SgxsError};

use crate::cpu::{Cpu, RestrictError};
use crate::enter::Entry;
use crate::files::ImageFiles;

pub use device::Device;
use kernel::PageKind;
pub use kernel::{Kernel, Permissions};
pub use vdso::{VdsoError, find_symbol};

/// The driver's node.
pub const NODE: &str = "/dev/sgx_enclave";
const PAGE: usize = 4096;
/// EEXTENDs of a page.
const CHUNKS: usize = 16;

/// Why an image does not run on SGX hardware: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// No node, and the CPU has no SGX.
    #[error(
        "this CPU has no SGX, or the firmware has switched it off: use a server with SGX and enable it in the BIOS \
         (in a virtual machine, give the guest an EPC), or use --platform emulated"
    )]
    NoSgx,
    /// No node, though the CPU has SGX.
    #[error(
        "this CPU has SGX, but there is no {NODE}: the kernel has no driver for it. Use Linux 5.11 or later built with \
         CONFIG_X86_SGX, and enable flexible launch control in the BIOS"
    )]
    NoDriver,
    /// The node is not for this user.
    #[error(
        "no permission to open {NODE}: add this user to the group that owns it (often sgx), or give the container the \
         device with --device {NODE}"
    )]
    Permission,
    /// `/dev` cannot be mapped executable.
    #[error(
        "{NODE} lies on a file system that is mounted noexec: remount /dev with exec (mount -o remount,exec /dev)"
    )]
    NoExec,
    /// No vDSO entry.
    #[error("the kernel has no way into an enclave: {0}. Use Linux 5.11 or later, with the vDSO switched on")]
    Vdso(#[from] VdsoError),
    /// ENOMEM.
    #[error(
        "there is too little enclave page cache (EPC) for an image of {size} bytes: end other enclaves, give more memory \
         to SGX in the BIOS (PRMRR), or make an image with a smaller `heap`"
    )]
    NoEpc {
        /// SECS.SIZE.
        size: u64,
    },
    /// ECREATE refused.
    #[error(
        "the kernel refused the enclave's size or attributes (ECREATE: {source}): its XFRM must be enabled here, and its \
         size must be one that this CPU allows"
    )]
    Create {
        /// What the kernel said.
        source: io::Error,
    },
    /// EADD or EEXTEND refused.
    #[error("the kernel did not add the page at offset {offset:#x}: {source}")]
    Add {
        /// Where the page belongs.
        offset: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// EINIT refused.
    #[error(
        "launch control or the CPU refused the signature (EINIT: {source}): the image was changed after it was signed, or \
         this machine's launch control permits other signers only. Sign it again with `cargo xtask image`, and enable \
         flexible launch control in the BIOS"
    )]
    Init {
        /// What the kernel said.
        source: io::Error,
    },
    /// The image is no SGXS file.
    #[error("the image: {0}")]
    Sgxs(#[from] SgxsError),
    /// A page that the kernel's interface cannot add.
    #[error(
        "the page at offset {0:#x} of the image is measured in part, which the kernel cannot do: make the image with \
         `cargo xtask image`"
    )]
    PartlyMeasured(u64),
    /// SECINFO that the SDM does not define.
    #[error("the page at offset {0:#x} of the image has an invalid SECINFO")]
    Secinfo(u64),
    /// Anything else.
    #[error("{doing} failed: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whether an image could be tried on this machine's hardware: there is SGX, a driver that this user may open, and
/// a way in.
///
/// # Errors
/// [`HardwareError`].
pub fn usable() -> Result<(), HardwareError> {
    Device::open(Path::new(NODE))?;
    vdso::entry()?;
    Ok(())
}

/// Whether the kernel's vDSO has a way into an enclave.
pub(crate) fn entry_exists() -> Result<(), VdsoError> {
    vdso::entry().map(drop)
}

/// An enclave on SGX hardware.
pub struct Hardware {
    loaded: Loaded<Device>,
    entry: Entry,
}

impl Hardware {
    /// Creates, fills and initialises the enclave.
    ///
    /// # Errors
    /// [`HardwareError`].
    pub fn load(image: &ImageFiles) -> Result<Hardware, HardwareError> {
        let device = Device::open(Path::new(NODE))?;
        let entry = vdso::entry()?;
        let sgx2 = crate::check::cpu_has_sgx2();
        Ok(Hardware { loaded: Loaded::load(device, image.sgxs(), image, sgx2)?, entry })
    }
}

impl Cpu for Hardware {
    fn kind(&self) -> start::Cpu {
        start::Cpu::Sgx
    }

    fn range(&self) -> Range<usize> {
        self.loaded.range.clone()
    }

    fn tcs(&self) -> &[usize] {
        &self.loaded.tcs
    }

    fn entry(&self) -> Entry {
        self.entry
    }

    fn has_sgx2(&self) -> bool {
        self.loaded.sgx2
    }

    fn restrict(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), RestrictError> {
        self.loaded.restrict(offset, bytes, permissions)
    }
}

/// An enclave behind some kernel.
struct Loaded<K: Kernel> {
    kernel: K,
    range: Range<usize>,
    tcs: Vec<usize>,
    sgx2: bool,
}

/// What EINIT is given beside the pages.
trait Signed {
    fn sigstruct(&self) -> &[u8; 1808];
    fn attributes(&self) -> [u8; 16];
    fn misc_select(&self) -> u32;
}

impl Signed for ImageFiles {
    fn sigstruct(&self) -> &[u8; 1808] {
        self.sigstruct()
    }

    fn attributes(&self) -> [u8; 16] {
        self.signed().attributes
    }

    fn misc_select(&self) -> u32 {
        self.signed().misc_select
    }
}

/// Neighbouring pages of one kind.
struct Region {
    start: usize,
    end: usize,
    permissions: Permissions,
}

impl<K: Kernel> Loaded<K> {
    fn load(kernel: K, file: &[u8], signed: &impl Signed, sgx2: bool) -> Result<Self, HardwareError> {
        let sgxs = Sgxs::parse(file)?;
        let no_epc = HardwareError::NoEpc { size: sgxs.size };
        let size = usize::try_from(sgxs.size).ok().filter(|size| size.is_power_of_two());
        let size = size.ok_or(HardwareError::Create { source: Errno::INVAL.into() })?;
        let base = kernel.reserve(size).map_err(|error| HardwareError::System {
            doing: "reserving the enclave's address range",
            source: error.into(),
        })?;
        let secs = secs(&sgxs, base as u64, signed);
        ioctl::create(&kernel, &secs).map_err(|error| match error {
            Errno::NOMEM => HardwareError::NoEpc { size: sgxs.size },
            other => HardwareError::Create { source: other.into() },
        })?;
        let (mut tcs, mut regions) = (Vec::new(), Vec::<Region>::new());
        for page in sgxs.pages() {
            let page = page?;
            let offset = page.offset;
            let at = usize::try_from(offset).ok().filter(|at| at.is_multiple_of(PAGE) && *at < size);
            let at = at.ok_or(HardwareError::Secinfo(offset))?;
            let (content, measure) = content(&page)?;
            ioctl::add(&kernel, offset, &content, &page.secinfo, measure).map_err(|error| match error {
                Errno::NOMEM => HardwareError::NoEpc { size: sgxs.size },
                other => HardwareError::Add { offset, source: other.into() },
            })?;
            let permissions = match Permissions::of(&page.secinfo).ok_or(HardwareError::Secinfo(offset))? {
                // Threads enter through it; the EPCM keeps everybody from its content.
                PageKind::Tcs => {
                    tcs.push(base + at);
                    Permissions { read: true, write: true, execute: false }
                }
                PageKind::Regular(permissions) => permissions,
            };
            match regions.last_mut() {
                Some(last) if last.end == at && last.permissions == permissions => last.end += PAGE,
                _ => regions.push(Region { start: at, end: at + PAGE, permissions }),
            }
        }
        ioctl::initialise(&kernel, signed.sigstruct()).map_err(|error| match error {
            Errno::NOMEM => no_epc,
            other => HardwareError::Init { source: other.into() },
        })?;
        for region in regions {
            let (start, bytes) = (base + region.start, region.end - region.start);
            kernel.map(start, bytes, region.permissions).map_err(|error| match error {
                Errno::PERM if region.permissions.execute => HardwareError::NoExec,
                other => HardwareError::System { doing: "mapping the enclave's pages", source: other.into() },
            })?;
        }
        Ok(Loaded { kernel, range: base..base + size, tcs, sgx2 })
    }

    fn restrict(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), RestrictError> {
        let (mut offset, mut left) = (offset, bytes);
        while left > 0 {
            let done = ioctl::restrict(&self.kernel, offset, left, permissions)
                .map_err(|error| RestrictError(io::Error::from(error).to_string()))?;
            if done == 0 || done > left {
                return Err(RestrictError(format!("the kernel stopped at offset {offset:#x}")));
            }
            offset += done;
            left -= done;
        }
        Ok(())
    }
}

/// A page's bytes, and whether EEXTEND measures them: all or none.
fn content(page: &Page<'_>) -> Result<(ioctl::AlignedPage, bool), HardwareError> {
    let mut content = ioctl::AlignedPage([0; PAGE]);
    let (mut measured, mut chunks) = (0, 0);
    for chunk in page.chunks() {
        let place = usize::try_from(chunk.offset - page.offset).ok();
        if let Some(place) = place.and_then(|at| content.0.get_mut(at..at + chunk.data.len())) {
            place.copy_from_slice(chunk.data);
        }
        chunks += 1;
        measured += usize::from(chunk.measured);
    }
    match measured {
        0 => Ok((content, false)),
        CHUNKS if chunks == CHUNKS => Ok((content, true)),
        _ => Err(HardwareError::PartlyMeasured(page.offset)),
    }
}

/// SECS as ECREATE reads it (SDM 3D, "SGX Enclave Control Structure").
fn secs(sgxs: &Sgxs<'_>, base: u64, signed: &impl Signed) -> ioctl::AlignedPage {
    let mut page = ioctl::AlignedPage([0; PAGE]);
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = page.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &sgxs.size.to_le_bytes());
    put(8, &base.to_le_bytes());
    put(16, &sgxs.ssa_frame_size.to_le_bytes());
    put(20, &signed.misc_select().to_le_bytes());
    put(48, &signed.attributes());
    page
}

/// Why the node cannot be opened.
fn open_error(error: Errno, cpu_has_sgx: bool) -> HardwareError {
    match error {
        Errno::NOENT | Errno::NODEV | Errno::NXIO if cpu_has_sgx => HardwareError::NoDriver,
        Errno::NOENT | Errno::NODEV | Errno::NXIO => HardwareError::NoSgx,
        Errno::ACCESS | Errno::PERM => HardwareError::Permission,
        other => HardwareError::System { doing: "opening /dev/sgx_enclave", source: other.into() },
    }
}

#[cfg(test)]
mod tests;
