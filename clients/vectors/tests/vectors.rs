//! The verifier of this workspace answers every vector: those that are committed, and fresh ones.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::collections::{BTreeMap, BTreeSet};

use attestation::vectors::File;
use attestation::verify::CheckId;

fn committed() -> File {
    File::from_json(include_str!("../vectors.json")).unwrap()
}

fn answer_all(file: &File) {
    let mut wrong = Vec::new();
    for vector in &file.vectors {
        let verdict = file.judge(vector).unwrap();
        let failed: Vec<_> = verdict.failed().map(|check| check.check.name()).collect();
        if verdict.accepted() != vector.expect.accepted || failed != vector.expect.failed {
            wrong
                .push(format!("{}: {failed:?}, expected {:?}\n{verdict}", vector.name, vector.expect.failed));
        }
        for check in verdict.checks() {
            assert_eq!(check.passed, check.message.is_none(), "{}: {}", vector.name, check.check);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_committed_vectors_are_answered() {
    answer_all(&committed());
}

#[test]
fn fresh_vectors_are_answered() {
    let fresh = attestation_vectors::generate().unwrap();
    answer_all(&fresh);
    let names = |file: &File| file.vectors.iter().map(|vector| vector.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&fresh), names(&committed()), "make the committed file anew");
}

#[test]
fn there_are_enough_of_each() {
    let file = committed();
    let names: BTreeSet<_> = file.vectors.iter().map(|vector| &vector.name).collect();
    assert_eq!(names.len(), file.vectors.len(), "a name occurs twice");
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for check in file.vectors.iter().flat_map(|vector| &vector.expect.failed) {
        *count.entry(check).or_default() += 1;
    }
    for check in CheckId::ALL {
        assert!(count.get(check.name()).is_some_and(|count| *count >= 2), "{check}");
    }
    assert!(file.vectors.iter().filter(|vector| vector.expect.accepted).count() >= 20);
}
