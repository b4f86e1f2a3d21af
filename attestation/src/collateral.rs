//! What it takes, besides the quote itself, to verify a quote: certificate revocation lists, TCB info, QE
//! identity and the chains that sign them.
//!
//! The host fetches it from Intel or makes it with the development PKI; the enclave passes it on unread;
//! verifiers trust nothing in it but what leads to an accepted root. Format: `docs/formats/quotes.md`.

use serde::{Deserialize, Serialize};

/// Longest document in bytes.
pub const MAX_COLLATERAL: usize = 64 * 1024;

/// The collateral of one quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// PEM, the PCK CA first, the root last.
    pub pck_crl_issuer_chain: String,
    /// CRL of the root, DER.
    #[serde(with = "crate::hex::bytes")]
    pub root_ca_crl: Vec<u8>,
    /// CRL of the PCK CA, DER.
    #[serde(with = "crate::hex::bytes")]
    pub pck_crl: Vec<u8>,
    /// PEM, the TCB signing certificate first, the root last.
    pub tcb_info_issuer_chain: String,
    /// TCB info, the exact JSON text that is signed.
    pub tcb_info: String,
    /// `r ‖ s` over it.
    #[serde(with = "crate::hex::bytes")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM, the TCB signing certificate first, the root last.
    pub qe_identity_issuer_chain: String,
    /// QE identity, the exact JSON text that is signed.
    pub qe_identity: String,
    /// `r ‖ s` over it.
    #[serde(with = "crate::hex::bytes")]
    pub qe_identity_signature: Vec<u8>,
}

/// Why text is not a collateral document.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// Too long.
    #[error("the collateral is {0} bytes long; it has at most {MAX_COLLATERAL}")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("the collateral does not parse: {0}")]
    Json(#[from] serde_json::Error),
}

impl Collateral {
    /// Reads a document; unknown and missing members are errors.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn from_json(text: &str) -> Result<Self, CollateralError> {
        if text.len() > MAX_COLLATERAL {
            return Err(CollateralError::TooLong(text.len()));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The document.
    ///
    /// # Errors
    /// [`CollateralError::Json`], which does not happen.
    pub fn to_json(&self) -> Result<String, CollateralError> {
        Ok(serde_json::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

    use super::*;

    const GENUINE: &str = include_str!("../tests/data/sgx_quote_collateral.json");

    #[test]
    fn genuine_collateral_survives_a_round_trip() {
        let collateral = Collateral::from_json(GENUINE).unwrap();
        assert_eq!(collateral.tcb_info_signature.len(), 64);
        assert_eq!(Collateral::from_json(&collateral.to_json().unwrap()).unwrap(), collateral);
    }

    #[test]
    fn other_shapes_are_refused() {
        let changed = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
            let mut value: serde_json::Value = serde_json::from_str(GENUINE).unwrap();
            change(value.as_object_mut().unwrap());
            Collateral::from_json(&value.to_string())
        };
        assert!(changed(&|_| ()).is_ok());
        assert!(changed(&|all| drop(all.remove("pck_crl"))).is_err());
        assert!(changed(&|all| drop(all.insert("more".to_owned(), 1.into()))).is_err());
        assert!(changed(&|all| drop(all.insert("pck_crl".to_owned(), "AB".into()))).is_err());
        assert!(changed(&|all| drop(all.insert("pck_crl".to_owned(), "abc".into()))).is_err());
        let long = " ".repeat(MAX_COLLATERAL) + GENUINE;
        assert!(matches!(Collateral::from_json(&long), Err(CollateralError::TooLong(_))));
    }
}
