//! Connections that exist only if the enclave behind them passed a policy.
//!
//! A [`VerifiedConnector`] makes them: it completes the handshake, asks the enclave for its evidence, judges it, and
//! hands out an [`Attested`] connection, or a [`ClientError::Verification`] with the whole verdict. Before that no
//! byte of the application leaves this program. With an async runtime: [`crate::tokio`] (feature `tokio`); inside
//! another program's rustls: [`QuotedCertificates`].

mod attempt;
mod blocking;
mod demand;
mod in_handshake;

use std::ops::{Deref, DerefMut};

use attestation::verify::Verified;

pub(crate) use attempt::{Answer, Attempt};
pub use blocking::VerifiedConnector;
pub(crate) use demand::{Demand, Settings, Shown};
/// Most bytes of the answer that tells evidence: a quote of 12 KiB, collateral of 64 KiB, and JSON around them.
pub(crate) const MAX_ATTESTED: usize = 256 * 1024;

pub use in_handshake::{NotVerified, QuotedCertificates};

/// A connection to an enclave that passed the policy. Only verification makes one.
#[derive(Debug)]
pub struct Attested<C> {
    connection: C,
    verified: Verified,
}

impl<C> Attested<C> {
    pub(crate) fn new(connection: C, verified: Verified) -> Self {
        Self { connection, verified }
    }

    /// What was verified.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The connection alone, for code that takes both kinds.
    pub fn into_inner(self) -> C {
        self.connection
    }
}

impl<C> Deref for Attested<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C> DerefMut for Attested<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}
