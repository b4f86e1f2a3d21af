//! What would the SGX instructions answer?
//!
//! A CPU with SGX in software, as the SDM (volume 3D, "Intel Software Guard Extensions") defines it, in three
//! layers that can be used by themselves:
//!
//! - [`SoftwareCpu`] answers EGETKEY and EREPORT from secrets in a file instead of fuses.
//! - [`UninitializedEnclave`] answers ECREATE, EADD, EEXTEND and EINIT: what an image measures, whether its
//!   [`Sigstruct`] holds, and which [`EnclaveState`] comes of it.
//! - [`Enclave`] runs one, on x86-64 Linux without SGX: it is loaded from an [`Sgxs`] file, has the MRENCLAVE
//!   that hardware would compute, is entered with [`enter_enclave`], which has the ABI of the kernel's
//!   `__vdso_sgx_enter_enclave`, and what it asks of the CPU with ENCLU is answered. Unmodified images run
//!   under unmodified runners.
//!
//! Beside it [`quoting`] has what a DCAP quote takes: a quoting enclave for that CPU, and a PKI.
//!
//! **It protects nothing.** The host can read and change an enclave's memory, and the keys lie in a file.
//! It exists so that sealing, reports, quotes and the image itself are the same everywhere.
//!
//! # Example
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//!
//! use sgx_emu::{Attributes, Enclave, EnclaveRun, SECRETS_FILE_NAME, SoftwareCpu, enter_enclave, last_fault};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cpu = Arc::new(SoftwareCpu::open(&Path::new("data").join(SECRETS_FILE_NAME))?);
//! let (sgxs, sigstruct) = (std::fs::read("hello.sgxs")?, std::fs::read("hello.sig")?);
//! let enclave = Enclave::load(cpu, &sgxs, sigstruct.as_slice().try_into()?, Attributes::Signed)?;
//!
//! let mut run = EnclaveRun::new(enclave.tcs()[0] as u64);
//! const EENTER: u32 = 2;
//! // SAFETY: `run` is ours, and we trust the enclave as we do any native code that we call.
//! let status = unsafe { enter_enclave(0, 0, 0, EENTER, 0, 0, &mut run) };
//! if status == 0 && run.function != 4 {
//!     eprintln!("the enclave stopped: {}", last_fault().map_or(String::new(), |fault| fault.to_string()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is there
//!
//! ECREATE, EADD, EEXTEND, EINIT (with launch control as on Linux: every signer), EMODPR and EAUG from outside;
//! EENTER, ERESUME, EEXIT, EREPORT, EGETKEY (sealing and report keys), EACCEPT, EACCEPTCOPY and EMODPE; page
//! permissions; asynchronous exits with state save areas, EXITINFO and EXINFO; any number of threads and
//! enclaves in a process. RDRAND and RDSEED are the machine's own. Each leaf costs a signal, EENTER none.
//!
//! Key separation and sharing (KSS), CET, AEX-Notify, EMODT, paging (EWB, ELDU), EDBGRD, and launch and
//! provisioning keys are not: their fields must be zero, and asking for them faults or is refused.
//!
//! # Where it differs
//!
//! - FS stays the host's inside an enclave, so that thread-locals work in the host's signal handlers. Enclaves
//!   may not use FS (those of EDP do not): OFSBASGX is not loaded, and FSBASE in a saved frame is 0.
//! - An enclave runs as part of the process. Instructions that are illegal in one (SYSCALL, CPUID, IN, ...) are
//!   not stopped, nor is a jump into the host's code. The host's reads and writes of enclave memory go through,
//!   where hardware has abort pages.
//! - XCR0 stays the host's: XGETBV shows it, and an XRSTOR of everything resets state that XFRM does not name.
//! - Only exceptions leave an enclave. A signal of the host is handled on top of it: on this crate's signal
//!   stack if its handler was installed with SA_ONSTACK, else on the enclave's; GS is the enclave's meanwhile.
//!   The handler must return, and not enter an enclave.
//! - Exceptions are told in [`EnclaveRun`] as the kernel tells them, #BP and #DB too, which the kernel sends as
//!   SIGTRAP.
//! - A page that may be run can be read. Where hardware refuses two leaves on one page at once, one waits.
//! - Vector registers are not handed in or out, which the ABI leaves to the enclave.
//!
//! # Debuggers and profilers
//!
//! Both work. To a debugger each ENCLU is a SIGILL (on a CPU with SGX a SIGSEGV) that the program handles; in
//! gdb: `handle SIGILL nostop noprint pass`.

#![deny(unsafe_code)]

mod einit;
mod keys;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code, reason = "it runs native code in memory that it maps, and answers signals")]
mod machine;
mod measurement;
pub mod quoting;
mod report;
mod secrets;
mod sgxs;
mod sigstruct;

use std::path::Path;

pub use einit::EinitError;
pub use keys::{GeneralProtection, KeyName, KeyPolicy, KeyRequest, error_code};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use machine::{
    Access, Attributes, Enclave, EnclaveRun, Fault, LoadError, PageState, PagesError, enter_enclave,
    last_fault,
};
pub use measurement::{
    BuildFault, CHUNK_SIZE, MAX_ENCLAVE_SIZE, PAGE_SIZE, PageType, Secinfo, Secs, UninitializedEnclave,
};
pub use report::{REPORT_LEN, TARGET_INFO_LEN, report_is_authentic, target_info};
pub use secrets::{CpuError, SECRETS_FILE_NAME};
pub use sgxs::{Chunk, Page, Pages, Sgxs, SgxsError, SgxsFault};
pub use sigstruct::Sigstruct;

