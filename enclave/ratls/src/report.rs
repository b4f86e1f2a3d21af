//! The 64 bytes that a quote is made over.

use attestation::report_data::{self, Binding};
use graviola::hashing::{Hash, Sha256};
use time::OffsetDateTime;

/// Report data of one of the fixed structures below, each a hash over the key of a leaf of this enclave.
///
/// There is no way to make one of given bytes: neither a client nor a guest can have the enclave's REPORT say
/// what it likes. What a client does choose, its nonce, is hashed behind the leaf's key. No two structures
/// hash the same number of bytes (49, 64, 96, 86), so none can pass for another; the interoperable one is the
/// only one that ends in zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportData([u8; 64]);

impl ReportData {
    /// Tier `certificate`.
    pub(crate) fn leaf(spki_der: &[u8], not_before: OffsetDateTime) -> Self {
        ReportData(report_data::compute(spki_der, Binding::NotBefore(not_before)))
    }

    /// Tier `challenge`.
    pub(crate) fn challenge(spki_der: &[u8], nonce: &[u8; 32]) -> Self {
        ReportData(report_data::compute(spki_der, Binding::Nonce(nonce)))
    }

    /// Tier `channel`. The exporter is that of the connection that asks, never one that was sent.
    pub(crate) fn channel(spki_der: &[u8], nonce: &[u8; 32], exporter: &[u8; 32]) -> Self {
        ReportData(report_data::compute(spki_der, Binding::Channel { nonce, exporter }))
    }

    /// An evidence document: `SHA-512("enclave-os evidence v1" ‖ SHA-256(leaf DER) ‖ manifest root)`.
    pub(crate) fn evidence(leaf_der: &[u8], manifest_root: &[u8; 32]) -> Self {
        ReportData(report_data::evidence(leaf_der, manifest_root))
    }

    /// Interoperable RA-TLS: `SHA-256(claims) ‖ 0`, the claims naming the leaf's key ([`crate::interop`]).
    pub(crate) fn interoperable(claims: &[u8]) -> Self {
        let mut bytes = [0; 64];
        for (byte, hashed) in bytes.iter_mut().zip(Sha256::hash(claims).as_ref()) {
            *byte = *hashed;
        }
        ReportData(bytes)
    }

    /// For EREPORT.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}
