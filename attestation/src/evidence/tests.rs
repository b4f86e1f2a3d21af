#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use serde_json::{Map, Value, json};

use super::*;
use crate::manifest::Leaf;

fn document() -> EvidenceDocument {
    let at = OffsetDateTime::from_unix_timestamp(1_795_180_440).unwrap();
    let leaves = vec![Leaf::raw("core.ca_key", [1, 2]).unwrap(), Leaf::raw(CA_LEAF, [0x31]).unwrap()];
    let manifest = Manifest::new(leaves).unwrap();
    let generation = |generation| Generation {
        generation,
        configuration_root: manifest.root(),
        since: at,
        changed: vec!["core".to_owned()],
    };
    EvidenceDocument {
        format: FORMAT,
        certificate_chain: vec![vec![0x30], vec![0x31]],
        certificate_quote: Some(vec![3]),
        evidence_quote: None,
        collateral: None,
        generations: vec![generation(1), generation(3)],
        ca_proof: manifest.proof(CA_LEAF).unwrap(),
        manifest,
        issued: at,
        interop: None,
    }
}

fn changed(change: impl Fn(&mut Map<String, Value>)) -> Result<EvidenceDocument, EvidenceError> {
    let mut value = serde_json::to_value(document()).unwrap();
    change(value.as_object_mut().unwrap());
    EvidenceDocument::from_json(&value.to_string())
}

#[test]
fn a_document_survives_a_round_trip() {
    let mut document = document();
    let text = document.to_json().unwrap();
    assert!(text.contains(r#""certificate_chain":["MA==","MQ=="]"#), "{text}");
    assert!(text.contains(r#""evidence_quote":null,"collateral":null"#), "{text}");
    assert_eq!(EvidenceDocument::from_json(&text).unwrap(), document);
    document.interop = Some(Interop { quote: vec![1], claims: vec![2] });
    assert_eq!(EvidenceDocument::from_json(&document.to_json().unwrap()).unwrap(), document);
}

#[test]
fn other_shapes_are_refused() {
    assert!(changed(|_| ()).is_ok());
    for absent in
        ["certificate_quote", "evidence_quote", "collateral", "manifest", "ca_proof", "generations", "issued"]
    {
        let error = changed(|all| drop(all.remove(absent))).unwrap_err();
        assert!(matches!(error, EvidenceError::Json(_)), "{absent}: {error}");
    }
    let refused = |member: &str, value: Value| {
        changed(|all| drop(all.insert(member.to_owned(), value.clone()))).unwrap_err()
    };
    assert!(matches!(refused("format", json!(2)), EvidenceError::Format(2)));
    assert!(matches!(refused("certificate_chain", json!([])), EvidenceError::EmptyChain));
    assert!(matches!(refused("unknown", json!(1)), EvidenceError::Json(_)));
    assert!(matches!(refused("evidence_quote", json!("AA")), EvidenceError::Json(_)));
    assert!(matches!(refused("issued", json!("2026-11-21T17:00:00+00:00")), EvidenceError::Json(_)));
    let generation = json!({"generation": 1, "configuration_root": "00".repeat(32),
        "since": "2026-11-21T17:00:00Z", "changed": []});
    let twice = json!([generation, generation]);
    assert!(matches!(refused("generations", twice), EvidenceError::Generations));
    let manifest = json!({"version": 1, "root": "00".repeat(32), "leaves": []});
    assert!(matches!(refused("manifest", manifest), EvidenceError::Json(_)));
}
