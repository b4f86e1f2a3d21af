//! Tier `challenge`: a certificate for one connection and one nonce.

use super::*;
use crate::{BadChallenge, NONCE_PROTOCOL, Scope, nonce};
use attestation::leaf_certificate::LeafCertificate;
use attestation::report_data::{Binding, compute};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

fn offered(texts: &[String]) -> Result<Option<[u8; 32]>, BadChallenge> {
    nonce(texts.iter().map(String::as_bytes))
}

#[test]
fn a_nonce_is_read_strictly() {
    let name = |text: String| format!("{NONCE_PROTOCOL}{text}");
    let good = name(URL_SAFE_NO_PAD.encode([0xfb; 32]));
    let h2 = "h2".to_owned();
    assert_eq!(offered(&[]), Ok(None));
    assert_eq!(offered(&[h2.clone(), "enclave-os-nonce".into()]), Ok(None));
    assert_eq!(offered(&[good.clone(), h2.clone()]), Ok(Some([0xfb; 32])));
    assert_eq!(offered(&[h2, good.clone()]), Ok(Some([0xfb; 32])));
    assert_eq!(offered(&[good.clone(), good.clone()]), Err(BadChallenge::Several));
    // No quote is made for a handshake that cannot come about.
    assert_eq!(offered(std::slice::from_ref(&good)), Err(BadChallenge::Alone));
    assert_eq!(offered(&["h3".into(), good.clone(), "H2".into(), String::new()]), Err(BadChallenge::Alone));
    for served in crate::ALPN_PROTOCOLS {
        assert_eq!(offered(&[good.clone(), served.to_owned()]), Ok(Some([0xfb; 32])), "{served}");
    }
    for bad in [
        String::new(),
        URL_SAFE_NO_PAD.encode([1; 31]),
        URL_SAFE_NO_PAD.encode([1; 33]),
        URL_SAFE.encode([1; 32]),
        STANDARD.encode([0xfb; 32]),
        format!("{} ", URL_SAFE_NO_PAD.encode([1; 32])),
        "é".repeat(20),
        // The last character of 43 has two bits that say nothing; only zeros are right.
        format!("{}B", "A".repeat(42)),
    ] {
        assert_eq!(offered(&[name(bad.clone())]), Err(BadChallenge::Malformed), "{bad}");
    }
}

#[test]
fn the_certificate_is_for_this_nonce_and_five_minutes() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    for (name, scope) in [(None, Scope::Enclave), (Some("notes.example.com"), Scope::App("notes".into()))] {
        let cached = identities.select(name);
        let challenged = identities.challenged(name, [5; 32]).unwrap();
        let quote = block_on(identities.quoting.quote(challenged.report_data())).unwrap();
        let identity = identities.answer(challenged, quote).unwrap();
        let leaf = LeafCertificate::from_der(&identity.chain[0]).unwrap();
        assert_eq!(leaf.not_after - leaf.not_before, time::Duration::minutes(5));
        assert_eq!(leaf.not_before.second(), 0);
        let expected = compute(&leaf.spki_der, Binding::Nonce(&[5; 32]));
        assert_eq!(report_data(&leaf.quote.unwrap()), expected);
        assert_eq!(identity.scope, scope);
        assert_ne!(identity.key, cached.key);
        let said = LeafCertificate::from_der(&cached.chain[0]).unwrap();
        assert_eq!(
            (leaf.configuration_root, leaf.apps, leaf.app),
            (said.configuration_root, said.apps, said.app)
        );
        assert_eq!(identities.select(name).chain, cached.chain, "it is for nobody else");
    }
}

#[test]
fn a_quote_over_something_else_makes_no_certificate() {
    let Fixture { identities, .. } = development();
    let first = identities.challenged(None, [5; 32]).unwrap();
    let second = identities.challenged(None, [5; 32]).unwrap();
    assert_ne!(first.report_data(), second.report_data(), "the same nonce on two connections");
    let quote = block_on(identities.quoting.quote(first.report_data())).unwrap();
    assert!(matches!(identities.answer(second, quote), Err(IdentityError::OtherQuote)));
}

#[test]
fn what_changes_while_the_quote_is_made_is_stale() {
    let Fixture { identities, .. } = development();
    let challenged = identities.challenged(None, [5; 32]).unwrap();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let quote = block_on(identities.quoting.quote(challenged.report_data())).unwrap();
    let identity = identities.answer(challenged, quote).unwrap();
    assert!(LeafCertificate::from_der(&identity.chain[0]).unwrap().apps.is_empty());
    assert!(identity.seen.is_stale(&identities, Some("notes")));
}

#[test]
fn a_channel_is_bound_to_key_nonce_and_exporter() {
    let Fixture { identities, .. } = development();
    let key = identities.select(None).key;
    let spki = LeafCertificate::from_der(&identities.select(None).chain[0]).unwrap().spki_der;
    let data = key.channel(&[1; 32], &[2; 32]);
    let expected = compute(&spki, Binding::Channel { nonce: &[1; 32], exporter: &[2; 32] });
    assert_eq!(data.as_bytes(), &expected);
    for other in
        [key.channel(&[3; 32], &[2; 32]), key.channel(&[1; 32], &[3; 32]), key.channel(&[2; 32], &[1; 32])]
    {
        assert_ne!(data, other);
    }
}
