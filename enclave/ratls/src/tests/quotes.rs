//! Quotes in certificates, and hosts that give none, or others than they were asked for.

use super::*;
use crate::{Lie, QuoteError, Status};
use attestation::collateral::Collateral;
use attestation::leaf_certificate::LeafCertificate;

const LIES: [Lies; 11] = [
    Lies::Protocol,
    Lies::ShortTarget,
    Lies::Empty,
    Lies::TooLong,
    Lies::Truncated,
    Lies::Longer,
    Lies::OldVersion,
    Lies::OtherKeyType,
    Lies::OtherEnclave,
    Lies::OtherReportData,
    Lies::Replayed,
];

fn quoted(identities: &Identities, name: Option<&str>) -> Option<Vec<u8>> {
    LeafCertificate::from_der(&identities.select(name).chain[0]).unwrap().quote
}

fn why(identities: &Tested) -> QuoteError {
    match identities.quoting.board().status() {
        Some(Status::Missing { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_leaf_carries_a_quote_over_its_own_key() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2), app("mail", 1)]).unwrap();
    for name in [None, Some("notes.example.com"), Some("mail.example.com")] {
        let leaf = LeafCertificate::from_der(&identities.select(name).chain[0]).unwrap();
        let binding = attestation::report_data::Binding::NotBefore(leaf.not_before);
        let expected = attestation::report_data::compute(&leaf.spki_der, binding);
        assert_eq!(report_data(&leaf.quote.unwrap()), expected);
    }
}

#[test]
fn what_is_not_about_the_report_is_not_served() {
    for lie in LIES {
        let Fixture { identities, host, platform } = development();
        platform.advance(Duration::from_secs(13 * 3600));
        let before = identities.select(None);
        // After a failure the quoting enclave is asked anew who it is.
        host.set(Lies::Silent);
        assert!(identities.maintain().wants_quotes);
        host.set(lie);
        // A load does not fail.
        let change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
        drop(change);
        assert!(matches!(why(&identities), QuoteError::HostMisbehaved(_)), "{lie:?}");
        assert_eq!(quoted(&identities, Some("notes.example.com")), None, "{lie:?}");
        assert_eq!(identities.select(None).quote, before.quote, "{lie:?}: the valid one is kept");
        host.set(None);
        assert!(!identities.maintain().wants_quotes);
        assert!(quoted(&identities, Some("notes.example.com")).is_some());
        assert_ne!(identities.select(None).quote, before.quote);
    }
}

#[test]
fn each_lie_has_its_name() {
    let Fixture { identities, host, .. } = development();
    let said = |lie| {
        host.set(lie);
        let _change = identities.reconfigure(vec![app("notes", 1)]).unwrap();
        let why = why(&identities);
        let _change = identities.reconfigure(vec![]).unwrap();
        why
    };
    assert_eq!(said(Lies::OtherEnclave), QuoteError::HostMisbehaved(Lie::AnotherReport));
    assert_eq!(said(Lies::OtherReportData), QuoteError::HostMisbehaved(Lie::AnotherReport));
    assert_eq!(said(Lies::TooLong), QuoteError::HostMisbehaved(Lie::TooLong(crate::MAX_QUOTE + 1)));
    assert_eq!(said(Lies::ShortTarget), QuoteError::HostMisbehaved(Lie::TargetInfo(511)));
    assert!(matches!(said(Lies::Truncated), QuoteError::HostMisbehaved(Lie::Malformed(_))));
    assert_eq!(said(Lies::Silent), QuoteError::Unavailable("no aesmd".into()));
}

