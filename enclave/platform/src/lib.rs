//! What does the CPU give an enclave: keys, reports, randomness, time, doorbell?
//!
//! Everything above this crate is the same on every platform. [`Platform`] is the whole of what
//! differs: `sgx` is that of the image, `native` implements it over a software CPU that the launcher hands in.
//!
//! Unsafe code is needed for the allocator of the image (`alloc`), and in `sgx` for its instructions, its
//! calls to the host and the host memory that it is given.

#![cfg_attr(target_env = "sgx", feature(alloc_error_hook, sgx_platform))]

// What `sgx` is made of is tested on every target.
#[cfg(any(target_env = "sgx", test))]
mod alloc;
pub mod clock;
pub mod pages;
#[cfg(any(target_env = "sgx", test))]
mod random;
pub mod ranges;
#[cfg(target_env = "sgx")]
pub mod sgx;
#[cfg(any(target_env = "sgx", test))]
mod structures;

use std::fmt;

use zeroize::Zeroizing;

/// Which CPU stands behind the enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The enclave crates compiled for the host and run in its process. Protects nothing.
    Native,
    /// The signed image on a software SGX CPU. Protects nothing.
    Emulated,
    /// SGX hardware.
    Sgx,
}

impl Kind {
    /// The name used in flags, `ready` and the `core.platform` leaf.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Native => "native",
            Kind::Emulated => "emulated",
            Kind::Sgx => "sgx",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the CPU says this enclave is (SDM, REPORT structure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Measurement of the image.
    pub mrenclave: [u8; 32],
    /// Hash of the signer's public key.
    pub mrsigner: [u8; 32],
    /// Product id given by the signer.
    pub isv_prod_id: u16,
    /// Security version given by the signer.
    pub isv_svn: u16,
    /// Launched as a debug enclave.
    pub debug: bool,
}

/// What a sealing key is derived from beside MRENCLAVE (SDM, KEYREQUEST). Stored beside what was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealKeyRequest {
    /// Wear-out protection: random for a new key, repeated to get the same one.
    pub key_id: [u8; 32],
    /// CPU security version the key is bound to.
    pub cpu_svn: [u8; 16],
    /// Enclave security version the key is bound to.
    pub isv_svn: u16,
}

/// Why EGETKEY refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("EGETKEY refused with SDM error code {0}: the sealed data is of a newer CPU or enclave version")]
pub struct KeyError(pub u32);

/// RDRAND gave nothing within the SDM's retry limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU's random number generator gave no data")]
pub struct RandomError;

/// Time as the host states it: a claim. Use it through [`clock::Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Nanoseconds since some moment before the host started.
    pub monotonic_ns: u64,
}

/// One enclave thread: workers are `0..workers`, the control thread is `workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadIndex(pub u16);

/// Why an enclave thread leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nothing is ready. Come back when the channel has input, somebody woke the thread, or the host's
    /// monotonic clock has passed `until_ns`.
    Wait {
        /// Host monotonic time of the next timer, if there is one.
        until_ns: Option<u64>,
    },
    /// There is more to do, but it is the host's turn: move bytes and come back at once.
    Poll,
    /// Make another thread come back from its `Wait`.
    Wake {
        /// The thread that has something to do.
        thread: ThreadIndex,
    },
}

/// What the enclave thread is told when it comes back. A claim, like everything from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notified {
    /// Go on.
    Continue,
    /// The host wants the enclave to stop: drain, seal, return.
    Shutdown,
}

/// Everything that differs between CPUs.
pub trait Platform: Send + Sync + 'static {
    /// Which platform this is.
    fn kind(&self) -> Kind;

    /// Who this enclave is.
    fn identity(&self) -> &Identity;

    /// The measured policy page of the image (on native: of the file read at start). Parsed by `access`.
    fn policy_page(&self) -> &[u8];

    /// A request for a new sealing key at the CPU's and the enclave's current security versions.
    ///
    /// # Errors
    /// [`RandomError`] when no key id can be drawn.
    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError>;

    /// EGETKEY, SEAL_KEY, policy MRENCLAVE, all attributes masked in (DESIGN D14).
    ///
    /// # Errors
    /// [`KeyError`] when the request names a version above the current one.
    fn seal_key(&self, request: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError>;

    /// EREPORT: a REPORT (432 bytes) for `target` (a TARGETINFO of 512 bytes) over `data`.
    fn report(&self, target: &[u8; 512], data: &[u8; 64]) -> [u8; 432];

    /// Fills `out` from the CPU's generator: nonces, salts, numbers for guests, keys of one connection.
    ///
    /// # Errors
    /// [`RandomError`] after the retry rule of the SDM.
    fn random(&self, out: &mut [u8]) -> Result<(), RandomError>;

    /// Fills `out` with fresh entropy: keys that live long. Some microseconds for each eight bytes, more when
    /// all cores ask.
    ///
    /// # Errors
    /// As [`Platform::random`].
    fn entropy(&self, out: &mut [u8]) -> Result<(), RandomError> {
        self.random(out)
    }

    /// The host's clocks, without leaving the enclave.
    fn host_time(&self) -> HostTime;

    /// The one way out. Returns as [`Notify`] describes; may return early.
    fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified;
}
