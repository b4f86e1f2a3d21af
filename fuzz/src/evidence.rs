//! What verifiers and the enclave's start read.

use attestation::{
    collateral::Collateral,
    evidence::EvidenceDocument,
    image_policy::ImagePolicy,
    leaf_certificate::LeafCertificate,
    manifest::{Manifest, Proof},
    policy::VerificationPolicy,
    quote::Quote,
};

/// A page has one encoding.
pub(crate) fn policy_page(input: &[u8]) {
    if let Ok(policy) = ImagePolicy::from_page(input) {
        let page = policy.to_page();
        assert!(input.is_empty() || page.is_ok_and(|page| page == input));
    }
}

/// Every leaf of an accepted manifest can be proved against its root, and survives its JSON.
pub(crate) fn manifest(input: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(input) else { return };
    let root = manifest.root();
    for leaf in manifest.leaves() {
        let proof = manifest.proof(leaf.name());
        assert!(proof.is_some_and(|proof| proof.verify(&root).is_ok()), "{}", leaf.name());
    }
    let text = serde_json::to_vec(&manifest).unwrap_or_default();
    assert!(serde_json::from_slice::<Manifest>(&text).is_ok_and(|again| again.root() == root));
}

/// A proof holds for the root it claims, and for no other.
pub(crate) fn inclusion_proof(input: &[u8]) {
    let Ok(proof) = serde_json::from_slice::<Proof>(input) else { return };
    let root = proof.claimed_root();
    let mut other = root;
    if let Some(first) = other.first_mut() {
        *first ^= 1;
    }
    assert!(proof.verify(&other).is_err());
}

pub(crate) fn leaf_certificate(input: &[u8]) {
    if let Ok(leaf) = LeafCertificate::from_der(input) {
        assert!(!leaf.spki_der.is_empty());
    }
}

/// Every byte of an accepted quote belongs to a part of it: with one more it is none, or one that is padded.
pub(crate) fn quote(input: &[u8]) {
    let Ok(quote) = Quote::parse(input) else { return };
    assert!(input.starts_with(quote.signed));
    let parts = 64 + 64 + 384 + 64 + quote.signature.qe_authentication_data.len();
    assert!(quote.signed.len() + parts + quote.signature.pck_chain_pem.len() < input.len());
    let mut more = input.to_vec();
    more.push(1);
    assert!(Quote::parse(&more).is_err());
}

/// Survives its JSON.
pub(crate) fn collateral(input: &[u8]) {
    let Some(collateral) = text(input).and_then(|text| Collateral::from_json(text).ok()) else { return };
    let again = collateral.to_json().ok().and_then(|text| Collateral::from_json(&text).ok());
    assert!(again.is_some_and(|again| again == collateral));
}

/// Survives its JSON.
pub(crate) fn evidence_document(input: &[u8]) {
    let Some(document) = text(input).and_then(|text| EvidenceDocument::from_json(text).ok()) else { return };
    let again = document.to_json().ok().and_then(|text| EvidenceDocument::from_json(&text).ok());
    assert!(again.is_some_and(|again| again == document));
}

/// An accepted policy accepts something, and survives its file.
pub(crate) fn verification_policy(input: &[u8]) {
    let Some(policy) = text(input).and_then(|text| VerificationPolicy::from_toml(text).ok()) else { return };
    assert!(policy.enclave.mrenclave.is_some() || policy.enclave.signer.is_some());
    assert!(!policy.tcb.statuses.is_empty());
    let again = policy.to_toml().ok().and_then(|text| VerificationPolicy::from_toml(&text).ok());
    assert!(again.is_some_and(|again| again == policy));
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
