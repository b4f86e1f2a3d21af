//! Verification of a quote: from its signature up to a root, at a moment (`dcap-qvl`), and what that library
//! leaves open: that nothing in quote or collateral is without a signature over it.

use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::crypto::Graviola;
use super::pem;
use crate::collateral::Collateral;
use crate::quote::{Body, ParseError, Quote};
use crate::{hex, instant};

/// What a verified quote says of its platform. Only [`verify_quote`] makes one.
///
/// It says that the platform is genuine, not that it is in a good state or that the enclave is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedQuote {
    /// TCB status of platform and quoting enclave together, by Intel's name. Never `Revoked`.
    pub status: String,
    /// Advisories of the matched TCB levels.
    pub advisories: Vec<String>,
    /// Kind of platform, of the PCK certificate.
    pub fmspc: [u8; 6],
    /// Which platform, of the PCK certificate.
    pub ppid: Vec<u8>,
    /// SHA-256 of the root certificate (DER).
    pub root: [u8; 32],
}

/// Why a quote does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// It is none.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The certificates in it are not a strict PEM chain of PCK, PCK CA and root.
    #[error("the PCK certificate chain in the quote is not three certificates in PEM")]
    PckChain,
    /// It leads to another root.
    #[error("the quote leads to another root than the one it is verified under")]
    Root,
    /// A chain of the collateral is malformed or leads elsewhere.
    #[error(
        "`{0}` of the collateral is not the PEM of its signer and of the root: fetch the collateral of this quote anew"
    )]
    IssuerChain(&'static str),
    /// A raw signature of the collateral.
    #[error("`{0}` of the collateral is not 64 bytes long: fetch the collateral anew")]
    SignatureLength(&'static str),
    /// Beyond what can be computed with.
    #[error("the time to verify at is before 1970")]
    Time,
    /// A signature, a certificate, a CRL or a validity does not hold.
    #[error("{reason} (at {at}){hint}")]
    Verification {
        /// What did not hold.
        reason: String,
        /// When.
        at: String,
        /// What to do about it.
        hint: &'static str,
    },
}

impl QuoteError {
    /// Whether genuine collateral says that the platform is no longer trusted: everything was signed as it should
    /// be, and a certificate or the TCB level is revoked.
    pub fn is_revocation(&self) -> bool {
        matches!(self, QuoteError::Verification { reason, .. } if is_revocation(reason))
    }
}

/// In the library's words: `CertRevoked` of a certificate, `Revoked` of a TCB level.
fn is_revocation(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("revoked")
}

/// A quote's PCK certificate chain: PCK, PCK CA, root.
pub(super) struct PckChain([Vec<u8>; 3]);

impl PckChain {
    pub(super) fn of(quote: &Quote<'_>) -> Result<Self, QuoteError> {
        pem::certificates(quote.signature.pck_chain_pem).map(PckChain).ok_or(QuoteError::PckChain)
    }

    pub(super) fn root(&self) -> &[u8] {
        let [_, _, root] = &self.0;
        root
    }

    pub(super) fn root_fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.root()).into()
    }
}

/// Verifies an SGX or TDX quote under the root `root_der`, at `now`: signatures, certificates, CRLs and validity
/// of everything, the quoting enclave's identity, and that the platform's TCB level is known and not revoked.
///
/// This judges neither the TCB status nor whom the quote is about: [`super::Verifier`] does, for SGX. A TDX
/// quote of a trust domain under debugging is refused here.
///
/// # Errors
/// [`QuoteError`].
pub fn verify_quote(
    bytes: &[u8],
    root_der: &[u8],
    collateral: &Collateral,
    now: OffsetDateTime,
) -> Result<VerifiedQuote, QuoteError> {
    let quote = Quote::parse(bytes)?;
    let chain = PckChain::of(&quote)?;
    if chain.root() != root_der {
        return Err(QuoteError::Root);
    }
    check_collateral(collateral, &chain)?;
    let refused =
        |reason: String| QuoteError::Verification { hint: hint(&reason), reason, at: instant::format(now) };
    check_lists_begun(collateral, now).map_err(refused)?;
    let seconds = u64::try_from(now.unix_timestamp()).map_err(|_| QuoteError::Time)?;
    // Whether an SGX enclave may be a debug enclave is the policy's to say.
    let sgx = matches!(quote.body, Body::Sgx(_));
    let claims = QuoteVerifier::<Graviola>::new_with_config(root_der.to_vec())
        .allow_debug(sgx)
        .verify_with_policy(bytes, in_library_form(collateral), seconds, &QuotePolicy::claims_only(seconds))
        .map_err(|error| refused(format!("{error:#}")))?;
    if !names_pce(&collateral.tcb_info, &claims.platform.pck.pce_id) {
        return Err(refused("TCB info is of another provisioning enclave (PCEID)".to_owned()));
    }
    Ok(VerifiedQuote {
        status: claims.tcb.status.to_string(),
        advisories: claims.tcb.advisory_ids,
        fmspc: claims.platform.pck.fmspc,
        ppid: claims.platform.pck.ppid,
        root: chain.root_fingerprint(),
    })
}

