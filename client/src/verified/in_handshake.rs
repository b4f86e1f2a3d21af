//! Verification inside the handshake, for programs that bring their own connections.

use std::fmt;
use std::sync::Arc;

use attestation::collateral::Collateral;
use attestation::policy::VerificationPolicy;
use attestation::report_data::ALPN_NONCE_PREFIX;
use attestation::verify::{Disclosed, Presented, Verdict, Verifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use time::OffsetDateTime;

/// A rustls verifier that ends the handshake unless the certificate's quote passes a policy: tier `certificate`,
/// or `challenge` with a nonce that is offered as an ALPN name.
///
/// The certificate chain leads to no public authority; what stands for it is the quote over the leaf's key.
/// Set `ClientConfig::resumption` to `Resumption::disabled()`: a resumed session shows no certificate, so nothing would
/// be judged. Collateral has to be known beforehand. For tier `channel`, which begins after the handshake, use
/// [`crate::VerifiedConnector`].
#[derive(Debug)]
pub struct QuotedCertificates {
    verifier: Verifier,
    collateral: Collateral,
    nonce: Option<[u8; 32]>,
    check_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl QuotedCertificates {
    /// Judges by this policy with this collateral. The server name of the connection is demanded.
    pub fn new(policy: VerificationPolicy, collateral: Collateral, provider: &CryptoProvider) -> Self {
        Self {
            verifier: Verifier::new(policy),
            collateral,
            nonce: None,
            check_name: true,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Demands a certificate that was made for this nonce. For one connection: take another for the next.
    /// [`QuotedCertificates::alpn_name`] has to be among the protocols that the client offers.
    pub fn nonce(mut self, nonce: [u8; 32]) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// Demands no name: identity is what the policy says.
    pub fn any_name(mut self) -> Self {
        self.check_name = false;
        self
    }

    /// The ALPN name that carries a nonce; to be offered beside a normal one.
    pub fn alpn_name(nonce: &[u8; 32]) -> Vec<u8> {
        format!("{ALPN_NONCE_PREFIX}{}", URL_SAFE_NO_PAD.encode(nonce)).into_bytes()
    }
}

/// Inside [`CertificateError::Other`]: the policy does not hold.
pub struct NotVerified(pub Box<Verdict>);

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the enclave does not pass the policy: {}", self.0)
    }
}

/// As [`fmt::Display`]: it is what rustls prints of the reason for a failed handshake.
impl fmt::Debug for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotVerified {}

impl ServerCertVerifier for QuotedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let name = server_name.to_str();
        let server_name = self.check_name.then_some(name.as_ref());
        let chain = chain.as_slice();
        let presented = match &self.nonce {
            Some(nonce) => Presented::Challenge { chain, server_name, nonce },
            None => Presented::Certificate { chain, server_name },
        };
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or(Error::FailedToGetCurrentTime)?;
        match self
            .verifier
            .judge(&presented, Some(&self.collateral), Disclosed::default(), now)
            .into_verified()
        {
            Ok(_verified) => Ok(ServerCertVerified::assertion()),
            Err(verdict) => {
                let reason = OtherError(Arc::new(NotVerified(verdict)));
                Err(Error::InvalidCertificate(CertificateError::Other(reason)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
