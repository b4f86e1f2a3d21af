//! The keys and certificates of a development PKI: those that a renewal keeps.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::key::Key;
use super::options::{PkiOptions, Revoked};
use super::pki::PkiError;
use super::platform::{PlatformFacts, SGX_EXTENSION};
use crate::secrets::random;

/// Common name of every development root.
pub const ROOT_NAME: &str = "Enclave OS DEVELOPMENT SGX Root CA";
const PCK_CA_NAME: &str = "Enclave OS DEVELOPMENT SGX PCK Platform CA";
const TCB_SIGNING_NAME: &str = "Enclave OS DEVELOPMENT SGX TCB Signing";
const PCK_NAME: &str = "Enclave OS DEVELOPMENT SGX PCK Certificate";

/// How far back certificates and collateral are dated, for verifiers whose clocks are behind.
pub(super) const BACKDATED: Duration = Duration::HOUR;

/// Root, PCK CA, TCB signer and PCK.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) root: Entity,
    pub(super) pck_ca: Entity,
    pub(super) tcb_signing: Entity,
    pub(super) pck: Entity,
}

/// A key and the certificate over it.
#[derive(Debug)]
pub(super) struct Entity {
    pub(super) key: Key,
    pub(super) certificate: Vec<u8>,
    /// serialNumber of the certificate, for CRLs.
    pub(super) serial: [u8; 16],
}

impl Authorities {
    pub(super) fn generate(
        facts: &PlatformFacts,
        now: OffsetDateTime,
        options: &PkiOptions,
    ) -> Result<Self, PkiError> {
        let from = now - BACKDATED;
        // The root ends when Intel's does.
        let end = rcgen::date_time_ymd(2049, 12, 31);
        let until = options.certificates_until.unwrap_or(end);
        let root_key = Key::generate()?;
        let root = certify(root_key, None, &Subject::authority(ROOT_NAME, 1), from, end)?;
        let by_root = Some((&root.key, ROOT_NAME));
        let pck_ca = certify(Key::generate()?, by_root, &Subject::authority(PCK_CA_NAME, 0), from, until)?;
        let tcb_signing = certify(Key::generate()?, by_root, &Subject::end(TCB_SIGNING_NAME), from, until)?;
        let mut subject = Subject::end(PCK_NAME);
        subject.extension = Some(facts.sgx_extension());
        let pck = certify(Key::generate()?, Some((&pck_ca.key, PCK_CA_NAME)), &subject, from, until)?;
        Ok(Self { root, pck_ca, tcb_signing, pck })
    }

    /// The root's CRL (DER).
    pub(super) fn root_ca_crl(&self, now: OffsetDateTime, options: &PkiOptions) -> Result<Vec<u8>, PkiError> {
        let mut serials = Vec::new();
        for (which, entity) in [(Revoked::PckCa, &self.pck_ca), (Revoked::TcbSigning, &self.tcb_signing)] {
            if options.revoked.contains(&which) {
                serials.push(entity.serial);
            }
        }
        let from = options.revocations_from.unwrap_or(now - BACKDATED);
        crl(&self.root.key, ROOT_NAME, from, now + options.lifetimes.root_ca_crl, &serials)
    }

    /// The PCK CA's CRL (DER).
    pub(super) fn pck_crl(&self, now: OffsetDateTime, options: &PkiOptions) -> Result<Vec<u8>, PkiError> {
        let serials = if options.revoked.contains(&Revoked::Pck) { vec![self.pck.serial] } else { vec![] };
        let from = options.revocations_from.unwrap_or(now - BACKDATED);
        crl(&self.pck_ca.key, PCK_CA_NAME, from, now + options.lifetimes.pck_crl, &serials)
    }
}

/// What a certificate says about whom it is for.
struct Subject {
    name: &'static str,
    /// pathLenConstraint of a CA.
    authority: Option<u8>,
    /// The SGX extension.
    extension: Option<Vec<u8>>,
}

impl Subject {
    fn authority(name: &'static str, path_length: u8) -> Self {
        Self { name, authority: Some(path_length), extension: None }
    }

    fn end(name: &'static str) -> Self {
        Self { name, authority: None, extension: None }
    }
}

/// Signs a certificate over `key`, by the issuer or, without one, by itself.
fn certify(
    key: Key,
    issuer: Option<(&Key, &'static str)>,
    subject: &Subject,
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<Entity, PkiError> {
    let serial = serial_number();
    let mut params = named(subject.name, &key);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    params.not_before = from;
    params.not_after = until;
    match subject.authority {
        Some(path_length) => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        None => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        }
    }
    if let Some(content) = &subject.extension {
        params.custom_extensions.push(CustomExtension::from_oid_content(&SGX_EXTENSION, content.clone()));
    }
    let certificate = match issuer {
        Some((by, name)) => params.signed_by(&key, &Issuer::from_params(&named(name, by), by))?,
        None => params.self_signed(&key)?,
    };
    Ok(Entity { certificate: certificate.der().to_vec(), key, serial })
}

fn crl(
    by: &Key,
    name: &'static str,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    serials: &[[u8; 16]],
) -> Result<Vec<u8>, PkiError> {
    let issuer = named(name, by);
    let revoked = |serial: &[u8; 16]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: this_update,
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update,
        next_update,
        // Grows with every renewal.
        crl_number: SerialNumber::from_slice(&number(this_update)),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: issuer.key_identifier_method.clone(),
    };
    Ok(params.signed_by(&Issuer::from_params(&issuer, by))?.der().to_vec())
}

/// The parts of a certificate that its holder's own signatures repeat.
fn named(name: &str, key: &Key) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the public point.
    let identifier = Sha256::digest(key.point());
    params.key_identifier_method = KeyIdMethod::PreSpecified(identifier.iter().take(20).copied().collect());
    params
}

/// Random, positive and of fixed length (RFC 5280 §4.1.2.2).
fn serial_number() -> [u8; 16] {
    let mut serial = random::<16>();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// Seconds since 1970, as a positive integer without leading zeros.
fn number(at: OffsetDateTime) -> Vec<u8> {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or(0).max(1).to_be_bytes();
    seconds.iter().copied().skip_while(|&byte| byte == 0).collect()
}
