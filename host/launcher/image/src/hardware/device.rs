//! The real kernel.

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::kernel::{Kernel, Permissions};
use super::{HardwareError, open_error};

/// `/dev/sgx_enclave`, opened for one enclave.
#[derive(Debug)]
pub struct Device {
    node: OwnedFd,
    /// Address and size of what was reserved. The enclave is gone when it is unmapped and the node closed.
    reserved: Mutex<Vec<(usize, usize)>>,
}

impl Device {
    /// Opens the node.
    ///
    /// # Errors
    /// [`HardwareError::NoSgx`], [`HardwareError::NoDriver`] or [`HardwareError::Permission`].
    pub fn open(node: &Path) -> Result<Device, HardwareError> {
        let node = open(node, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| open_error(error, crate::check::cpu_has_sgx()))?;
        Ok(Device { node, reserved: Mutex::default() })
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, Vec<(usize, usize)>> {
        self.reserved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Kernel for Device {
    fn reserve(&self, size: usize) -> Result<usize, Errno> {
        let twice = size.checked_mul(2).ok_or(Errno::NOMEM)?;
        // SAFETY: needed because ELRANGE must be aligned to its size, which no safe interface offers. New memory
        // at no fixed address changes nothing that exists; it can be neither read nor written.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                twice,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?
        .addr();
        let base = start.next_multiple_of(size);
        for (from, bytes) in [(start, base - start), (base + size, start + twice - base - size)] {
            if bytes > 0 {
                // SAFETY: the part lies in what has just been mapped, outside of what is kept.
                unsafe { munmap(pointer(from), bytes) }?;
            }
        }
        self.reserved().push((base, size));
        Ok(base)
    }

    fn ioctl(&self, opcode: u32, argument: &mut [u64]) -> Result<(), Errno> {
        // SAFETY: the driver reads and writes as many words as the opcode says, and `hardware::ioctl` passes just
        // as many; what the words point to outlives the call.
        unsafe { ioctl(&self.node, Words { opcode, argument }) }
    }

    fn map(&self, start: usize, bytes: usize, permissions: Permissions) -> Result<(), Errno> {
        let within = |&(base, size): &(usize, usize)| {
            start >= base && start.checked_add(bytes).is_some_and(|end| end <= base + size)
        };
        if !self.reserved().iter().any(within) {
            return Err(Errno::INVAL);
        }
        let bit = |set, bit| if set { bit } else { ProtFlags::empty() };
        let protection = bit(permissions.read, ProtFlags::READ)
            | bit(permissions.write, ProtFlags::WRITE)
            | bit(permissions.execute, ProtFlags::EXEC);
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the range lies in what this device has reserved, checked above, so nothing else is replaced.
        let mapped = unsafe { mmap(pointer(start), bytes, protection, flags, &self.node, 0) };
        mapped.map(drop)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for (base, size) in self.reserved().drain(..) {
            // SAFETY: the range was reserved here, and whoever enters the enclave keeps this device alive.
            unsafe { munmap(pointer(base), size) }.unwrap_or_default();
        }
    }
}

fn pointer(address: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

struct Words<'a> {
    opcode: u32,
    argument: &'a mut [u64],
}

// SAFETY: needed for ioctls that rustix does not know. The opcode says how many words there are, the pointer is to
// that many, and the output is empty.
unsafe impl Ioctl for Words<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}
