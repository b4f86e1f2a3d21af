//! Checks certificates that an operator installs above the enclave's CA.

use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::Authority;
use crate::der;

/// Longest PEM text in bytes.
pub(crate) const MAX_PEM: usize = 64 * 1024;
/// Most certificates, the CA's own included.
pub(crate) const MAX_CERTIFICATES: usize = 8;
/// Longest certificate in bytes.
pub(crate) const MAX_CERTIFICATE: usize = 16 * 1024;

/// Why certificates cannot be installed above the enclave's CA.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Too much of it.
    #[error("the chain is too large: at most {MAX_CERTIFICATES} certificates of {MAX_CERTIFICATE} bytes")]
    TooLarge,
    /// Not PEM.
    #[error("the chain is not PEM: {0}")]
    Pem(String),
    /// A block that is no certificate, such as a private key.
    #[error("the chain holds a block {0:?}; send certificates only, the enclave's CA certificate first")]
    NotCertificates(String),
    /// Nothing there.
    #[error("the chain has no certificate")]
    Empty,
    /// Certificate number `0` does not parse.
    #[error("certificate {0} of the chain does not parse")]
    Malformed(usize),
    /// The first certificate is over another key.
    #[error(
        "the first certificate is not for this enclave's CA key: sign the request that `enclave-os ca csr` prints and put that certificate first"
    )]
    WrongKey,
    /// Another subject than requested, so leaves would not name their issuer.
    #[error(
        "the certificate's subject differs from the one in the request: sign it with the subject unchanged"
    )]
    SubjectChanged,
    /// The first certificate is not one of a CA.
    #[error(
        "the first certificate is not a CA certificate: it needs basicConstraints CA:TRUE and, in keyUsage, keyCertSign"
    )]
    NotCa,
    /// No subjectKeyIdentifier.
    #[error("the first certificate has no subjectKeyIdentifier, which RFC 5280 wants of a CA")]
    NoKeyIdentifier,
    /// Certificate number `0` is not issued by the one after it.
    #[error(
        "certificate {0} does not name the next one as its issuer: order them from the enclave's CA upwards"
    )]
    OutOfOrder(usize),
    /// A signature, a validity or a constraint does not hold.
    #[error("the chain does not verify: {0:?}")]
    Chain(webpki::Error),
    /// The enclave's clock is beyond what a certificate can say.
    #[error("the enclave's clock, which the host sets, is out of range")]
    Clock,
    /// The certificate writer refused.
    #[error("a certificate under this chain cannot be written: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl InstallError {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        "bad-ca-chain"
    }
}

pub(crate) fn parse_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, InstallError> {
    if text.len() > MAX_PEM {
        return Err(InstallError::TooLarge);
    }
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|error: pem::Error| InstallError::Pem(error.to_string()))?;
        if !matches!(kind, SectionKind::Certificate) {
            return Err(InstallError::NotCertificates(format!("{kind:?}")));
        }
        if chain.len() == MAX_CERTIFICATES || der.len() > MAX_CERTIFICATE {
            return Err(InstallError::TooLarge);
        }
        chain.push(CertificateDer::from(der));
    }
    if chain.is_empty() { Err(InstallError::Empty) } else { Ok(chain) }
}

/// The SubjectPublicKeyInfo of a certificate.
pub(crate) fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(certificate.subject_public_key_info().as_ref().to_vec())
}

/// Checks that the first certificate is one for this CA and that each names the next as its issuer. Gives
/// the CA's key identifier.
pub(crate) fn check_own(
    chain: &[CertificateDer<'_>],
    authority: &Authority,
) -> Result<Vec<u8>, InstallError> {
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(at, der)| EndEntityCert::try_from(der).map_err(|_| InstallError::Malformed(at)))
        .collect::<Result<Vec<_>, _>>()?;
    let (own, der) = parsed.first().zip(chain.first()).ok_or(InstallError::Empty)?;
    if own.subject_public_key_info().as_ref() != authority.spki_der() {
        return Err(InstallError::WrongKey);
    }
    let current = authority.certificates().first().and_then(|der| EndEntityCert::try_from(der).ok());
    if current.is_none_or(|current| current.subject() != own.subject()) {
        return Err(InstallError::SubjectChanged);
    }
    for (at, pair) in parsed.windows(2).enumerate() {
        if let [lower, upper] = pair
            && lower.issuer() != upper.subject()
        {
            return Err(InstallError::OutOfOrder(at));
        }
    }
    let extensions = der::ca_extensions(der).ok_or(InstallError::Malformed(0))?;
    if !extensions.is_ca || !extensions.may_sign_certificates {
        return Err(InstallError::NotCa);
    }
    extensions.key_identifier.ok_or(InstallError::NoKeyIdentifier)
}

/// Checks that `leaf` verifies under the whole chain, each certificate signed by the next.
pub(crate) fn verify(
    chain: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), InstallError> {
    let (top, intermediates) = chain.split_last().ok_or(InstallError::Empty)?;
    let anchors = [anchor_from_trusted_cert(top).map_err(InstallError::Chain)?];
    let algorithms = rustls_graviola::default_provider().signature_verification_algorithms.all;
    let leaf = EndEntityCert::try_from(leaf).map_err(InstallError::Chain)?;
    let path = leaf
        .verify_for_usage(algorithms, &anchors, intermediates, now, KeyUsage::server_auth(), None, None)
        .map_err(InstallError::Chain)?;
    // Another certificate of the same name could stand in for one: all of them, in this order, or nothing.
    let used = path.intermediate_certificates().map(|certificate| certificate.der());
    if used.eq(intermediates.iter().map(|der| CertificateDer::from(&der[..]))) {
        Ok(())
    } else {
        Err(InstallError::OutOfOrder(0))
    }
}
