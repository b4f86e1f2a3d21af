//! A client in the same thread: TLS over the queues of the host, requests one after the other.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;

use crate::host::{ClientId, Host};

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The answer, which may be an error.
    Answer(Value),
    /// The connection ended before it, and how.
    Broken(String),
    /// Nothing, for as long as the client waits.
    Late,
}

/// One connection, and the request on it.
pub struct Client {
    id: ClientId,
    tls: ClientConnection,
    received: Vec<u8>,
    http: bool,
    over: Option<String>,
}

impl Client {
    /// Connects, for frames.
    ///
    /// # Errors
    /// When rustls refuses its settings.
    pub fn connect(host: &mut Host) -> Result<Client, rustls::Error> {
        Self::speaking(host, false)
    }

    /// Connects, for one request of HTTP/1.1.
    ///
    /// # Errors
    /// When rustls refuses its settings.
    pub fn connect_http(host: &mut Host) -> Result<Client, rustls::Error> {
        Self::speaking(host, true)
    }

    fn speaking(host: &mut Host, http: bool) -> Result<Client, rustls::Error> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
            .with_no_client_auth();
        if http {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        tls.set_buffer_limit(None);
        Ok(Client { id: host.connect(), tls, received: Vec::new(), http, over: None })
    }

    /// Its connection.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Whether it can be used once more.
    pub fn is_over(&self) -> bool {
        self.over.is_some() || self.http
    }

    /// Sends a frame.
    pub fn send_frame(&mut self, request: &Value) {
        let body = request.to_string();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        // Into a buffer of rustls, which takes it.
        drop(self.tls.writer().write_all(&[&length[..], body.as_bytes()].concat()));
    }

    /// Sends a GET.
    pub fn send_get(&mut self, target: &str) {
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        drop(self.tls.writer().write_all(head.as_bytes()));
    }

    /// Moves bytes both ways. `Some`: the request has ended.
    pub fn poll(&mut self, host: &mut Host) -> Option<Outcome> {
        let (arrived, end) = host.receive(self.id);
        let mut rest = arrived.as_slice();
        while !rest.is_empty() && self.over.is_none() {
            if let Err(error) = self.tls.read_tls(&mut rest) {
                self.over = Some(error.to_string());
            }
            self.process();
        }
        let mut outgoing = Vec::new();
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut outgoing).is_err() {
                break;
            }
        }
        host.send(self.id, &outgoing);
        if let Some(answer) = self.answer() {
            return Some(answer);
        }
        if self.over.is_none()
            && let Some(end) = end
        {
            self.over = Some(format!("the connection ended: {end:?}"));
        }
        self.over.clone().map(Outcome::Broken)
    }

    fn process(&mut self) {
        match self.tls.process_new_packets() {
            Ok(_) => {
                let mut part = [0; 16 * 1024];
                while let Ok(read @ 1..) = self.tls.reader().read(&mut part) {
                    self.received.extend_from_slice(part.get(..read).unwrap_or_default());
                }
            }
            Err(error) => self.over = Some(error.to_string()),
        }
    }

    fn answer(&mut self) -> Option<Outcome> {
        let (start, length) = if self.http {
            let head = self.received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let text = String::from_utf8_lossy(self.received.get(..head)?).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            (head, length?)
        } else {
            let (length, _) = self.received.split_first_chunk::<4>()?;
            (4, u32::from_be_bytes(*length) as usize)
        };
        let body = self.received.get(start..start.checked_add(length)?)?;
        let answer = serde_json::from_slice(body);
        let outcome = match answer {
            Ok(answer) => Outcome::Answer(answer),
            // Authentic, and no answer: never to be.
            Err(error) => Outcome::Answer(Value::from(format!("no JSON: {error}"))),
        };
        self.received.drain(..start + length);
        Some(outcome)
    }
}

/// Says yes to every certificate: who the enclave is, is not what is asked here.
#[derive(Debug)]
struct TrustAll(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