#[test]
fn a_certificate_without_a_quote_gets_one_when_there_is_one() {
    let Fixture { identities, host, platform } = development();
    host.set(Lies::Silent);
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let before = identities.select(Some("notes.example.com"));
    assert_eq!(before.quote, None);
    let Some(Status::Missing { since, .. }) = identities.quoting.board().status() else { panic!() };
    platform.advance(Duration::from_secs(60));
    assert!(identities.maintain().wants_quotes);
    let Some(Status::Missing { since: still, .. }) = identities.quoting.board().status() else { panic!() };
    assert_eq!(since, still);
    host.set(None);
    assert!(!identities.maintain().wants_quotes);
    let after = identities.select(Some("notes.example.com"));
    assert!(after.quote.is_some());
    assert_eq!(after.key, before.key, "the key was there already");
    assert!(matches!(identities.quoting.board().status(), Some(Status::Available { .. })));
    let told = host.told.lock().unwrap().clone();
    assert_eq!(told, ["available", "the host gives no quote: no aesmd", "available"], "what is new, once");
}

#[test]
fn a_valid_certificate_is_kept_until_it_ends() {
    let Fixture { identities, host, platform } = development();
    let first = identities.select(None);
    host.set(Lies::Silent);
    platform.advance(Duration::from_secs(23 * 3600));
    assert!(identities.maintain().wants_quotes);
    assert_eq!(identities.select(None).chain, first.chain);
    platform.advance(Duration::from_secs(3600));
    assert!(identities.maintain().wants_quotes);
    let second = identities.select(None);
    assert!(second.chain != first.chain && second.quote.is_none(), "an ended one helps nobody");
    // Without a quote it is renewed all the same: there are clients that look at names only.
    platform.advance(Duration::from_secs(12 * 3600));
    identities.maintain();
    assert_ne!(identities.select(None).chain, second.chain);
}

#[test]
fn who_gives_no_quote_is_not_asked_for_each() {
    let Fixture { identities, host, .. } = development();
    host.set(Lies::Silent);
    let asked = host.asked();
    let _change = identities.reconfigure((0..20).map(|i| app(&format!("a{i}"), 1)).collect()).unwrap();
    assert_eq!(host.asked(), asked + 1);
}

#[test]
fn the_quoting_enclave_may_change() {
    let Fixture { identities, host, .. } = development();
    let _change = identities.reconfigure(vec![app("a", 1)]).unwrap();
    assert_eq!(host.targets(), 1);
    host.set(Lies::Silent);
    let _change = identities.reconfigure(vec![app("b", 1)]).unwrap();
    host.set(None);
    identities.maintain();
    assert_eq!(host.targets(), 2, "after a failure it is asked who it is");
}

#[test]
fn collateral_is_asked_for_once_in_a_while_and_the_last_good_one_stays() {
    let Fixture { identities, host, platform } = development();
    let (quoting, board) = (&identities.quoting, identities.quoting.board());
    let refresh = || block_on(quoting.refresh_collateral());
    refresh().unwrap();
    assert_eq!(board.collateral(), None, "the host has none");
    let chain = String::from("-----BEGIN CERTIFICATE-----");
    let document = Collateral {
        pck_crl_issuer_chain: chain.clone(),
        root_ca_crl: vec![1],
        pck_crl: vec![2],
        tcb_info_issuer_chain: chain.clone(),
        tcb_info: "{}".to_owned(),
        tcb_info_signature: vec![3; 64],
        qe_identity_issuer_chain: chain,
        qe_identity: "{}".to_owned(),
        qe_identity_signature: vec![4; 64],
    };
    *host.collateral.lock().unwrap() = document.to_json().unwrap().into_bytes();
    platform.advance(Duration::from_secs(601));
    refresh().unwrap();
    assert_eq!(board.collateral().as_deref(), Some(&document));
    *host.collateral.lock().unwrap() = b"{\"quote\":\"\"}".to_vec();
    refresh().unwrap();
    platform.advance(Duration::from_secs(601));
    assert!(refresh().unwrap_err().to_string().contains("misbehaved"));
    assert_eq!(board.collateral().as_deref(), Some(&document));
}

