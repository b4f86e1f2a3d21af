//! TLS as every identity speaks it: 1.3 only and never resumed, because a resumed session skips the certificate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use enclave_platform::clock::Clock;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ConfigBuilder, ServerConfig, SignatureAlgorithm, SignatureScheme, WantsVerifier, version::TLS13,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::IdentityError;
use crate::key::{Key, TlsKey};

/// ALPN names, the most preferred first. A client without ALPN is told apart by its first byte.
pub const ALPN_PROTOCOLS: [&str; 4] = ["h2", "http/1.1", "enclave-os/1", "privasys-ratls/1"];

/// The provider of all identities. Its first key exchange is `X25519MLKEM768`.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_graviola::default_provider())
}

pub(crate) fn server_config(
    provider: &Arc<CryptoProvider>,
    clock: &Arc<Clock>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<Key>,
) -> Result<ServerConfig, IdentityError> {
    let certified = CertifiedKey::new(chain, Arc::new(TlsKey(key)));
    certified.keys_match()?;
    let mut config = tls_1_3(provider, clock)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = ALPN_PROTOCOLS.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// How a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// `no_application_protocol` (RFC 7301 §3.2): what the client offers in ALPN cannot be answered.
    NoApplicationProtocol,
    /// `handshake_failure` (RFC 8446 §6.2): there is no certificate for this client at the moment.
    HandshakeFailure,
}

/// A configuration with which no handshake succeeds: it ends with this alert.
///
/// # Errors
/// [`IdentityError::Tls`].
pub fn refusing(alert: Alert, clock: &Arc<Clock>) -> Result<Arc<ServerConfig>, IdentityError> {
    let certified = CertifiedKey::new(vec![CertificateDer::from(Vec::new())], Arc::new(NoKey));
    let mut config = tls_1_3(&provider(), clock)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = match alert {
        // No client can offer a name that no TLS library can write.
        Alert::NoApplicationProtocol => vec![vec![0; 256]],
        Alert::HandshakeFailure => ALPN_PROTOCOLS.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    Ok(Arc::new(config))
}

/// A key that signs nothing.
#[derive(Debug)]
struct NoKey;

impl SigningKey for NoKey {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

fn tls_1_3(
    provider: &Arc<CryptoProvider>,
    clock: &Arc<Clock>,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, IdentityError> {
    let time = Arc::new(ClaimedTime(Arc::clone(clock)));
    Ok(ServerConfig::builder_with_details(Arc::clone(provider), time).with_protocol_versions(&[&TLS13])?)
}

/// The enclave's clock for rustls.
struct ClaimedTime(Arc<Clock>);

impl TimeProvider for ClaimedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix().as_secs())))
    }
}

impl fmt::Debug for ClaimedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimedTime")
    }
}
