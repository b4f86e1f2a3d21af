//! What evidence documents are made of.

use super::*;
use crate::{Document, MAX_GENERATIONS, Offline, Scope};

fn offline(identities: &Identities, app: Option<&str>) -> Offline {
    let scope = app.map_or(Scope::Enclave, |app| Scope::App(app.to_owned()));
    identities.offline(&scope).unwrap().unwrap()
}

#[test]
fn an_evidence_quote_is_over_leaf_and_manifest() {
    use sha2::{Digest, Sha256, Sha512};
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2), app("mail", 1)]).unwrap();
    for name in [None, Some("notes")] {
        let document = offline(&identities, name);
        let identity = identities.select(name.map(|_| "notes.example.com"));
        assert_eq!(document.chain(), &identity.chain[..]);
        assert_eq!(document.certificate_quote(), identity.quote.as_ref());
        let proof = document.ca_proof().unwrap();
        proof.verify(&identities.manifest().root()).unwrap();
        let ca = attestation::manifest::LeafValue::Raw(identity.chain[1].to_vec());
        assert_eq!(proof.leaf().value(), &ca);
        let expected = Sha512::new()
            .chain_update(b"enclave-os evidence v1")
            .chain_update(Sha256::digest(&identity.chain[0]))
            .chain_update(document.manifest().root());
        assert_eq!(document.report_data(Document::Evidence).as_bytes()[..], expected.finalize()[..]);
    }
    let own = offline(&identities, Some("notes"));
    assert_eq!(own.manifest().root(), app("notes", 2).configuration_root().unwrap());
}

#[test]
fn a_quote_is_kept_as_long_as_its_leaf() {
    let Fixture { identities, .. } = development();
    for kind in [Document::Evidence, Document::Interoperable] {
        let document = offline(&identities, None);
        assert_eq!(document.quote(kind), None);
        let other = block_on(identities.quoting.quote(document.report_data(Document::Evidence))).unwrap();
        let quote = block_on(identities.quoting.quote(document.report_data(kind))).unwrap();
        if kind == Document::Interoperable {
            document.keep(kind, &other);
            assert_eq!(document.quote(kind), None, "over something else");
        }
        document.keep(kind, &quote);
        assert_eq!(offline(&identities, None).quote(kind).as_ref(), Some(&quote));
    }
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    assert_eq!(offline(&identities, None).quote(Document::Evidence), None);
    assert_eq!(offline(&identities, Some("notes")).quote(Document::Evidence), None);
}

#[test]
fn the_history_tells_what_changed_and_when() {
    let Fixture { identities, platform, .. } = development();
    let root = |identities: &Identities| identities.manifest().root();
    let first = root(&identities);
    platform.advance(Duration::from_secs(60));
    let _change = identities.reconfigure(vec![app("a", 1), app("b", 1)]).unwrap();
    let second = root(&identities);
    let _same = identities.reconfigure(vec![app("a", 1), app("b", 1)]).unwrap();
    let _change = identities.reconfigure(vec![app("a", 2)]).unwrap();
    let told = offline(&identities, None).generations();
    let numbers: Vec<_> = told.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3], "nothing changed in between");
    let roots: Vec<_> = told.iter().map(|one| one.configuration_root).collect();
    assert_eq!(roots, [first, second, root(&identities)]);
    assert_eq!(told[0].changed, ["core"]);
    assert_eq!(told[1].changed, ["app.a", "app.b"]);
    assert_eq!(told[2].changed, ["app.a", "app.b"]);
    assert_eq!((told[1].since - told[0].since).whole_seconds(), 60);
    let of_app = offline(&identities, Some("a")).generations();
    assert_eq!(of_app[1].changed, ["app.a"], "no other app is named");
    assert!(identities.offline(&Scope::App("b".into())).unwrap().is_none());
}

#[test]
fn the_history_is_bounded() {
    let Fixture { identities, .. } = development();
    for code in 0..=MAX_GENERATIONS as u8 {
        let _change = identities.reconfigure(vec![app("a", code)]).unwrap();
    }
    let told = offline(&identities, None).generations();
    assert_eq!(told.len(), MAX_GENERATIONS);
    assert_eq!(told.last().unwrap().number, MAX_GENERATIONS as u64 + 2);
    assert_eq!(told.last().unwrap().configuration_root, identities.manifest().root());
}
