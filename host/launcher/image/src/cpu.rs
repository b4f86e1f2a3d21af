//! What the launcher needs of a CPU with an enclave on it.

use std::fmt;
use std::ops::Range;

use boundary_wire::start;

use crate::enter::{Entry, Exception};

/// An enclave that was loaded and initialised. Dropped, it is gone.
pub trait Cpu: Send + Sync {
    /// What it is, for the start block.
    fn kind(&self) -> start::Cpu;

    /// ELRANGE.
    fn range(&self) -> Range<usize>;

    /// The addresses of the TCS, in the order in which the image lists them. The first is where it starts.
    fn tcs(&self) -> &[usize];

    /// How to enter.
    fn entry(&self) -> Entry;

    /// Whether [`restrict`](Self::restrict) works: SGX2.
    fn has_sgx2(&self) -> bool;

    /// The host's half of EMODPR on `bytes` at `offset` in ELRANGE, whole pages; `permissions` as in
    /// [`start::restrict`]. The enclave sees for itself with EACCEPT.
    ///
    /// # Errors
    /// Why a page could not be restricted.
    fn restrict(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), RestrictError>;

    /// What is known of the exception that has just ended an entry of this thread.
    fn explain(&self, exception: &Exception) -> String {
        exception.to_string()
    }
}

/// Why pages keep their permissions.
#[derive(Debug)]
pub struct RestrictError(pub(crate) String);

impl fmt::Display for RestrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the permissions of enclave pages were not restricted: {}", self.0)
    }
}