use secrets::Secrets;

/// MRENCLAVE of the native platform, where nothing is measured. Every native build has the same one.
pub const DEVELOPMENT_MEASUREMENT: [u8; 32] = *b"NATIVE DEVELOPMENT, UNPROTECTED!";

/// MRSIGNER of the native platform, where nothing is signed.
pub const DEVELOPMENT_SIGNER: [u8; 32] = *b"NO SIGNER, NATIVE DEVELOPMENT...";

/// ATTRIBUTES.INIT: EINIT has run.
pub const ATTRIBUTE_INIT: u64 = 1 << 0;
/// ATTRIBUTES.DEBUG: the enclave's memory can be read from outside.
pub const ATTRIBUTE_DEBUG: u64 = 1 << 1;
/// ATTRIBUTES.MODE64BIT.
pub const ATTRIBUTE_MODE64BIT: u64 = 1 << 2;
/// ATTRIBUTES.PROVISIONKEY: the enclave may ask for the provisioning key (this CPU has none).
pub const ATTRIBUTE_PROVISIONKEY: u64 = 1 << 4;
/// ATTRIBUTES.EINITTOKENKEY: the enclave may ask for the launch key (this CPU has none).
pub const ATTRIBUTE_EINITTOKENKEY: u64 = 1 << 5;

/// What the CPU knows about the enclave that asks (the SDM's SECS, as far as keys and reports use it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveState {
    /// Measurement of the image.
    pub mrenclave: [u8; 32],
    /// Hash of the signer's public key.
    pub mrsigner: [u8; 32],
    /// ATTRIBUTES: flags (u64 LE), then XFRM (u64 LE).
    pub attributes: [u8; 16],
    /// MISCSELECT.
    pub misc_select: u32,
    /// Product id given by the signer.
    pub isv_prod_id: u16,
    /// Security version given by the signer.
    pub isv_svn: u16,
}

impl EnclaveState {
    /// The state that the native platform runs with: fixed, and it says what it is.
    pub fn development() -> Self {
        Self {
            mrenclave: DEVELOPMENT_MEASUREMENT,
            mrsigner: DEVELOPMENT_SIGNER,
            attributes: attributes(ATTRIBUTE_INIT | ATTRIBUTE_MODE64BIT, 7),
            misc_select: 0,
            isv_prod_id: 0,
            isv_svn: 1,
        }
    }

    /// ATTRIBUTES.DEBUG.
    pub fn debug(&self) -> bool {
        self.has(ATTRIBUTE_DEBUG)
    }

    fn has(&self, flag: u64) -> bool {
        u64::from(self.attributes[0]) & flag != 0
    }
}

/// The ATTRIBUTES structure from its two words.
pub fn attributes(flags: u64, xfrm: u64) -> [u8; 16] {
    (u128::from(flags) | u128::from(xfrm) << 64).to_le_bytes()
}

/// One software CPU: the secrets of one machine.
#[derive(Debug)]
pub struct SoftwareCpu {
    secrets: Secrets,
}

impl SoftwareCpu {
    /// The CPU whose secrets lie in `secrets_file`; makes them (mode 0600) if there is no such file.
    /// Call the file [`SECRETS_FILE_NAME`], so that nobody takes it for protection.
    ///
    /// # Errors
    /// [`CpuError`] when the file can neither be read nor made, is not one of ours, or others can read it.
    pub fn open(secrets_file: &Path) -> Result<Self, CpuError> {
        Ok(Self { secrets: Secrets::open_or_create(secrets_file)? })
    }

    /// A CPU that nobody will meet again: random secrets, no file.
    ///
    /// # Panics
    /// When the operating system has no randomness, which does not happen after boot.
    pub fn ephemeral() -> Self {
        Self { secrets: Secrets::random() }
    }

    /// The current CPUSVN.
    pub fn cpu_svn(&self) -> [u8; 16] {
        self.secrets.cpu_svn
    }

    /// The same machine at another CPUSVN, as after a microcode update or downgrade.
    #[must_use]
    pub fn at_cpu_svn(mut self, cpu_svn: [u8; 16]) -> Self {
        self.secrets.cpu_svn = cpu_svn;
        self
    }

    /// EGETKEY.
    ///
    /// # Errors
    /// The SDM's error code (see [`error_code`]).
    pub fn egetkey(&self, enclave: &EnclaveState, request: &KeyRequest) -> Result<[u8; 16], u32> {
        keys::egetkey(&self.secrets, enclave, request)
    }

    /// EREPORT: a REPORT about `enclave` that only `target` (a TARGETINFO) can verify.
    pub fn ereport(
        &self,
        enclave: &EnclaveState,
        target: &[u8; TARGET_INFO_LEN],
        data: &[u8; 64],
    ) -> [u8; REPORT_LEN] {
        report::ereport(&self.secrets, enclave, target, data)
    }
}
