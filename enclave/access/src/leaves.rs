//! What the manifest says of the enclave itself, apart from its CA.

use attestation::manifest::{Leaf, LeafError};
use enclave_platform::Kind;
use serde_json::json;

use crate::Policy;

/// `core.operator_policy`: who may look after the enclave.
///
/// # Errors
/// [`LeafError`]; not for a policy that was parsed.
pub fn operator_policy(policy: &Policy) -> Result<Leaf, LeafError> {
    let page = policy.page();
    Leaf::json(
        "core.operator_policy",
        &json!({
            "development": page.development,
            "operators": page.operators,
            "served_names": page.served_names,
            "tokens": "not-accepted",
        }),
    )
}

/// `core.code_policy`: whose code may run.
///
/// # Errors
/// [`LeafError`]; not for a policy that was parsed.
pub fn code_policy(policy: &Policy) -> Result<Leaf, LeafError> {
    let page = policy.page();
    let loaders = if page.development { "anyone" } else { "nobody" };
    Leaf::json(
        "core.code_policy",
        &json!({
            "native_artifacts": loaders,
            "webassembly": "refused",
            "code_signing": page.code_signing,
        }),
    )
}

/// `egress.ca_bundle`: whom outgoing connections trust.
///
/// The value is the PEM text of the policy, or the words `mozilla` where the built-in roots apply.
///
/// # Errors
/// [`LeafError`]; not for a policy that was parsed.
pub fn egress_ca_bundle(policy: &Policy) -> Result<Leaf, LeafError> {
    match policy.egress_ca_pem() {
        Some(pem) => Leaf::raw("egress.ca_bundle", pem),
        None => Leaf::raw("egress.ca_bundle", "mozilla"),
    }
}

/// `core.platform`: what CPU stands behind the enclave, and whether code pages can be written while they run.
///
/// # Errors
/// [`LeafError`]; never for these values.
pub fn platform(kind: Kind, code_pages: &str) -> Result<Leaf, LeafError> {
    Leaf::json("core.platform", &json!({ "kind": kind.name(), "code_pages": code_pages }))
}

/// `core.version`: what this build is and what it runs.
///
/// # Errors
/// [`LeafError`]; never for plain strings.
pub fn version(enclave_os: &str, engine: &str) -> Result<Leaf, LeafError> {
    Leaf::json("core.version", &json!({ "enclave_os": enclave_os, "engine": engine }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attestation::image_policy::ImagePolicy;
    use attestation::manifest::LeafValue;

    fn policy(policy: ImagePolicy) -> Policy {
        Policy::from_page(&policy.to_page().unwrap()).unwrap()
    }

    #[test]
    fn whatever_the_policy_changes_shows_in_a_leaf() {
        let closed = policy(ImagePolicy::default());
        let open = policy(ImagePolicy { development: true, ..Default::default() });
        let named = policy(ImagePolicy { served_names: vec!["a".into()], ..Default::default() });
        for other in [&open, &named] {
            assert_ne!(
                operator_policy(&closed).unwrap().value_hash(),
                operator_policy(other).unwrap().value_hash()
            );
        }
        let LeafValue::Json(code) = code_policy(&open).unwrap().value().clone() else { panic!("JSON") };
        assert_eq!(code["native_artifacts"], "anyone");
        let LeafValue::Json(code) = code_policy(&closed).unwrap().value().clone() else { panic!("JSON") };
        assert_eq!(code["native_artifacts"], "nobody");
        assert_eq!(egress_ca_bundle(&closed).unwrap().value(), &LeafValue::Raw(b"mozilla".to_vec()));
        assert_ne!(
            platform(Kind::Native, "write-xor-execute").unwrap().value_hash(),
            platform(Kind::Sgx, "write-xor-execute").unwrap().value_hash()
        );
    }
}