/// The library takes the issuer chains' leaves only: what is above them, and the whole chain beside the PCK's
/// CRL, must be the certificates that it does verify.
fn check_collateral(collateral: &Collateral, chain: &PckChain) -> Result<(), QuoteError> {
    let PckChain([_, pck_ca, root]) = chain;
    for (name, text, signer) in [
        ("pck_crl_issuer_chain", &collateral.pck_crl_issuer_chain, Some(pck_ca)),
        ("tcb_info_issuer_chain", &collateral.tcb_info_issuer_chain, None),
        ("qe_identity_issuer_chain", &collateral.qe_identity_issuer_chain, None),
    ] {
        let fits = pem::certificates::<2>(text.as_bytes())
            .is_some_and(|[first, last]| last == *root && signer.is_none_or(|signer| first == *signer));
        if !fits {
            return Err(QuoteError::IssuerChain(name));
        }
    }
    for (name, signature) in [
        ("tcb_info_signature", &collateral.tcb_info_signature),
        ("qe_identity_signature", &collateral.qe_identity_signature),
    ] {
        if signature.len() != 64 {
            return Err(QuoteError::SignatureLength(name));
        }
    }
    Ok(())
}

/// Neither list of revocations is of the future (RFC 5280 §5.1.2.4). The library looks at their ends only.
fn check_lists_begun(collateral: &Collateral, now: OffsetDateTime) -> Result<(), String> {
    for (whose, der) in [("root", &collateral.root_ca_crl), ("PCK CA", &collateral.pck_crl)] {
        // What does not parse is the library's to refuse.
        if let Ok((_, list)) = CertificateRevocationList::from_der(der)
            && now < list.last_update().to_datetime()
        {
            return Err(format!("the CRL of the {whose} is not valid yet"));
        }
    }
    Ok(())
}

/// Whether TCB info is about platforms with this PCEID.
fn names_pce(tcb_info: &str, pce_id: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OfPce {
        pce_id: String,
    }
    serde_json::from_str::<OfPce>(tcb_info)
        .is_ok_and(|info| info.pce_id.eq_ignore_ascii_case(&hex::encode(pce_id)))
}

fn in_library_form(collateral: &Collateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
        root_ca_crl: collateral.root_ca_crl.clone(),
        pck_crl: collateral.pck_crl.clone(),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: collateral.tcb_info_signature.clone(),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: collateral.qe_identity_signature.clone(),
        pck_certificate_chain: None,
    }
}

/// What the library's words mean for whoever has to act.
fn hint(reason: &str) -> &'static str {
    let said = reason.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if said.contains("certrevoked") {
        "; a certificate of the platform, or of who signed its collateral, was revoked, so nothing it signs is worth anything: fetch the collateral anew, and if it stays so, move the enclave to another machine"
    } else if is_revocation(reason) {
        "; Intel no longer trusts platforms at this TCB level: update firmware and microcode and register the platform anew, or move the enclave to another machine"
    } else if any(&["expired", "not valid yet", "notvalidyet", "in the future"]) {
        "; fetch the collateral anew, or mend the clock"
    } else if any(&["no matching tcb level", "below minimum", "fmspc", "pceid"]) {
        "; the collateral is of another kind of platform, or the platform is older than anything still appraised: update its firmware"
    } else if any(&["crl"]) {
        "; the collateral has to have the CRLs of the root and of the PCK CA"
    } else {
        ""
    }
}
