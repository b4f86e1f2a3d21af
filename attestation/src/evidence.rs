//! The evidence document: everything a verifier needs to check an enclave without a connection to it.
//!
//! A leaf's own quote binds its key, not its extensions, and offline there is no handshake that vouches for
//! them; so the document has a quote of its own over leaf and manifest
//! ([`crate::report_data::evidence`]). Format: `docs/formats/evidence.md`.

mod base64;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::collateral::Collateral;
use crate::manifest::{Manifest, Proof};
use crate::merkle::Hash;

/// The format that is written and read.
pub const FORMAT: u32 = 1;
/// Most generations a document tells of.
pub const MAX_GENERATIONS: usize = 64;
/// Longest document in bytes.
pub const MAX_EVIDENCE: usize = 8 * 1024 * 1024;

/// The leaf of the configuration that is the certificate of the enclave's CA (DER).
pub const CA_LEAF: &str = "core.ca_cert";

/// `GET /.enclave/v1/evidence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceDocument {
    /// [`FORMAT`].
    pub format: u32,
    /// DER: the leaf, the enclave CA, and what an operator installed above it.
    #[serde(with = "base64::list")]
    pub certificate_chain: Vec<Vec<u8>>,
    /// The quote in the leaf; none in a leaf that was made without one.
    #[serde(with = "base64::option")]
    pub certificate_quote: Option<Vec<u8>>,
    /// The document's own quote; none when the host could not have one made.
    #[serde(with = "base64::option")]
    pub evidence_quote: Option<Vec<u8>>,
    /// What verifies both; none when the host knows none.
    #[serde(deserialize_with = "required")]
    pub collateral: Option<Collateral>,
    /// The configuration: of the enclave, or of the app whose hostname was asked for.
    pub manifest: Manifest,
    /// That [`CA_LEAF`] is under the root of the enclave's tree (`.1.1` of the leaf): the leaf's signature binds
    /// the key of the enclave's CA and nothing else of its certificate.
    pub ca_proof: Proof,
    /// What the configuration has been since the enclave started, oldest first.
    pub generations: Vec<Generation>,
    /// When the enclave made the document, by its clock, which the host sets.
    #[serde(with = "moment")]
    pub issued: OffsetDateTime,
    /// Interoperable evidence, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interop: Option<Interop>,
}

/// A time in which the configuration did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Counts from the enclave's start.
    pub generation: u64,
    /// Root of the configuration tree in it.
    #[serde(with = "crate::hex::bytes_32")]
    pub configuration_root: Hash,
    /// When it began.
    #[serde(with = "moment")]
    pub since: OffsetDateTime,
    /// What was different from the one before: `app.<name>` or `core`.
    pub changed: Vec<String>,
}

/// Evidence in the form of the CCC/TCG interoperable RA-TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interop {
    /// A quote over SHA-256 of the claims, then zeros.
    #[serde(with = "base64::bytes")]
    pub quote: Vec<u8>,
    /// CBOR.
    #[serde(with = "base64::bytes")]
    pub claims: Vec<u8>,
}

/// Why text is not an evidence document.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Too long.
    #[error("the evidence document is {0} bytes long; it has at most {MAX_EVIDENCE}")]
    TooLong(usize),
    /// Not JSON of this shape, or a manifest that contradicts itself.
    #[error("the evidence document does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// Format number unknown.
    #[error("the evidence document has format {0}; this build reads format {FORMAT}")]
    Format(u32),
    /// No certificate.
    #[error("the evidence document has an empty certificate chain")]
    EmptyChain,
    /// Too many generations, or not in order.
    #[error("the generations of an evidence document are at most {MAX_GENERATIONS}, oldest first")]
    Generations,
}

impl EvidenceDocument {
    /// Reads a document strictly.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn from_json(text: &str) -> Result<Self, EvidenceError> {
        if text.len() > MAX_EVIDENCE {
            return Err(EvidenceError::TooLong(text.len()));
        }
        let document: Self = serde_json::from_str(text)?;
        document.check()?;
        Ok(document)
    }

    /// The document.
    ///
    /// # Errors
    /// [`EvidenceError`] for a document that could not be read again.
    pub fn to_json(&self) -> Result<String, EvidenceError> {
        self.check()?;
        Ok(serde_json::to_string(self)?)
    }

    fn check(&self) -> Result<(), EvidenceError> {
        if self.format != FORMAT {
            return Err(EvidenceError::Format(self.format));
        }
        if self.certificate_chain.is_empty() {
            return Err(EvidenceError::EmptyChain);
        }
        let ordered = self.generations.is_sorted_by(|a, b| a.generation < b.generation);
        if self.generations.len() > MAX_GENERATIONS || !ordered {
            return Err(EvidenceError::Generations);
        }
        Ok(())
    }
}

/// A member that may be `null` but not absent.
fn required<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(d)
}

/// For `#[serde(with)]`: [`crate::instant`].
mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use time::OffsetDateTime;

    use crate::instant;

    pub(super) fn serialize<S: Serializer>(at: &OffsetDateTime, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&instant::format(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<OffsetDateTime, D::Error> {
        instant::parse(&String::deserialize(d)?)
            .ok_or_else(|| D::Error::custom("a moment is written like 2026-11-21T17:00:00Z"))
    }
}
