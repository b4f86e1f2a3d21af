//! Conformance vectors: what verifiers in all languages are given, and what they have to answer
//! (`docs/formats/vectors.md`).

use std::collections::BTreeMap;

use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::collateral::Collateral;
use crate::evidence::EvidenceDocument;
use crate::manifest::{Manifest, Proof};
use crate::policy::VerificationPolicy;
use crate::verify::{CertificateDer, Disclosed, Presented, Verdict, Verifier};
use crate::{hex, instant};

/// The format that is read and written.
pub const FORMAT: u32 = 1;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// [`FORMAT`].
    pub format: u32,
    /// Collateral that several vectors share, by name.
    pub collaterals: BTreeMap<String, Value>,
    /// The vectors.
    pub vectors: Vec<Vector>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Unique.
    pub name: String,
    /// What it is about, in a sentence.
    pub what: String,
    /// What the verifier is given.
    pub input: Input,
    /// What it has to answer.
    pub expect: Expect,
}

/// What a verifier is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What is presented.
    pub tier: Kind,
    /// TOML.
    pub policy: String,
    /// The moment of judgement.
    pub now: String,
    /// DER in base64, leaf first; none for an evidence document and a quote alone.
    pub chain: Option<Vec<String>>,
    /// What was asked for.
    pub server_name: Option<String>,
    /// base64url.
    pub nonce: Option<String>,
    /// Hexadecimal.
    pub exporter: Option<String>,
    /// The answer of `attest`, base64.
    pub attest_quote: Option<String>,
    /// A quote alone, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// A collateral document.
    pub collateral: Option<Value>,
    /// Or the name of one in [`File::collaterals`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral_ref: Option<String>,
    /// A manifest, for required leaves.
    pub manifest: Option<Value>,
    /// Or proofs of single leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofs: Option<Vec<Value>>,
    /// An evidence document.
    pub evidence: Option<Value>,
}

/// What is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the kinds of Presented")]
pub enum Kind {
    Certificate,
    Challenge,
    Channel,
    Evidence,
    Quote,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Whether the policy holds.
    pub accepted: bool,
    /// The checks that fail, in order; absent where none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// A vector that cannot be given to a verifier.
#[derive(Debug, thiserror::Error)]
#[error("vector {vector}: {member} is missing or malformed")]
pub struct VectorError {
    vector: String,
    member: &'static str,
}

impl File {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not JSON of this shape.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What the verifier of this crate answers.
    ///
    /// # Errors
    /// [`VectorError`] for a vector that is malformed where it should not be.
    pub fn judge(&self, vector: &Vector) -> Result<Verdict, VectorError> {
        self.judge_by(vector, Verifier::new)
    }

    pub(crate) fn judge_by(
        &self,
        vector: &Vector,
        verifier: impl FnOnce(VerificationPolicy) -> Verifier,
    ) -> Result<Verdict, VectorError> {
        let input = &vector.input;
        let bad = |member| VectorError { vector: vector.name.clone(), member };
        let verifier = match VerificationPolicy::from_toml(&input.policy) {
            Ok(policy) => verifier(policy),
            Err(error) => return Ok(Verdict::of_bad_policy(&error)),
        };
        let document = match &input.evidence {
            Some(document) => match EvidenceDocument::from_json(&document.to_string()) {
                Ok(document) => Some(document),
                Err(error) => return Ok(Verdict::of_bad_evidence(&error)),
            },
            None => None,
        };
        let now = instant::parse(&input.now).ok_or_else(|| bad("now"))?;
        let shared = input
            .collateral_ref
            .as_ref()
            .map(|name| self.collaterals.get(name).ok_or_else(|| bad("collateral_ref")));
        let collateral = shared.transpose()?.or(input.collateral.as_ref());
        let collateral = collateral
            .map(|value| Collateral::from_json(&value.to_string()).map_err(|_| bad("collateral")))
            .transpose()?;
        let manifest = input
            .manifest
            .as_ref()
            .map(|value| serde_json::from_value::<Manifest>(value.clone()).map_err(|_| bad("manifest")))
            .transpose()?;
        let proofs: Vec<Proof> = input
            .proofs
            .iter()
            .flatten()
            .map(|value| serde_json::from_value(value.clone()).map_err(|_| bad("proofs")))
            .collect::<Result<_, _>>()?;
        let disclosed = Disclosed { manifest: manifest.as_ref(), proofs: &proofs };
        let base64 = |text: &String| BASE64.decode(text).ok();
        let chain: Option<Vec<CertificateDer<'_>>> = input
            .chain
            .as_ref()
            .map(|chain| {
                chain
                    .iter()
                    .map(|der| base64(der).map(CertificateDer::from).ok_or_else(|| bad("chain")))
                    .collect()
            })
            .transpose()?;
        let chain = chain.as_deref().ok_or_else(|| bad("chain"));
        let nonce = || {
            let nonce = input.nonce.as_ref().and_then(|text| BASE64_URL.decode(text).ok());
            nonce.and_then(|nonce| <[u8; 32]>::try_from(nonce).ok()).ok_or_else(|| bad("nonce"))
        };
        let server_name = input.server_name.as_deref();
        let presented_at =
            |presented: Presented<'_>| verifier.judge(&presented, collateral.as_ref(), disclosed, now);
        Ok(match input.tier {
            Kind::Certificate => presented_at(Presented::Certificate { chain: chain?, server_name }),
            Kind::Challenge => {
                presented_at(Presented::Challenge { chain: chain?, server_name, nonce: &nonce()? })
            }
            Kind::Channel => {
                let exporter = input.exporter.as_deref().and_then(hex::decode_array);
                let exporter = &exporter.ok_or_else(|| bad("exporter"))?;
                let quote = input.attest_quote.as_ref().and_then(base64);
                let quote = &quote.ok_or_else(|| bad("attest_quote"))?;
                presented_at(Presented::Channel {
                    chain: chain?,
                    server_name,
                    nonce: &nonce()?,
                    exporter,
                    quote,
                })
            }
            Kind::Evidence => presented_at(Presented::Evidence(&document.ok_or_else(|| bad("evidence"))?)),
            Kind::Quote => {
                let quote = input.quote.as_ref().and_then(base64);
                presented_at(Presented::Quote(&quote.ok_or_else(|| bad("quote"))?))
            }
        })
    }
}
