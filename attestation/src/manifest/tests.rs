use super::*;
use serde_json::json;

fn example() -> Manifest {
    Manifest::new(vec![
        Leaf::raw("core.ca_key", b"spki".to_vec()).unwrap(),
        Leaf::json("app.notes.limits", &json!({"memory_bytes": 67108864, "fuel": 10000000})).unwrap(),
        Leaf::raw("app.notes.code_hash", [7; 32]).unwrap(),
        Leaf::salted("app.notes.secrets", &[9; 32], &json!({"TOKEN": "hunter2"})).unwrap(),
        Leaf::json("core.version", &json!(null)).unwrap(),
    ])
    .unwrap()
}

#[test]
fn known_answer() {
    // Computed by an independent program (docs/formats/certificates.md shows it).
    assert_eq!(
        crate::hex::encode(&example().root()),
        "6bb5e737920803c8080644e533df03cf5807327e54de4e0f9f3ac81f5feda17e"
    );
    let app = example().of_app("notes").unwrap();
    assert_eq!(
        crate::hex::encode(&app.root()),
        "eb3dcaa2063ff4017247abec65981a849c6f6f8e64368c7516de3f647e57cec6"
    );
    assert_eq!(app.leaves().iter().map(Leaf::name).collect::<Vec<_>>(), ["code_hash", "limits", "secrets"]);
}

#[test]
fn survives_writing_and_reading() {
    let manifest = example();
    let text = serde_json::to_string(&manifest).unwrap();
    assert!(!text.contains("hunter2"), "a withheld value is nowhere in the manifest");
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    for leaf in manifest.leaves() {
        let proof = manifest.proof(leaf.name()).unwrap();
        let read: Proof = serde_json::from_str(&serde_json::to_string(&proof).unwrap()).unwrap();
        assert_eq!(read, proof);
        read.verify(&manifest.root()).unwrap();
        assert_eq!(read.verify(&[0; 32]), Err(ProofError));
    }
    assert_eq!(manifest.proof("core.nothing"), None);
}

#[test]
fn a_changed_manifest_is_refused() {
    let good = serde_json::to_value(example()).unwrap();
    let mut value = good.clone();
    value["leaves"][1]["json"]["fuel"] = json!(1);
    let error = serde_json::from_value::<Manifest>(value).unwrap_err().to_string();
    assert!(error.contains("app.notes.limits"), "{error}");
    let mut value = good.clone();
    value["leaves"].as_array_mut().unwrap().swap(0, 1);
    assert!(serde_json::from_value::<Manifest>(value).unwrap_err().to_string().contains("out of order"));
    let mut value = good.clone();
    value["leaves"].as_array_mut().unwrap().pop();
    assert!(serde_json::from_value::<Manifest>(value).unwrap_err().to_string().contains("root"));
    let mut value = good.clone();
    let again = value["leaves"][0].clone();
    value["leaves"].as_array_mut().unwrap().insert(0, again);
    assert!(serde_json::from_value::<Manifest>(value).unwrap_err().to_string().contains("two leaves"));
    for (key, bad) in [("version", json!(2)), ("more", json!(1))] {
        let mut value = good.clone();
        value[key] = bad;
        assert!(serde_json::from_value::<Manifest>(value).is_err(), "{key}");
    }
}

#[test]
fn a_proof_of_another_value_is_refused() {
    let manifest = example();
    let mut value = serde_json::to_value(manifest.proof("app.notes.limits").unwrap()).unwrap();
    value["leaf"]["json"]["fuel"] = json!(1);
    assert!(serde_json::from_value::<Proof>(value.clone()).is_err());
    value["leaf"].as_object_mut().unwrap().remove("json");
    value["leaf"]["value_hash"] = json!("00".repeat(32));
    let forged: Proof = serde_json::from_value(value).unwrap();
    assert_eq!(forged.verify(&manifest.root()), Err(ProofError));
}

#[test]
fn order_of_members_and_of_leaves_does_not_matter() {
    let reordered = Leaf::json("a", &json!({"b": [1, 2.5], "a": "x"})).unwrap();
    let text: Value = serde_json::from_str(r#"{ "a" : "x", "b" : [1.0, 2.50] }"#).unwrap();
    assert_eq!(Leaf::json("a", &text).unwrap().value_hash(), reordered.value_hash());
    let mut leaves = example().leaves().to_vec();
    leaves.reverse();
    assert_eq!(Manifest::new(leaves).unwrap().root(), example().root());
}

#[test]
fn numbers_that_canonical_json_would_round_are_refused() {
    for exact in [json!(MAX_EXACT), json!(-(MAX_EXACT as i64)), json!(0.1)] {
        Leaf::json("n", &exact).unwrap();
    }
    for inexact in [json!(MAX_EXACT + 2), json!(u64::MAX), json!(i64::MIN), json!([{"a": u64::MAX}])] {
        assert!(matches!(Leaf::json("n", &inexact), Err(LeafError::InexactNumber(_))), "{inexact}");
    }
}

#[test]
fn names_are_bounded_and_printable() {
    for bad in ["", "a b", "a\n", "é", &"x".repeat(MAX_NAME + 1)] {
        assert!(matches!(Leaf::raw(bad, []), Err(LeafError::Name(_))), "{bad:?}");
    }
    let twice = vec![Leaf::raw("a", [1]).unwrap(), Leaf::raw("a", [2]).unwrap()];
    assert!(matches!(Manifest::new(twice), Err(ManifestError::Duplicate(name)) if name == "a"));
}

#[test]
fn salts_hide_equal_values() {
    let leaf = |salt| Leaf::salted("s", &[salt; 32], &json!("guess")).unwrap();
    assert_ne!(leaf(1).value_hash(), leaf(2).value_hash());
    assert_eq!(leaf(1).value_hash(), &salted_hash(&[1; 32], &json!("guess")).unwrap());
    assert_eq!(leaf(1).value(), &LeafValue::Withheld);
}
