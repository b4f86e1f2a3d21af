//! An image on a software SGX CPU, in this process. Protects nothing.

use std::ops::Range;
use std::sync::Arc;

use boundary_wire::start;
use sgx_emu::{Attributes, Enclave, LoadError, SoftwareCpu, enter_enclave, last_fault};

use crate::cpu::{Cpu, RestrictError};
use crate::enter::{Entry, Exception};
use crate::files::ImageFiles;

/// An enclave on a software CPU.
pub struct Emulated(Enclave);

impl Emulated {
    /// Loads, measures and initialises the image. `attributes`: what the host asks for at ECREATE, which is what
    /// was signed unless a test wants to be refused.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        cpu: Arc<SoftwareCpu>,
        image: &ImageFiles,
        attributes: Attributes,
    ) -> Result<Emulated, LoadError> {
        Enclave::load(cpu, image.sgxs(), image.sigstruct(), attributes).map(Emulated)
    }

    /// The enclave as the software CPU has it.
    pub fn enclave(&self) -> &Enclave {
        &self.0
    }
}

impl Cpu for Emulated {
    fn kind(&self) -> start::Cpu {
        start::Cpu::Emulated
    }

    fn range(&self) -> Range<usize> {
        self.0.base()..self.0.base() + self.0.size()
    }

    fn tcs(&self) -> &[usize] {
        self.0.tcs()
    }

    fn entry(&self) -> Entry {
        // SAFETY: `enter_enclave` has the ABI by its contract and keeps R12 to R15 besides. Code that was written
        // for EDP restores what its entry ABI says; code that does not can only have been started on purpose.
        unsafe { Entry::new(enter_enclave as *const () as usize) }
    }

    fn has_sgx2(&self) -> bool {
        true
    }

    fn restrict(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), RestrictError> {
        self.0
            .restrict_permissions(offset, bytes, permissions)
            .map_err(|error| RestrictError(error.to_string()))
    }

    fn explain(&self, exception: &Exception) -> String {
        last_fault().map_or_else(|| exception.to_string(), |fault| fault.to_string())
    }
}