#[test]
fn interoperable_evidence_has_a_quote_of_its_own() {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Fixture { identities, .. } = fixture(ImagePolicy { interop: true, ..Default::default() });
    let identity = identities.select(None);
    let (_, leaf) = X509Certificate::from_der(&identity.chain[0]).unwrap();
    let values: Vec<_> =
        leaf.extensions().iter().filter(|e| e.oid.to_id_string() == "2.23.133.5.4.9").collect();
    let [extension] = values[..] else { panic!("{}", values.len()) };
    assert!(!extension.critical);
    let claims = crate::interop::claims(leaf.public_key().raw);
    let quote = &extension.value[3 + 1 + 3..extension.value.len() - 2 - claims.len()];
    assert_eq!(extension.value[..4], [0xd9, 0xea, 0x60, 0x82]);
    assert!(extension.value.ends_with(&claims));
    let data = report_data(quote);
    use graviola::hashing::{Hash, Sha256};
    assert_eq!(data[..32], *Sha256::hash(&claims).as_ref());
    assert_eq!(data[32..], [0; 32]);
    assert_ne!(Some(quote), identity.quote.as_ref().map(crate::Quote::as_bytes));
    // Readers that do not know it pass over it.
    LeafCertificate::from_der(&identity.chain[0]).unwrap();
}

fn interoperable() -> Fixture {
    fixture(ImagePolicy { interop: true, ..Default::default() })
}

/// Whether the leaf has both its quotes.
fn has_both(identities: &Identities) -> bool {
    identities
        .offline(&crate::Scope::Enclave)
        .unwrap()
        .unwrap()
        .quote(crate::Document::Interoperable)
        .is_some()
        && identities.select(None).quote.is_some()
}

/// Bug: while the host gave no quote for interoperable evidence, every look signed the leaf anew, and the quotes
/// of its documents went with the old one. Required: a leaf is replaced when a quote is gained.
#[test]
fn a_leaf_is_not_signed_anew_for_nothing() {
    let Fixture { identities, host, .. } = interoperable();
    host.set(Lies::NotInteroperable);
    let _change = identities.reconfigure(vec![app("notes", 1), app("mail", 1)]).unwrap();
    let leaves = || {
        [None, Some("notes.example.com"), Some("mail.example.com")]
            .map(|name| identities.select(name).chain[0].to_vec())
    };
    for name in ["notes.example.com", "mail.example.com"] {
        assert!(quoted(&identities, Some(name)).is_some(), "{name} has the quote that there is");
    }
    let before = leaves();
    for _ in 0..3 {
        assert!(identities.maintain().wants_quotes);
        assert_eq!(leaves(), before);
    }
    host.set(None);
    assert!(!identities.maintain().wants_quotes);
    let after = leaves();
    assert_eq!(before[0], after[0], "it lacked nothing");
    assert!(before[1] != after[1] && before[2] != after[2]);
}

/// A valid leaf with both its quotes is worth more than a newer one with the first alone; one that has ended is not.
#[test]
fn a_renewal_has_no_fewer_quotes() {
    let Fixture { identities, host, platform } = interoperable();
    let first = identities.select(None);
    assert!(has_both(&identities));
    host.set(Lies::NotInteroperable);
    platform.advance(Duration::from_secs(13 * 3600));
    assert!(identities.maintain().wants_quotes);
    assert_eq!(identities.select(None).chain, first.chain);
    platform.advance(Duration::from_secs(11 * 3600));
    assert!(identities.maintain().wants_quotes);
    let second = identities.select(None);
    assert!(second.chain != first.chain && second.quote.is_some() && !has_both(&identities));
    // What is as good and newer takes its place.
    platform.advance(Duration::from_secs(13 * 3600));
    assert!(identities.maintain().wants_quotes);
    let third = identities.select(None);
    assert!(third.chain != second.chain && third.quote.is_some());
    host.set(None);
    assert!(!identities.maintain().wants_quotes);
    assert!(has_both(&identities));
}
