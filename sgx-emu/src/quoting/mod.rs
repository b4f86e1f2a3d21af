//! DCAP quotes without SGX: a development PKI in place of Intel's, and a development quoting enclave in place
//! of Intel's.
//!
//! What they make has the structure of the genuine thing, byte for byte, and passes the same verifiers, under a
//! root of its own that no verifier takes unless it is named ([`ROOT_NAME`] says DEVELOPMENT). **It proves
//! nothing**: the keys lie in a file, beside a CPU whose secrets lie in a file.
//!
//! The names and layouts are those of Intel's "SGX Data Center Attestation Primitives: ECDSA Quote Library
//! API", "SGX PCK Certificate and Certificate Revocation List Profile Specification" and the PCS API, v4.

mod authorities;
mod collateral;
mod der;
mod enclave;
mod identity;
mod key;
mod options;
mod pem;
mod pki;
mod platform;
mod quote;
mod rfc3339;
mod store;

#[cfg(test)]
mod tests;

pub use authorities::ROOT_NAME;
pub use enclave::{QuoteRefused, QuotingEnclave, QuotingEnclaveError};
pub use options::{Lifetimes, PkiOptions, Revoked, TcbLevel, TcbStatus};
pub use pki::{DevelopmentPki, PkiError};
pub use platform::{PlatformFacts, SgxType};
pub use store::{
    COLLATERAL_FILE_NAME, KEYS_FILE_NAME, PCK_CHAIN_FILE_NAME, PkiStoreError, RENEW_BEFORE, ROOT_FILE_NAME,
};
