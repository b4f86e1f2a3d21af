//! An operator's CA above the enclave's: what is taken, and what is refused with which rule.

use super::*;
use crate::InstallError;
use crate::authority::{common_name, own_key_identifier, serial_number};
use crate::key::Key;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

/// A CA outside the enclave.
struct Operator {
    key: Key,
    params: CertificateParams,
    platform: Arc<TestPlatform>,
}

impl Operator {
    fn new(name: &str) -> Self {
        let platform = TestPlatform::new();
        let key = Key::generate(&*platform).unwrap();
        Operator { params: ca(name, &key, &platform), key, platform }
    }

    fn root(&self) -> CertificateDer<'static> {
        self.params.self_signed(&self.key).unwrap().into()
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> CertificateDer<'static> {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().into()
    }

    /// What the operator makes of the enclave's request, changed by `edit`.
    fn certify(
        &self,
        authority: &Authority,
        edit: impl Fn(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let key = public(authority);
        let mut params = ca(&subject(authority), &self.key, &self.platform);
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![0xab; 20]);
        edit(&mut params);
        self.sign(&params, &key)
    }
}

fn ca(name: &str, key: &Key, platform: &TestPlatform) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial_number(platform).unwrap());
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(own_key_identifier(key));
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::from_unix_timestamp(NOW as i64).unwrap();
    (params.not_before, params.not_after) = (now - time::Duration::DAY, now + time::Duration::DAY);
    params
}

fn subject(authority: &Authority) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = &authority.certificates()[0];
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

struct Public([u8; 65]);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn public(authority: &Authority) -> Public {
    Public(authority.spki_der()[26..].try_into().unwrap())
}

fn pem(chain: &[CertificateDer<'_>]) -> String {
    use base64::Engine;
    let block = |der: &CertificateDer<'_>| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    chain.iter().map(block).collect()
}

fn authority() -> Authority {
    Authority::generate(&*TestPlatform::new()).unwrap()
}

fn install(authority: &Authority, chain: &[CertificateDer<'_>]) -> Result<Authority, InstallError> {
    authority.install(&pem(chain), unix_now())
}

#[test]
fn a_chain_of_three_is_installed_sealed_and_served() {
    let (root, middle) = (Operator::new("Root"), Operator::new("Middle"));
    let middle_certificate = root.sign(&middle.params, &middle.key);
    let authority = authority();
    let chain = [middle.certify(&authority, |_| ()), middle_certificate, root.root()];
    let installed = install(&authority, &chain).unwrap();
    assert_eq!(installed.certificates(), &chain[..]);
    let again = Authority::from_sealed(&installed.to_sealed()).unwrap();
    assert_eq!(again.certificates(), &chain[..]);
    // The root may stay away: clients have it.
    install(&authority, &chain[..2]).unwrap();
    install(&authority, &chain[..1]).unwrap();
}

#[test]
fn a_renewed_certificate_replaces_an_installed_one() {
    let root = Operator::new("Root");
    let installed = install(&authority(), &[root.root()]);
    assert!(matches!(installed, Err(InstallError::WrongKey)));
    let authority = authority();
    let first = install(&authority, &[root.certify(&authority, |_| ()), root.root()]).unwrap();
    let second = install(&first, &[root.certify(&first, |_| ()), root.root()]).unwrap();
    assert_ne!(first.certificates()[0], second.certificates()[0]);
}

#[test]
fn each_broken_rule_is_named() {
    let (root, stranger) = (Operator::new("Root"), Operator::new("Root"));
    let authority = authority();
    let good = root.certify(&authority, |_| ());
    let refused = |chain: &[CertificateDer<'_>]| install(&authority, chain).unwrap_err();

    let other = Authority::generate(&*TestPlatform::new()).unwrap();
    assert!(matches!(refused(&[root.certify(&other, |_| ())]), InstallError::WrongKey));
    let renamed = root.certify(&authority, |params| params.distinguished_name = common_name("Mine"));
    assert!(matches!(refused(&[renamed, root.root()]), InstallError::SubjectChanged));
    let no_ca = root.certify(&authority, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert!(matches!(refused(&[no_ca, root.root()]), InstallError::NotCa));
    let no_usage = root.certify(&authority, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert!(matches!(refused(&[no_usage, root.root()]), InstallError::NotCa));
    assert!(matches!(refused(&[good.clone(), good.clone(), root.root()]), InstallError::OutOfOrder(0)));
    assert!(matches!(refused(&[root.root(), good.clone()]), InstallError::WrongKey));
    // A root of the same name with another key: the names link, the signature does not.
    assert!(matches!(refused(&[good.clone(), stranger.root()]), InstallError::Chain(_)));
    let expired = root.certify(&authority, |params| params.not_after = params.not_before);
    assert!(matches!(refused(&[expired, root.root()]), InstallError::Chain(_)));
    assert!(matches!(refused(&[CertificateDer::from(vec![0x30, 0])]), InstallError::Malformed(0)));
}

#[test]
fn only_bounded_certificates_are_read() {
    let authority = authority();
    let refused = |text: &str| authority.install(text, unix_now()).unwrap_err();
    assert!(matches!(refused(""), InstallError::Empty));
    assert!(matches!(refused("hello"), InstallError::Empty));
    assert!(matches!(refused(&"x".repeat(65 * 1024)), InstallError::TooLarge));
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(refused(key), InstallError::NotCertificates(_)));
    assert!(matches!(
        refused("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"),
        InstallError::Pem(_)
    ));
    let many = vec![CertificateDer::from(vec![0x30, 0]); 9];
    assert!(matches!(refused(&pem(&many)), InstallError::TooLarge));
}

#[test]
fn leaves_and_the_manifest_follow_the_installed_chain() {
    let Fixture { identities, .. } = development();
    let before = identities.select(None);
    let current = Authority::from_sealed(&identities.sealed_authority()).unwrap();
    let root = Operator::new("Root");
    let chain = [root.certify(&current, |_| ()), root.root()];
    let change = identities.install_ca(&pem(&chain)).unwrap();

    assert!(before.seen.is_stale(&identities, None), "core.ca_cert has changed");
    let mut own = before.seen.clone();
    own.accept_own_change(&change);
    assert!(!own.is_stale(&identities, None));

    let after = identities.select(None);
    assert_eq!(after.chain[1..], chain);
    leaves::verify(&after.chain, "enclave.example.com", &after.chain[2]).unwrap();
    let leaf = identities.manifest().leaf("core.ca_cert").unwrap().value().clone();
    assert_eq!(leaf, attestation::manifest::LeafValue::Raw(chain[0].to_vec()));
}
