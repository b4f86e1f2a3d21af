//! What the manifest says of the enclave itself, apart from its CA.

use attestation::manifest::{Leaf, LeafError};
use attestation::operator_token::Role;
use enclave_platform::Kind;
use serde_json::json;

use crate::Policy;

/// `core.operator_policy`: who may look after the enclave.
///
/// # Errors
/// [`LeafError`]; not for a policy that was parsed.
pub fn operator_policy(policy: &Policy) -> Result<Leaf, LeafError> {
    let page = policy.page();
    let tokens = match (page.development, policy.has_operators()) {
        (true, _) => "not-asked-for",
        (false, true) => "required",
        (false, false) => "nobody-has-one",
    };
    Leaf::json(
        "core.operator_policy",
        &json!({
            "development": page.development,
            "operators": page.operators,
            "served_names": page.served_names,
            "tokens": tokens,
        }),
    )
}

/// `core.code_policy`: whose code may run.
///
/// # Errors
/// [`LeafError`]; not for a policy that was parsed.
pub fn code_policy(policy: &Policy) -> Result<Leaf, LeafError> {
    let page = policy.page();
    let loaders = match (page.development, policy.has_role(Role::Manager)) {
        (true, _) => "anyone",
        (false, true) => "managers",
        (false, false) => "nobody",
    };
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
    use attestation::image_policy::{self, ImagePolicy, Operator, PublicKey};
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
        for (role, loaders) in
            [(image_policy::Role::Monitoring, "nobody"), (image_policy::Role::Manager, "managers")]
        {
            let key = PublicKey::Ed25519(
                *b"\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\
                \x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
            );
            let operators = vec![Operator { name: "ops".into(), role, key }];
            let operated = policy(ImagePolicy { operators, ..Default::default() });
            let LeafValue::Json(code) = code_policy(&operated).unwrap().value().clone() else {
                panic!("JSON")
            };
            assert_eq!(code["native_artifacts"], loaders);
            let leaf = operator_policy(&operated).unwrap();
            let LeafValue::Json(said) = leaf.value() else { panic!("JSON") };
            assert_eq!((&said["tokens"], &said["development"]), (&"required".into(), &false.into()));
            assert_eq!(said["operators"][0]["name"], "ops");
        }
        let leaf = operator_policy(&open).unwrap();
        let LeafValue::Json(said) = leaf.value() else { panic!("JSON") };
        assert_eq!((&said["tokens"], &said["development"]), (&"not-asked-for".into(), &true.into()));
        assert_eq!(egress_ca_bundle(&closed).unwrap().value(), &LeafValue::Raw(b"mozilla".to_vec()));
        assert_ne!(
            platform(Kind::Native, "write-xor-execute").unwrap().value_hash(),
            platform(Kind::Sgx, "write-xor-execute").unwrap().value_hash()
        );
    }
}
