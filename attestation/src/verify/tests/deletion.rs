//! Every check is needed: a verifier without it answers some conformance vector wrongly.

use super::*;
use crate::vectors::{File, Vector};

fn vectors() -> File {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/vectors/vectors.json");
    File::from_json(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What a verifier answers from which that check was deleted.
fn answer(file: &File, vector: &Vector, without: Option<CheckId>) -> (bool, Vec<&'static str>) {
    let verdict = file.judge_by(vector, |policy| Verifier { without, ..Verifier::new(policy) }).unwrap();
    let failed: Vec<_> = verdict.failed().map(|check| check.check).collect();
    // What does not parse is refused before there is a judge.
    if let Some(before) = without
        && failed == [before]
    {
        return (true, Vec::new());
    }
    (verdict.accepted(), failed.into_iter().map(CheckId::name).collect())
}

#[test]
fn a_verifier_without_any_one_check_fails_a_vector() {
    let file = vectors();
    let wrong = |without: Option<CheckId>| {
        // Where a check holds, it makes no difference that it is not made.
        let concerned = |vector: &&Vector| {
            without.is_none_or(|check| vector.expect.failed.iter().any(|failed| failed == check.name()))
        };
        let differs = |vector: &&Vector| {
            let (accepted, failed) = answer(&file, vector, without);
            accepted != vector.expect.accepted || failed != vector.expect.failed
        };
        let noticed = file.vectors.iter().filter(concerned).filter(differs);
        noticed.map(|vector| vector.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(wrong(None), Vec::<String>::new(), "with every check");
    for check in CheckId::ALL {
        let noticed = wrong(Some(check));
        println!(
            "without {check}: {} vectors notice, {}",
            noticed.len(),
            noticed.first().map_or("none", String::as_str)
        );
        assert!(!noticed.is_empty(), "no vector notices that {check} is not made");
    }
}
