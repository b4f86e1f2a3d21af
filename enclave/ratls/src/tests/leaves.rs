//! What leaves say, and that others can verify them.

use super::*;
use attestation::leaf_certificate::{LeafCertificate, LeafCertificateError};
use attestation::oid;
use attestation::report_data::{Binding, compute, minute};
use attestation::workloads;
use rustls_pki_types::{CertificateDer, ServerName};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Verifies as a TLS client does.
pub(super) fn verify(
    chain: &[CertificateDer<'_>],
    name: &str,
    root: &CertificateDer<'_>,
) -> Result<(), webpki::Error> {
    let anchors = [anchor_from_trusted_cert(root)?];
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let algorithms = rustls_graviola::default_provider().signature_verification_algorithms.all;
    leaf.verify_for_usage(
        algorithms,
        &anchors,
        &chain[1..],
        unix_now(),
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
}

fn read(identity: &crate::Identity) -> LeafCertificate {
    LeafCertificate::from_der(&identity.chain[0]).unwrap()
}

#[test]
fn an_empty_enclave_says_so() {
    let Fixture { identities, .. } = development();
    let identity = identities.select(None);
    let leaf = read(&identity);
    assert_eq!(leaf.configuration_root, identities.manifest().root());
    assert_eq!(leaf.workloads_hash, workloads::hash([]).unwrap());
    assert!(leaf.apps.is_empty() && leaf.app.is_none());
    for name in ["enclave.example.com", "localhost", "127.0.0.1", "::1"] {
        verify(&identity.chain, name, &identity.chain[1]).unwrap();
    }
    assert!(verify(&identity.chain, "other.example.com", &identity.chain[1]).is_err());
}

#[test]
fn without_development_there_is_no_loopback_name() {
    let Fixture { identities, .. } =
        fixture(ImagePolicy { served_names: vec!["e.example".into()], ..Default::default() });
    let identity = identities.select(None);
    verify(&identity.chain, "e.example", &identity.chain[1]).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(verify(&identity.chain, name, &identity.chain[1]).is_err(), "{name}");
    }
}

#[test]
fn validity_is_a_day_from_a_whole_minute_and_quotes_bind_it() {
    let Fixture { identities, .. } = development();
    let identity = identities.select(None);
    let leaf = read(&identity);
    assert_eq!(minute(leaf.not_before), "2026-11-20T13:13Z");
    assert_eq!((leaf.not_before.second(), leaf.not_before.nanosecond()), (0, 0));
    assert_eq!(leaf.not_after - leaf.not_before, time::Duration::DAY);
    let expected = compute(&leaf.spki_der, Binding::NotBefore(leaf.not_before));
    assert_eq!(leaf.quote.as_deref(), identity.quote.as_ref().map(crate::Quote::as_bytes));
    assert_eq!(report_data(&leaf.quote.unwrap()), expected);
}

#[test]
fn the_enclaves_leaf_lists_all_apps_in_name_order() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2), app("mail", 1)]).unwrap();
    let leaf = read(&identities.select(None));
    let said: Vec<_> =
        leaf.apps.iter().map(|app| (app.name.as_str(), app.route_prefix.as_str(), app.code_hash)).collect();
    assert_eq!(said, [("mail", "/mail", [1; 32]), ("notes", "/notes", [2; 32])]);
    assert_eq!(leaf.workloads_hash, workloads::hash([("mail", [1; 32]), ("notes", [2; 32])]).unwrap());
    assert_eq!(leaf.app, None);
}

#[test]
fn an_apps_leaf_is_about_that_app() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2), app("mail", 1)]).unwrap();
    let identity = identities.select(Some("notes.example.com"));
    let leaf = read(&identity);
    assert_eq!(leaf.apps.len(), 1);
    assert_eq!((leaf.apps[0].name.as_str(), leaf.apps[0].code_hash), ("notes", [2; 32]));
    let own = leaf.app.unwrap();
    assert_eq!(own.code_hash, [2; 32]);
    assert_eq!(own.key_source, "generated");
    let manifest = identities.manifest();
    assert_eq!(leaf.configuration_root, manifest.root());
    assert_eq!(own.configuration_root, manifest.of_app("notes").unwrap().root());
    assert_eq!(own.configuration_root, app("notes", 2).configuration_root().unwrap());
    for part in ["code_hash", "hostname", "key_source", "limits", "route_prefix"] {
        let proof = manifest.proof(&format!("app.notes.{part}")).unwrap();
        proof.verify(&leaf.configuration_root).unwrap();
    }
    verify(&identity.chain, "notes.example.com", &identity.chain[1]).unwrap();
    for name in ["mail.example.com", "localhost", "127.0.0.1", "enclave.example.com"] {
        assert!(verify(&identity.chain, name, &identity.chain[1]).is_err(), "{name}");
    }
}

