//! How does a Rust program talk to an enclave?
//!
//! Blocking, without an async runtime: [`Connector`] opens a TLS 1.3 connection, [`Framed`] speaks the framed
//! JSON protocol over it and [`Http`] the management paths. What the enclave's certificate claims is read by
//! [`Peer::claims`]; a configuration leaf is checked against its root by [`Peer::check_proof`].
//!
//! A connection needs something to trust: a certificate authority ([`Connector::trust_ca_pem`]). Without one,
//! only [`danger::accept_any_certificate`] connects, and says in its name what that is.
//!
//! ```no_run
//! use enclave_os_client::{Connector, Params};
//!
//! let connector = Connector::new("127.0.0.1:8443").trust_ca_pem(b"-----BEGIN CERTIFICATE-----\n...")?;
//! let mut enclave = connector.framed()?;
//! let returns = enclave.call("test-app", "hello", Params::default())?;
//! println!("{returns:?}");
//! # Ok::<(), enclave_os_client::ClientError>(())
//! ```

#![forbid(unsafe_code)]

pub mod danger;
mod error;
mod framed;
mod http;
mod management;
mod peer;
mod tls;

pub use boundary_wire::client::{
    Access, AppExport, AppInfo, AppSchema, AppState, Attest, Call, Command, DataPolicy, Envelope, ErrorReply,
    ExportSchema, Load, LogPolicy, NamedType, Params, Reply, Request, Secret, Variant, WitType,
};
pub use error::{ClientError, Fault};
pub use framed::Framed;
pub use http::{Body, Http, Response};
pub use management::{LoadOptions, Ready};
pub use peer::Peer;
pub use tls::{Connection, Connector};
