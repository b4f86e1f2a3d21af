//! The published JSON Schemas say what the code reads and writes.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use attestation::policy::VerificationPolicy;
use attestation::vectors::{File, Vector};
use jsonschema::Validator;
use serde_json::Value;

const VECTORS: &str = include_str!("../vectors.json");

fn schema(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn problems(schema: &Validator, document: &Value) -> Vec<String> {
    schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn vectors() -> Vec<Vector> {
    File::from_json(VECTORS).unwrap().vectors
}

fn fails(vector: &Vector, check: &str) -> bool {
    vector.expect.failed.iter().any(|failed| failed == check)
}

#[test]
fn of_vectors() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let schema = schema(include_str!("../../../docs/schemas/vectors.json"));
    assert_eq!(problems(&schema, &document), Vec::<String>::new());
}

#[test]
fn of_verdicts() {
    let schema = schema(include_str!("../../../docs/schemas/verdict.json"));
    let file = File::from_json(VECTORS).unwrap();
    for vector in &file.vectors {
        let verdict = serde_json::to_value(file.judge(vector).unwrap()).unwrap();
        assert_eq!(problems(&schema, &verdict), Vec::<String>::new(), "{}", vector.name);
    }
}

/// What the schema refuses is what the reader refuses, and what a policy is written as is what the schema says.
#[test]
fn of_policies() {
    let schema = schema(include_str!("../../../docs/schemas/verification-policy.json"));
    for vector in vectors() {
        let document: Value = toml::from_str(&vector.input.policy).unwrap();
        let (problems, refused) = (problems(&schema, &document), fails(&vector, "policy"));
        assert_eq!(problems.is_empty(), !refused, "{}: {problems:?}", vector.name);
        if let Ok(policy) = VerificationPolicy::from_toml(&vector.input.policy) {
            let written: Value = toml::from_str(&policy.to_toml().unwrap()).unwrap();
            assert!(schema.is_valid(&written), "{}", vector.name);
        }
    }
}

#[test]
fn of_evidence() {
    let schema = schema(include_str!("../../../docs/schemas/evidence.json"));
    // Hashes that do not fit are beyond what a schema can say.
    let beyond = ["evidence-other-value", "evidence-other-root", "evidence-ca-proof-other-value"];
    let mut seen = 0;
    for vector in vectors() {
        let Some(document) = &vector.input.evidence else { continue };
        let refused = fails(&vector, "evidence-format") && !beyond.contains(&vector.name.as_str());
        let problems = problems(&schema, document);
        assert_eq!(problems.is_empty(), !refused, "{}: {problems:?}", vector.name);
        seen += 1;
    }
    assert!(seen > 10);
}
