//! Opening a connection.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::danger::AnyCertificate;
use crate::{ClientError, Framed, Http, Peer};

/// How to reach an enclave and what to trust.
#[derive(Clone, Debug)]
pub struct Connector {
    address: String,
    server_name: Option<String>,
    sends_name: bool,
    trust: Trust,
    connect_timeout: Duration,
    io_timeout: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum Trust {
    Nobody,
    Authorities(Vec<CertificateDer<'static>>),
    Anyone,
}

impl Connector {
    /// A connector to `host:port` that trusts nobody yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            server_name: None,
            sends_name: true,
            trust: Trust::Nobody,
            connect_timeout: Duration::from_secs(10),
            io_timeout: None,
        }
    }

    /// Sends this name (SNI) and expects it in the certificate: an application's hostname gets the
    /// application's own certificate. The default is the host of the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sends no name, and so addresses the enclave and none of its applications.
    pub(crate) fn without_server_name(mut self) -> Self {
        self.server_name = None;
        self.sends_name = false;
        self
    }

    /// Trusts certificates that lead to one of these authorities (PEM). An enclave's own CA certificate, or
    /// that of the operator who signed it.
    pub fn trust_ca_pem(self, pem: &[u8]) -> Result<Self, ClientError> {
        let bad = |e: &dyn std::fmt::Display| ClientError::Authorities(e.to_string());
        let authorities: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| bad(&e))?;
        if authorities.is_empty() {
            return Err(bad(&"no certificate (PEM) in it"));
        }
        Ok(self.with_trust(Trust::Authorities(authorities)))
    }

    /// How long a TCP connection may take; 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a single read or write may stand still; unlimited by default, because a call may take long.
    pub fn io_timeout(mut self, timeout: Duration) -> Self {
        self.io_timeout = Some(timeout);
        self
    }

    /// That timeout for connections that were given none.
    pub(crate) fn default_io_timeout(mut self, timeout: Duration) -> Self {
        self.io_timeout = self.io_timeout.or(Some(timeout));
        self
    }

    /// Sets the timeouts of this connector on a connection that was opened with others.
    pub(crate) fn patience(&self, connection: &Connection) -> Result<(), ClientError> {
        connection.tcp().set_read_timeout(self.io_timeout)?;
        Ok(connection.tcp().set_write_timeout(self.io_timeout)?)
    }

    /// Whether the enclave's certificate is verified at all.
    pub fn verifies(&self) -> bool {
        matches!(self.trust, Trust::Authorities(_))
    }

    /// Connects for framed JSON.
    pub fn framed(&self) -> Result<Framed, ClientError> {
        self.connect(&[b"enclave-os/1"]).map(Framed::new)
    }

    /// Connects for HTTP/1.1. The `Host` field is the server name, if one was given.
    pub fn http(&self) -> Result<Http, ClientError> {
        self.connect(&[b"http/1.1"]).map(|connection| Http::new(connection, self.host_field()))
    }

    /// What the `Host` field says.
    pub(crate) fn host_field(&self) -> &str {
        self.server_name.as_deref().unwrap_or(self.host())
    }

    /// Connects offering these protocols (ALPN); none, and the first byte decides.
    pub fn connect(&self, alpn: &[&[u8]]) -> Result<Connection, ClientError> {
        let bad_address = || ClientError::Address(self.address.clone());
        let config = self.config(alpn)?;
        let name = ServerName::try_from(self.host_field().to_owned()).map_err(|_| bad_address())?;
        let mut tls = ClientConnection::new(config, name).map_err(|e| self.tls_error(io::Error::other(e)))?;
        let mut tcp = self.dial()?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|e| self.tls_error(e))?;
        }
        let chain = tls.peer_certificates().unwrap_or_default().to_vec();
        Ok(Connection { stream: StreamOwned::new(tls, tcp), peer: Peer::new(chain) })
    }

    pub(crate) fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    fn host(&self) -> &str {
        host_of(&self.address).unwrap_or(&self.address)
    }

    fn dial(&self) -> Result<TcpStream, ClientError> {
        if self.address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.is_empty()) {
            return Err(ClientError::Address(self.address.clone()));
        }
        let failed = |source| ClientError::Connect { address: self.address.clone(), source };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, self.connect_timeout) {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(failed)?;
                    tcp.set_read_timeout(self.io_timeout).map_err(failed)?;
                    tcp.set_write_timeout(self.io_timeout).map_err(failed)?;
                    return Ok(tcp);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, ClientError> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Nobody => return Err(ClientError::NothingTrusted),
            Trust::Anyone => AnyCertificate::verifier(&provider),
            Trust::Authorities(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots
                        .add(authority.clone())
                        .map_err(|e| ClientError::Authorities(format!("not usable as an authority: {e}")))?;
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|e| ClientError::Authorities(e.to_string()))?
            }
        };
        let alpn = alpn.iter().map(|name| name.to_vec()).collect();
        let mut config =
            client_config(provider, verifier, alpn).map_err(|e| self.tls_error(io::Error::other(e)))?;
        config.enable_sni = self.sends_name;
        Ok(Arc::new(config))
    }

    fn tls_error(&self, source: io::Error) -> ClientError {
        let address = self.address.clone();
        match source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(reason @ rustls::Error::InvalidCertificate(_)) => {
                ClientError::Untrusted { address, reason: reason.clone() }
            }
            _ => ClientError::Tls { address, source },
        }
    }
}

/// The host of `host:port`, an IPv6 address without its brackets.
pub(crate) fn host_of(address: &str) -> Option<&str> {
    let (host, _port) = address.rsplit_once(':')?;
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}

/// TLS as every client here speaks it: 1.3 only and never resumed, because a resumed session skips the certificate.
pub(crate) fn client_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: Vec<Vec<u8>>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// An open TLS connection; reads and writes are its plaintext.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    peer: Peer,
}

impl Connection {
    /// Who answered.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The protocol that was agreed on, if any was offered.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }

    pub(crate) fn tls(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// The TCP stream underneath, for its timeouts and options.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream.sock
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }
}

impl Read for Connection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.read(out)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("tcp", &self.stream.sock).finish_non_exhaustive()
    }
}
