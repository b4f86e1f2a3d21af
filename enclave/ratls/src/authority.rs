//! The enclave's certificate authority.

use std::fmt;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use enclave_platform::{Platform, RandomError};
use graviola::hashing::{Hash, Sha256};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use zeroize::Zeroizing;

use crate::chain::{self, InstallError};
use crate::der;
use crate::key::Key;

/// The CA: its key, made inside, and the certificates from its own up to what the operator installed.
#[derive(Clone)]
pub struct Authority {
    key: Arc<Key>,
    /// The CA's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// subjectKeyIdentifier of the CA's own certificate, which leaves repeat.
    key_identifier: Vec<u8>,
}

/// A CA cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The certificate writer refused.
    #[error("the CA certificate cannot be written: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// What was unsealed is no CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed CA does not read back: {0}")]
pub struct SealedAuthorityError(&'static str);

const SEALED_VERSION: u8 = 1;

impl Authority {
    /// Makes a key and a self-signed certificate. The certificate has no end and does not depend on the
    /// host's clock: it names a key, and what vouches for the key is the quote.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn generate(platform: &dyn Platform) -> Result<Authority, AuthorityError> {
        let key = Arc::new(Key::generate(platform)?);
        let key_identifier = own_key_identifier(&key);
        let mut params = ca_params(&key, &key_identifier);
        params.serial_number = Some(serial_number(platform)?);
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        // RFC 5280 §4.1.2.5: no well-defined expiration date.
        params.not_after = rcgen::date_time_ymd(9999, 12, 31).replace_time(LAST_SECOND);
        let certificate = params.self_signed(&*key)?;
        Ok(Authority { key, chain: vec![certificate.into()], key_identifier })
    }

    /// Key and certificates, for the sealed store and nothing else.
    ///
    /// `version (1) ‖ private scalar (32) ‖ (u32 BE length ‖ certificate)…`
    pub fn to_sealed(&self) -> Zeroizing<Vec<u8>> {
        let length = 33 + self.chain.iter().map(|certificate| 4 + certificate.len()).sum::<usize>();
        // Of the right size from the start, so that no copy of the key is left behind by growing.
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        out.push(SEALED_VERSION);
        out.extend_from_slice(&self.key.scalar()[..]);
        for certificate in &self.chain {
            // A certificate is at most chain::MAX_CERTIFICATE long.
            out.extend_from_slice(&(certificate.len() as u32).to_be_bytes());
            out.extend_from_slice(certificate);
        }
        out
    }

    /// Reads what [`Authority::to_sealed`] wrote.
    ///
    /// # Errors
    /// [`SealedAuthorityError`] on anything else.
    pub fn from_sealed(sealed: &[u8]) -> Result<Authority, SealedAuthorityError> {
        let bad = SealedAuthorityError;
        let (version, rest) = sealed.split_first().ok_or(bad("it is empty"))?;
        if *version != SEALED_VERSION {
            return Err(bad("its version is unknown"));
        }
        let (scalar, mut rest) = rest.split_first_chunk::<32>().ok_or(bad("it ends in the key"))?;
        let key = Arc::new(Key::from_scalar(scalar).ok_or(bad("the key is not on the curve"))?);
        let mut chain = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>().ok_or(bad("it ends in a length"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let (certificate, after) =
                after.split_at_checked(length).ok_or(bad("it ends in a certificate"))?;
            chain.push(CertificateDer::from(certificate.to_vec()));
            rest = after;
        }
        let own = chain.first().ok_or(bad("it has no certificate"))?;
        if chain::public_key(own).as_deref() != Some(&key.spki_der()[..]) {
            return Err(bad("the certificate is for another key"));
        }
        let key_identifier = der::ca_extensions(own)
            .and_then(|extensions| extensions.key_identifier)
            .ok_or(bad("the certificate has no key identifier"))?;
        Ok(Authority { key, chain, key_identifier })
    }

    /// A signing request (PKCS #10) for an operator's CA, which makes this one an intermediate.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`].
    pub fn csr_pem(&self) -> Result<String, AuthorityError> {
        let request = ca_params(&self.key, &self.key_identifier).serialize_request(&*self.key)?;
        Ok(pem("CERTIFICATE REQUEST", request.der()))
    }

    /// This CA under the certificates an operator made for it: the first over this CA's key, each signed
    /// by the next.
    ///
    /// # Errors
    /// [`InstallError`], with the rule that was broken.
    pub fn install(&self, chain_pem: &str, now: UnixTime) -> Result<Authority, InstallError> {
        let chain = chain::parse_pem(chain_pem)?;
        let key_identifier = chain::check_own(&chain, self)?;
        let installed = Authority { key: Arc::clone(&self.key), chain, key_identifier };
        let probe = installed.probe(now)?;
        chain::verify(&installed.chain, &probe, now)?;
        Ok(installed)
    }

    /// A certificate like a leaf, over the CA's own key and never served, to see whether the chain carries it.
    fn probe(&self, now: UnixTime) -> Result<CertificateDer<'static>, InstallError> {
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|now| time::OffsetDateTime::from_unix_timestamp(now).ok());
        let now = now.ok_or(InstallError::Clock)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[1]));
        params.not_before = now;
        params.not_after = now;
        params.distinguished_name = common_name("Enclave OS probe");
        Ok(self.sign(&params, &*self.key)?)
    }

    /// Signs a certificate of an end entity.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        subject: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let issuer = ca_params(&self.key, &self.key_identifier);
        Ok(params.signed_by(subject, &Issuer::from_params(&issuer, &*self.key))?.into())
    }

    /// The CA's own certificate first, then what the operator installed above it.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// [`Authority::certificates`] as PEM.
    pub fn certificates_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    /// SubjectPublicKeyInfo (DER) of the CA. Its hash is the audience of operator tokens.
    pub fn spki_der(&self) -> Vec<u8> {
        self.key.spki_der()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

const LAST_SECOND: time::Time = match time::Time::from_hms(23, 59, 59) {
    Ok(time) => time,
    Err(_) => time::Time::MIDNIGHT,
};

/// What certificate and request of the CA have in common.
fn ca_params(key: &Key, key_identifier: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    // The key's hash in the name keeps two enclaves apart in a list.
    let tag: String = own_key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = common_name(&format!("Enclave OS CA {tag}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier.to_vec());
    params
}

pub(crate) fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the public point.
pub(crate) fn own_key_identifier(key: &Key) -> Vec<u8> {
    Sha256::hash(key.point()).as_ref().iter().take(20).copied().collect()
}

/// 16 random bytes, positive and of fixed length (RFC 5280 §4.1.2.2).
pub(crate) fn serial_number(platform: &dyn Platform) -> Result<SerialNumber, RandomError> {
    let mut serial = [0; 16];
    platform.random(&mut serial)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

/// RFC 7468, lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
