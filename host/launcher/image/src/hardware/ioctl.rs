//! The driver's ioctls (Linux, `arch/x86/include/uapi/asm/sgx.h`): numbers and arguments.
//!
//! Each argument is a structure of `__u64`, so it is an array of words here.

use rustix::io::Errno;

use super::kernel::Kernel;

const fn opcode(direction: u32, number: u32, words: u32) -> u32 {
    const MAGIC: u32 = 0xa4;
    direction << 30 | (words * 8) << 16 | MAGIC << 8 | number
}
const WRITE: u32 = 1;
const READ_WRITE: u32 = 3;

/// `{ src }`
pub(super) const CREATE: u32 = opcode(WRITE, 0, 1);
/// `{ src, offset, length, secinfo, flags, count }`
pub(super) const ADD_PAGES: u32 = opcode(READ_WRITE, 1, 6);
/// `{ sigstruct }`
pub(super) const INIT: u32 = opcode(WRITE, 2, 1);
/// `{ offset, length, permissions, result, count }`
pub(super) const RESTRICT_PERMISSIONS: u32 = opcode(READ_WRITE, 5, 5);

/// SGX_PAGE_MEASURE
const MEASURE: u64 = 1;

/// A page that the kernel reads.
#[repr(C, align(4096))]
pub(super) struct AlignedPage(pub(super) [u8; 4096]);

#[repr(C, align(64))]
struct AlignedSecinfo([u8; 64]);

#[repr(C, align(4096))]
struct AlignedSigstruct([u8; 1808]);

fn address<T>(of: &T) -> u64 {
    std::ptr::from_ref(of).expose_provenance() as u64
}

pub(super) fn create(kernel: &impl Kernel, secs: &AlignedPage) -> Result<(), Errno> {
    again(|| kernel.ioctl(CREATE, &mut [address(secs)]))
}

pub(super) fn add(
    kernel: &impl Kernel,
    offset: u64,
    content: &AlignedPage,
    secinfo: &[u8; 64],
    measure: bool,
) -> Result<(), Errno> {
    let secinfo = AlignedSecinfo(*secinfo);
    let length = content.0.len() as u64;
    again(|| {
        let flags = if measure { MEASURE } else { 0 };
        let mut argument = [address(content), offset, length, address(&secinfo), flags, 0];
        kernel.ioctl(ADD_PAGES, &mut argument)?;
        // One page is added or not.
        if argument[5] == length { Ok(()) } else { Err(Errno::IO) }
    })
}

pub(super) fn initialise(kernel: &impl Kernel, sigstruct: &[u8; 1808]) -> Result<(), Errno> {
    let sigstruct = AlignedSigstruct(*sigstruct);
    again(|| kernel.ioctl(INIT, &mut [address(&sigstruct)]))
}

/// Returns how many bytes were done.
pub(super) fn restrict(
    kernel: &impl Kernel,
    offset: u64,
    length: u64,
    permissions: u8,
) -> Result<u64, Errno> {
    let mut argument = [offset, length, u64::from(permissions), 0, 0];
    match kernel.ioctl(RESTRICT_PERMISSIONS, &mut argument) {
        Ok(()) => Ok(argument[4]),
        Err(Errno::INTR | Errno::AGAIN) if argument[4] > 0 => Ok(argument[4]),
        Err(Errno::INTR | Errno::AGAIN) => restrict(kernel, offset, length, permissions),
        Err(error) => Err(error),
    }
}

/// Until no signal comes between.
fn again(mut attempt: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
