//! Which certificate does a connection get, and what does it say?
//!
//! - [`Authority`]: the enclave's CA, whose key is made inside and leaves only sealed.
//! - [`Identities`]: the certificates of the moment, one for the enclave and one for each app, each with a key
//!   of its own that is never stored. [`Identities::select`] answers a handshake by its server name.
//! - [`Seen`]: what a connection's certificate said, so that verifying one configuration and then talking to
//!   another is impossible.
//!
//! Formats: `docs/formats/certificates.md`.

#![forbid(unsafe_code)]

mod authority;
mod chain;
mod der;
mod identities;
mod key;
mod leaf;
mod seen;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

pub use authority::{Authority, AuthorityError, SealedAuthorityError};
pub use chain::InstallError;
pub use identities::{Identities, Identity, Prepared, Scope, Settings};
pub use leaf::Evidence;
pub use seen::{Change, Seen};
pub use snapshot::{AppIdentity, IdentityError};
pub use tls::ALPN_PROTOCOLS;
