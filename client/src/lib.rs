//! How does a Rust program talk to an enclave?
//!
//! A [`VerifiedConnector`] judges the enclave by a policy before it gets a byte, and hands out [`Attested`]
//! connections:
//!
//! ```no_run
//! use enclave_os_client::attestation::policy::VerificationPolicy;
//! use enclave_os_client::{Params, VerifiedConnector};
//!
//! let policy = VerificationPolicy::from_toml(&std::fs::read_to_string("policy.toml")?)?;
//! let mut enclave = VerifiedConnector::new("enclave.example:8443", policy).framed()?;
//! let returns = enclave.call("test-app", "hello", Params::default())?;
//! println!("{returns:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Framed`] speaks the framed JSON protocol, [`Http`] the management paths, both blocking; the module `tokio`
//! (feature of the same name) has both without blocking, with hyper's requests for HTTP. A program that brings
//! its own rustls takes [`QuotedCertificates`].
//!
//! With an [`OperatorKey`] ([`Framed::operator`], [`Http::operator`]) each command goes with the token that it needs.
//!
//! A plain [`Connector`] checks certificates against an authority ([`Connector::trust_ca_pem`]) and no quote.
//! What a certificate claims is read by [`Peer::claims`]; a configuration leaf is checked against its root by
//! [`Peer::check_proof`]. Without anything to trust only [`danger::accept_any_certificate`] connects, and says in
//! its name what that is.

#![forbid(unsafe_code)]

pub mod danger;
mod error;
mod framed;
mod http;
mod management;
mod operator;
mod peer;
pub mod pem;
mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
mod verified;

pub use attestation;
pub use boundary_wire::client::{
    Access, AppExport, AppInfo, AppSchema, AppState, Attest, Call, Command, CommandInput, DataPolicy,
    Envelope, ErrorReply, Exited, ExportSchema, Load, LogPolicy, NamedType, Params, Reply, Request, Secret,
    Storage, Variant, WitType,
};
pub use error::{ClientError, Fault};
pub use framed::Framed;
pub use http::{Body, Http, Response};
pub use management::{LoadOptions, Ready};
pub use operator::{OperatorKey, OperatorKeyError, TokenRequest};
pub use peer::Peer;
pub use tls::{Connection, Connector};
pub use verified::{Attested, NotVerified, QuotedCertificates, VerifiedConnector};
