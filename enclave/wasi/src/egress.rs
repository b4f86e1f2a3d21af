//! Whom an application may call, and whom the enclave believes to be who they say.

mod dial;

use std::fmt;
use std::sync::Arc;

use enclave_platform::clock::Clock;
use rustls::client::Resumption;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::room::Room;

pub(crate) use dial::{ConnectError, Destination, connect, log};

/// Bytes that the bodies of HTTPS requests and responses under way may take together.
const BODIES: usize = 64 << 20;

/// The enclave's TLS towards the world: TLS 1.3, Mozilla's roots or the measured policy's own, and nothing
/// kept from one connection to the next. One per enclave.
#[derive(Clone)]
pub struct EgressTls {
    config: Arc<ClientConfig>,
    bodies: Room,
}

/// Why egress could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The policy's bundle holds no certificate, or one that does not parse.
    #[error("the egress CA bundle is not usable: {0}; give PEM certificates of root authorities")]
    CaBundle(String),
    /// The TLS library refused its settings.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// An entry of an application's `egress` list.
    #[error("egress rule {0:?} is not a host: give `example.org`, `*.example.org` or either with `:port`")]
    Rule(String),
}

impl EgressTls {
    /// Trusts the certificates in `ca_pem`, or Mozilla's roots when there are none. Certificates are judged at
    /// the time of `clock`.
    ///
    /// # Errors
    /// [`EgressError`] when the bundle is not usable.
    pub fn new(ca_pem: Option<&str>, clock: Arc<Clock>) -> Result<Self, EgressError> {
        let mut roots = RootCertStore::empty();
        match ca_pem {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate =
                        certificate.map_err(|error| EgressError::CaBundle(error.to_string()))?;
                    roots.add(certificate).map_err(|error| EgressError::CaBundle(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(EgressError::CaBundle("it holds no certificate".to_owned()));
                }
            }
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(EnclaveTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(EgressTls { config: Arc::new(config), bodies: Room::new(BODIES) })
    }

    /// The room for bodies of all applications.
    pub(crate) fn bodies(&self) -> &Room {
        &self.bodies
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

struct EnclaveTime(Arc<Clock>);

impl fmt::Debug for EnclaveTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnclaveTime")
    }
}

impl TimeProvider for EnclaveTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}

/// Where one application may call out to.
pub struct EgressPolicy {
    tls: EgressTls,
    allowed: Option<Vec<Rule>>,
}

/// One entry of an allow-list.
struct Rule {
    host: String,
    subdomains: bool,
    port: Option<u16>,
}

impl EgressPolicy {
    /// `allowed` lists hosts (`example.org`), their subdomains (`*.example.org`) or addresses, each with an
    /// optional `:port`. `None` allows any host, an empty list none.
    ///
    /// # Errors
    /// [`EgressError::Rule`] names the entry that is not a host.
    pub fn new(tls: EgressTls, allowed: Option<&[String]>) -> Result<Self, EgressError> {
        let allowed = allowed.map(|rules| rules.iter().map(|rule| Rule::parse(rule)).collect());
        Ok(EgressPolicy { tls, allowed: allowed.transpose()? })
    }

    pub(crate) fn tls(&self) -> &EgressTls {
        &self.tls
    }

    /// Whether the application may call `host`, a name or an address without brackets, on `port`.
    pub(crate) fn allows(&self, host: &str, port: u16) -> bool {
        let host = plain_host(host);
        self.allowed.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.allows(&host, port)))
    }
}

fn plain_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, EgressError> {
        let wrong = || EgressError::Rule(text.to_owned());
        let (subdomains, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) };
            (host, port)
        } else {
            match rest.split_once(':') {
                // More than one colon: an address of the sixth version without brackets.
                Some((_, port)) if port.contains(':') => (rest, None),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
        let host = plain_host(host);
        let name = rustls_pki_types::ServerName::try_from(host.as_str()).map_err(|_| wrong())?;
        let is_name = matches!(name, rustls_pki_types::ServerName::DnsName(_));
        if subdomains && !is_name {
            return Err(wrong());
        }
        Ok(Rule { host, subdomains, port })
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        let named = if self.subdomains {
            host.strip_suffix(&self.host).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
        } else {
            host == self.host
        };
        named && self.port.is_none_or(|allowed| allowed == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &[&str], host: &str, port: u16) -> bool {
        rules.iter().map(|rule| Rule::parse(rule).unwrap()).any(|rule| rule.allows(&plain_host(host), port))
    }

    #[test]
    fn a_rule_names_a_host_its_subdomains_or_one_port() {
        assert!(allows(&["example.org"], "EXAMPLE.org.", 443));
        assert!(!allows(&["example.org"], "www.example.org", 443));
        assert!(allows(&["*.example.org"], "a.b.example.org", 8443));
        assert!(!allows(&["*.example.org"], "example.org", 443));
        assert!(!allows(&["*.example.org"], "evilexample.org", 443));
        assert!(!allows(&["*.example.org"], ".example.org", 443));
        assert!(allows(&["example.org:8443"], "example.org", 8443));
        assert!(!allows(&["example.org:8443"], "example.org", 443));
        assert!(allows(&["[2001:db8::1]:443"], "2001:db8::1", 443));
        assert!(allows(&["2001:db8::1"], "2001:db8::1", 443));
        assert!(allows(&["192.0.2.7"], "192.0.2.7", 443));
        assert!(!allows(&[], "example.org", 443));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for rule in
            ["", "*", "*.", "https://example.org", "example.org/", "a b", "example.org:https", "*.192.0.2.7"]
        {
            assert!(Rule::parse(rule).is_err(), "{rule:?} was taken");
        }
    }
}
