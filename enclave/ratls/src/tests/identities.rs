//! Which identity a handshake gets, and when certificates change.

use super::*;
use crate::{IdentityError, Scope};

#[test]
fn the_server_name_selects() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let scope = |name| identities.select(name).scope;
    assert_eq!(scope(Some("notes.example.com")), Scope::App("notes".into()));
    assert_eq!(scope(Some("NOTES.Example.Com")), Scope::App("notes".into()));
    for name in
        [None, Some("notes"), Some("127.0.0.1"), Some("localhost"), Some("x.notes.example.com"), Some("")]
    {
        assert_eq!(scope(name), Scope::Enclave, "{name:?}");
    }
    let _change = identities.reconfigure(vec![]).unwrap();
    assert_eq!(scope(Some("notes.example.com")), Scope::Enclave);
}

#[test]
fn a_leaf_is_renewed_long_before_it_ends() {
    let Fixture { identities, platform, .. } = development();
    let first = identities.select(None);
    identities.maintain();
    assert_eq!(identities.select(None).chain, first.chain);
    platform.advance(Duration::from_secs(11 * 3600));
    identities.maintain();
    assert_eq!(identities.select(None).chain, first.chain);
    platform.advance(Duration::from_secs(3600));
    assert_eq!(identities.select(None).chain, first.chain, "a handshake issues nothing");
    identities.maintain();
    let second = identities.select(None);
    assert_ne!(second.chain[0], first.chain[0]);
    assert_ne!(second.key, first.key);
    assert_ne!(second.quote, first.quote, "a new key and a new start");
    assert_eq!(second.chain[1], first.chain[1]);
    assert!(!first.seen.is_stale(&identities, None), "what it says is the same");
}

#[test]
fn a_change_keeps_the_keys_and_quotes_of_those_that_stay() {
    let Fixture { identities, host, .. } = development();
    let names = [None, Some("notes.example.com")];
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let before = names.map(|name| identities.select(name));
    let asked = host.asked();
    let _change = identities.reconfigure(vec![app("notes", 3), app("mail", 1)]).unwrap();
    assert_eq!(host.asked(), asked + 1, "one quote, for the new identity");
    let after = names.map(|name| identities.select(name));
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before.chain[0], after.chain[0]);
        assert_eq!((&before.key, &before.quote), (&after.key, &after.quote));
    }
    let mail = identities.select(Some("mail.example.com"));
    let keys = [&after[0].key, &after[1].key, &mail.key];
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "each identity has its own key");
    // An app that was gone in between is another one.
    let _change = identities.reconfigure(vec![]).unwrap();
    let _change = identities.reconfigure(vec![app("notes", 3)]).unwrap();
    assert_ne!(identities.select(Some("notes.example.com")).key, after[1].key);
}

#[test]
fn names_are_unique_and_the_enclaves_own_are_not_for_apps() {
    let Fixture { identities, .. } = development();
    let refused = |apps: Vec<AppIdentity>| {
        let error = identities.check(apps.clone()).unwrap_err();
        assert_eq!(identities.reconfigure(apps).unwrap_err().to_string(), error.to_string());
        error
    };
    assert!(matches!(refused(vec![app("a", 1), app("a", 2)]), IdentityError::Taken { what: "name", .. }));
    let hostname = AppIdentity { hostname: app("a", 1).hostname, ..app("b", 2) };
    assert!(matches!(refused(vec![app("a", 1), hostname]), IdentityError::Taken { what: "hostname", .. }));
    let prefix = AppIdentity { route_prefix: app("a", 1).route_prefix, ..app("b", 2) };
    assert!(matches!(refused(vec![app("a", 1), prefix]), IdentityError::Taken { what: "route prefix", .. }));
    for own in ["localhost", "enclave.example.com"] {
        let thief = AppIdentity { hostname: Hostname::parse(own).unwrap(), ..app("a", 1) };
        assert!(matches!(refused(vec![thief]), IdentityError::Reserved(name) if name == own));
    }
    assert_eq!(identities.select(None).scope, Scope::Enclave);
    assert!(identities.manifest().leaf("app.a.code_hash").is_none(), "nothing of a refused change stays");
}

#[test]
fn leaves_do_not_contradict_the_identity() {
    let Fixture { identities, .. } = development();
    let mut lying = app("a", 1);
    lying.leaves.push(Leaf::raw("code_hash", [9; 32]).unwrap());
    assert!(matches!(identities.check(vec![lying]), Err(IdentityError::Contradiction { .. })));
    let mut repeating = app("a", 1);
    repeating.leaves.push(Leaf::raw("code_hash", [1; 32]).unwrap());
    identities.check(vec![repeating]).unwrap();
    let mut double = app("a", 1);
    double.leaves.push(double.leaves[0].clone());
    assert!(matches!(identities.check(vec![double]), Err(IdentityError::Manifest(_))));
}

#[test]
fn the_list_of_apps_fits_a_handshake() {
    let Fixture { identities, .. } = development();
    let apps = |count: usize| (0..count).map(|i| app(&format!("app-{i:04}"), 1)).collect::<Vec<_>>();
    identities.check(apps(600)).unwrap();
    assert!(matches!(identities.check(apps(1000)), Err(IdentityError::TooManyApps(_))));
}

#[test]
fn what_is_prepared_shows_only_when_it_is_published() {
    let Fixture { identities, .. } = development();
    let before = identities.manifest().root();
    let dropped = identities.prepare(vec![app("mail", 1)]).unwrap();
    let prepared = identities.prepare(vec![app("notes", 2)]).unwrap();
    drop(dropped);
    assert_eq!(identities.manifest().root(), before);
    let mut seen = identities.select(None).seen;
    let change = identities.publish(prepared);
    assert_ne!(identities.manifest().root(), before);
    assert!(seen.is_stale(&identities, Some("notes")));
    seen.accept_own_change(&change);
    assert!(!seen.is_stale(&identities, Some("notes")));
}
