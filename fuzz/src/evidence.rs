//! What verifiers and the enclave's start read.

use attestation::{
    image_policy::ImagePolicy,
    leaf_certificate::LeafCertificate,
    manifest::{Manifest, Proof},
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