#[test]
fn with_one_app_both_leaves_name_it_alike() {
    let Fixture { identities, .. } = development();
    let _change = identities.reconfigure(vec![app("notes", 2)]).unwrap();
    let of_app = read(&identities.select(Some("notes.example.com")));
    let of_enclave = read(&identities.select(None));
    assert_eq!(of_app.apps, of_enclave.apps);
    assert_eq!(of_app.workloads_hash, of_enclave.workloads_hash);
}

#[test]
fn the_manifest_tells_of_policy_and_ca() {
    let Fixture { identities, .. } = development();
    let manifest = identities.manifest();
    for name in [
        "core.version",
        "core.platform",
        "core.ca_cert",
        "core.ca_key",
        "core.operator_policy",
        "core.code_policy",
        "egress.ca_bundle",
    ] {
        assert!(manifest.leaf(name).is_some(), "{name}");
    }
    let key = attestation::manifest::LeafValue::Raw(identities.ca_spki_der());
    assert_eq!(manifest.leaf("core.ca_key").unwrap().value(), &key);
}

/// A certificate with these extensions, read as a client reads it.
fn read_extensions(extensions: &[(&[u64], &[u8])]) -> Result<LeafCertificate, LeafCertificateError> {
    let platform = TestPlatform::new();
    let key = crate::key::Key::generate(&*platform).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[1]));
    params.custom_extensions = extensions
        .iter()
        .map(|(oid, value)| rcgen::CustomExtension::from_oid_content(oid, value.to_vec()))
        .collect();
    LeafCertificate::from_der(params.self_signed(&key).unwrap().der())
}

#[test]
fn readers_refuse_what_the_format_does_not_allow() {
    use LeafCertificateError::{Malformed, Missing, Twice, Unknown};
    let none = workloads::hash([]).unwrap();
    let one = workloads::hash([("a", [1; 32])]).unwrap();
    let (root, code): (&[u8], &[u8]) = (&[7; 32], &[1; 32]);
    let empty = [(oid::CONFIGURATION_ROOT, root), (oid::WORKLOADS_HASH, &none)];
    let with_app: Vec<(&[u64], &[u8])> = vec![
        (oid::CONFIGURATION_ROOT, root),
        (oid::WORKLOADS_HASH, &one),
        (oid::APP_NAMES, b"a"),
        (oid::ROUTE_PREFIXES, b"/a"),
        (oid::CODE_HASHES, code),
    ];
    read_extensions(&empty).unwrap();
    read_extensions(&with_app).unwrap();

    assert!(matches!(read_extensions(&[]), Err(Missing(_))));
    assert!(matches!(read_extensions(&empty[..1]), Err(Missing(_))));
    let unknown: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 5, 1];
    assert!(matches!(read_extensions(&[empty[0], empty[1], (unknown, b"x")]), Err(Unknown(_))));
    assert!(matches!(read_extensions(&[empty[0], empty[1], empty[1]]), Err(Twice(_))));
    assert!(matches!(
        read_extensions(&[(oid::CONFIGURATION_ROOT, &root[1..]), empty[1]]),
        Err(Malformed { .. })
    ));
    for (at, value) in
        [(1, &none[..]), (2, b"a\nb"), (2, b""), (2, b"\xff"), (2, b"a b"), (3, b"/a\n/b"), (4, &code[1..])]
    {
        let mut wrong = with_app.clone();
        wrong[at].1 = value;
        assert!(matches!(read_extensions(&wrong), Err(Malformed { .. })), "{at} {value:?}");
        wrong.remove(at);
        assert!(matches!(read_extensions(&wrong), Err(Missing(_))), "{at}");
    }
    let app_leaf = |root: &[u8], code: &[u8], source: &[u8]| {
        let own =
            [(oid::APP_CONFIGURATION_ROOT, root), (oid::APP_CODE_HASH, code), (oid::APP_KEY_SOURCE, source)];
        read_extensions(&[&with_app[..], &own].concat())
    };
    assert!(app_leaf(root, code, b"generated").unwrap().app.is_some());
    assert!(app_leaf(root, code, b"byok:0123456789abcdef").is_ok());
    for bad in [
        app_leaf(root, root, b"generated"),
        app_leaf(root, code, b"byok:0123"),
        app_leaf(root, code, b"host"),
    ] {
        assert!(matches!(bad, Err(Malformed { .. })));
    }
}
