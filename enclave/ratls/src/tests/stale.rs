//! DESIGN D15: verify one configuration, then talk to another, must be impossible.

use super::*;
use crate::Seen;

fn seen(identities: &Identities) -> Seen {
    identities.select(None).seen
}

fn root(app: &AppIdentity) -> [u8; 32] {
    app.configuration_root().unwrap()
}

#[test]
fn only_the_app_that_changed_is_stale() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("a", 1), app("b", 1)]).unwrap();
    let connection = seen(&identities);
    let _change = identities.reconfigure(vec![app("a", 2), app("b", 1), app("c", 1)]).unwrap();
    assert!(connection.is_stale(&identities, Some("a")), "replaced");
    assert!(connection.is_stale(&identities, Some("c")), "loaded since");
    assert!(!connection.is_stale(&identities, Some("b")));
    assert!(!connection.is_stale(&identities, Some("never-there")));
    assert!(!connection.is_stale(&identities, None));
    assert!(!connection.covers("a", &root(&app("a", 2))));
    assert!(connection.covers("b", &root(&app("b", 1))));
    assert!(!connection.covers("c", &root(&app("c", 1))));
}

#[test]
fn any_setting_counts_as_a_change() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    for edit in [
        (|app| app.code_hash = [2; 32]) as fn(&mut AppIdentity),
        |app| app.hostname = Hostname::parse("other.example.com").unwrap(),
        |app| app.route_prefix = RoutePrefix::parse("/other").unwrap(),
        |app| app.key_source = "byok:0123456789abcdef".into(),
        |app| app.leaves = vec![],
    ] {
        let connection = seen(&identities);
        let mut changed = app("a", 1);
        edit(&mut changed);
        let _change = identities.reconfigure(vec![changed]).unwrap();
        assert!(connection.is_stale(&identities, Some("a")));
        let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    }
}

#[test]
fn unloading_and_loading_the_same_again_is_a_change() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    let connection = seen(&identities);
    let _change = identities.reconfigure(vec![]).unwrap();
    assert!(connection.is_stale(&identities, Some("a")));
    let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    assert!(connection.is_stale(&identities, Some("a")), "its data and key are others");
}

#[test]
fn going_back_to_an_earlier_configuration_is_a_change() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    let connection = seen(&identities);
    for code in [2, 1] {
        let _change = identities.reconfigure(vec![app("a", code)]).unwrap();
    }
    assert!(connection.is_stale(&identities, Some("a")), "the app was another in between");
}

#[test]
fn ones_own_change_does_not_count_and_others_do() {
    let Fixture { identities, .. } = development();
    let (mut mine, other) = (seen(&identities), seen(&identities));
    let change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    mine.accept_own_change(&change);
    assert!(!mine.is_stale(&identities, Some("a")) && mine.covers("a", &root(&app("a", 1))));
    assert!(other.is_stale(&identities, Some("a")), "it was made over another connection");

    let _others = identities.reconfigure(vec![app("a", 1), app("b", 1)]).unwrap();
    let change = identities.reconfigure(vec![app("a", 3), app("b", 1)]).unwrap();
    mine.accept_own_change(&change);
    assert!(!mine.is_stale(&identities, Some("a")));
    assert!(mine.is_stale(&identities, Some("b")), "accepting one change accepts no other");

    let change = identities.reconfigure(vec![app("b", 1)]).unwrap();
    mine.accept_own_change(&change);
    assert!(!mine.is_stale(&identities, Some("a")), "it unloaded the app itself");
    assert!(!mine.covers("a", &root(&app("a", 3))));
}

#[test]
fn a_change_by_another_after_ones_own_is_not_accepted_with_it() {
    let Fixture { identities, .. } = development();
    let mut mine = seen(&identities);
    let change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    let _others = identities.reconfigure(vec![app("a", 2)]).unwrap();
    mine.accept_own_change(&change);
    assert!(mine.is_stale(&identities, Some("a")));
    assert!(!mine.covers("a", &root(&app("a", 2))));
}
