//! A collateral document (docs/formats/quotes.md), so far as a host reads it.

use attestation::collateral::{Collateral, MAX_COLLATERAL};
use attestation::instant;
use attestation::verify::{QuoteError, verify_quote};
use serde::Deserialize;
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// A document of which it is known what it is for and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    collateral: Collateral,
    json: Vec<u8>,
    fmspc: [u8; 6],
    next_update: OffsetDateTime,
}

/// It is no collateral document.
#[derive(Debug, thiserror::Error)]
#[error("it is no collateral document: {0}")]
pub(super) struct DocumentError(pub(super) String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    next_update: String,
    fmspc: Option<String>,
}

impl Document {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, DocumentError> {
        let text = str::from_utf8(json).map_err(|_| bad("it is not UTF-8"))?;
        Self::new(&Collateral::from_json(text).map_err(|error| DocumentError(error.to_string()))?)
    }

    pub(super) fn new(collateral: &Collateral) -> Result<Self, DocumentError> {
        let json = collateral.to_json().map_err(|error| DocumentError(error.to_string()))?.into_bytes();
        if json.len() > MAX_COLLATERAL {
            return Err(bad("it is longer than 64 KiB"));
        }
        let dated = |text: &str| serde_json::from_str::<Dated>(text).ok();
        let tcb_info = dated(&collateral.tcb_info).ok_or(bad("the TCB info is none"))?;
        let qe_identity = dated(&collateral.qe_identity).ok_or(bad("the QE identity is none"))?;
        let fmspc = tcb_info.fmspc.as_deref().and_then(unhex).and_then(|bytes| bytes.try_into().ok());
        let mut ends = Vec::new();
        for text in [&tcb_info.next_update, &qe_identity.next_update] {
            ends.push(instant::parse(text).ok_or(bad("a nextUpdate is no date"))?);
        }
        for crl in [&collateral.root_ca_crl, &collateral.pck_crl] {
            let (_, crl) = CertificateRevocationList::from_der(crl).map_err(|_| bad("a CRL is none"))?;
            ends.extend(crl.next_update().map(|end| end.to_datetime()));
        }
        let next_update = ends.into_iter().min().ok_or(bad("it has no end"))?;
        Ok(Self {
            collateral: collateral.clone(),
            json,
            fmspc: fmspc.ok_or(bad("the TCB info has no FMSPC"))?,
            next_update,
        })
    }

    /// Whether it verifies that quote. One that says that the platform is revoked is as genuine as others.
    pub(super) fn check(&self, quote: &[u8], root_der: &[u8], now: OffsetDateTime) -> Result<(), QuoteError> {
        match verify_quote(quote, root_der, &self.collateral, now) {
            Err(error) if !error.is_revocation() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    pub(super) fn fmspc(&self) -> [u8; 6] {
        self.fmspc
    }

    /// When the first of its parts runs out.
    pub(super) fn next_update(&self) -> OffsetDateTime {
        self.next_update
    }
}

fn bad(what: &str) -> DocumentError {
    DocumentError(what.to_owned())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits of either case: Intel's services write both.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
