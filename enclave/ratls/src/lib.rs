//! Which certificate does a connection get, and what does it say?
//!
//! - [`Authority`]: the enclave's CA, whose key is made inside and leaves only sealed.
//! - [`Identities`]: the certificates of the moment, one for the enclave and one for each app, each with a key
//!   of its own that is never stored. [`Identities::select`] answers a handshake by its server name.
//! - [`Quoting`]: quotes over REPORTs that are made here, checked before they are used.
//! - [`Seen`]: what a connection's certificate said, so that verifying one configuration and then talking to
//!   another is impossible.
//!
//! Formats: `docs/formats/certificates.md`.

#![forbid(unsafe_code)]

mod authority;
mod chain;
mod challenge;
mod clock;
mod der;
mod history;
mod identities;
mod interop;
mod issue;
mod key;
mod leaf;
mod offline;
mod quoting;
mod report;
mod seen;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

pub use authority::{Authority, AuthorityError, SealedAuthorityError};
pub use chain::InstallError;
pub use challenge::{BadChallenge, Challenged, NONCE_PROTOCOL, nonce};
pub use clock::claimed_now;
pub use history::{Generation, MAX_GENERATIONS};
pub use identities::{Identities, Identity, LeafKey, Prepared, Scope, Settings};
pub use issue::Upkeep;
pub use offline::{Document, Offline};
pub use quoting::{
    Answer, Board, CollateralError, Lie, MAX_QUOTE, News, Quote, QuoteError, Quoting, QuotingService,
    ServiceError, Status,
};
pub use report::ReportData;
pub use seen::{Change, Seen};
pub use snapshot::{AppIdentity, IdentityError};
pub use tls::{ALPN_PROTOCOLS, Alert, refusing};
