//! Judges what an enclave presents by a policy.
//!
//! [`Verifier::judge`] looks at one certificate chain, evidence document or quote at one moment and gives a
//! [`Verdict`]: every check with what was seen, in a fixed order, the same in all languages
//! (`docs/formats/verdict.md`). [`Verified`] can come only out of an accepted verdict. Nothing here reads a
//! clock, a file or a network.

mod app;
mod authority;
mod certificate;
mod configuration;
mod crypto;
mod dcap;
mod enclave;
mod freshness;
mod judge;
mod newer;
mod pem;
mod platform;
#[cfg(test)]
mod tests;
mod verdict;

use time::OffsetDateTime;

pub use certificate::issuer_spki;
pub use dcap::{QuoteError, VerifiedQuote, verify_quote};
pub use rustls_pki_types::CertificateDer;
pub use verdict::{AppFacts, Check, CheckId, EnclaveFacts, TcbFacts, Verdict, Verified};

use crate::collateral::Collateral;
use crate::evidence::EvidenceDocument;
use crate::manifest::{Manifest, Proof};
use crate::policy::VerificationPolicy;

pub use crate::policy::Tier;

/// Seconds by which clocks may differ.
pub const CLOCK_SKEW_SECONDS: i64 = 300;

/// Judges by one policy.
#[derive(Clone, Debug)]
pub struct Verifier {
    policy: VerificationPolicy,
    /// For the test that every check is needed: judge as if this one were not there.
    #[cfg(test)]
    without: Option<CheckId>,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// A certificate chain as it is served to everyone: tier `certificate`.
    Certificate {
        /// Leaf first.
        chain: &'a [CertificateDer<'a>],
        /// The name or address that was asked for, if the connection has one.
        server_name: Option<&'a str>,
    },
    /// A chain that was made for this connection: tier `challenge`.
    Challenge {
        /// Leaf first.
        chain: &'a [CertificateDer<'a>],
        /// As in [`Presented::Certificate`].
        server_name: Option<&'a str>,
        /// What the client offered as `enclave-os-nonce/…`.
        nonce: &'a [u8; 32],
    },
    /// A chain, and the answer of `attest` on the same connection: tier `channel`.
    Channel {
        /// Leaf first.
        chain: &'a [CertificateDer<'a>],
        /// As in [`Presented::Certificate`].
        server_name: Option<&'a str>,
        /// What the client sent with `attest`.
        nonce: &'a [u8; 32],
        /// [`crate::report_data::EXPORTER_LABEL`] with the nonce, of this connection.
        exporter: &'a [u8; 32],
        /// What came back.
        quote: &'a [u8],
    },
    /// A document, without a connection.
    Evidence(&'a EvidenceDocument),
    /// A quote alone. It proves nothing about a connection or an app, so only the checks of quotes are made
    /// and no [`Verified`] comes out of it.
    Quote(&'a [u8]),
}

/// What is known of the configuration beside the root in the certificate. None of it needs trust: it counts so
/// far as it leads to that root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disclosed<'a> {
    /// The enclave's manifest, or an app's own. One that leads to no root of the certificate fails.
    pub manifest: Option<&'a Manifest>,
    /// Single leaves, each with its path to the root of the enclave's tree (`.1.1`): they show nothing of the
    /// others.
    pub proofs: &'a [Proof],
}

impl Verifier {
    /// A verifier for this policy.
    pub fn new(policy: VerificationPolicy) -> Self {
        Verifier {
            policy,
            #[cfg(test)]
            without: None,
        }
    }

    /// What it judges by.
    pub fn policy(&self) -> &VerificationPolicy {
        &self.policy
    }

    /// Judges what was presented, at the moment `now`.
    ///
    /// `collateral` verifies the quote; an evidence document brings its own, which is used when none is given.
    /// `disclosed` is where the policy's required leaves are looked up; an evidence document's own manifest is
    /// used in any case.
    pub fn judge(
        &self,
        presented: &Presented<'_>,
        collateral: Option<&Collateral>,
        disclosed: Disclosed<'_>,
        now: OffsetDateTime,
    ) -> Verdict {
        judge::Judge::new(self, now).judge(presented, collateral, disclosed)
    }
}
