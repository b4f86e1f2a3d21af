//! Verified connections on a tokio runtime.

mod framed;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use attestation::collateral::Collateral;
use attestation::policy::VerificationPolicy;
use attestation::verify::{Tier, Verified};
use boundary_wire::client::{MAX_FRAME, Reply, decode_reply};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::management::{BASE, escape};
use crate::verified::{Answer, Attempt, Demand, MAX_ATTESTED, Settings, Shown};
use crate::{Attested, ClientError, danger, tls};

pub use framed::Framed;

/// The body of a request.
pub type RequestBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Most bytes of a manifest, or of a proof with its leaf's value.
const MAX_MANIFEST: usize = 8 << 20;

/// How to reach an enclave, and the policy it has to pass before it gets a byte.
#[derive(Clone, Debug)]
pub struct VerifiedConnector {
    address: String,
    server_name: Option<String>,
    timeout: Duration,
    demand: Arc<Demand>,
}

/// An open connection that nobody has judged.
struct Open {
    stream: TlsStream<TcpStream>,
    chain: Vec<CertificateDer<'static>>,
    exporter: [u8; 32],
}

impl VerifiedConnector {
    /// A connector to `host:port` that asks for the strongest tier, `channel`.
    pub fn new(address: impl Into<String>, policy: VerificationPolicy) -> Self {
        Self {
            address: address.into(),
            server_name: None,
            timeout: Duration::from_secs(30),
            demand: Arc::new(Demand::new(policy)),
        }
    }

    /// See [`crate::VerifiedConnector::server_name`].
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// See [`crate::VerifiedConnector::tier`].
    pub fn tier(mut self, tier: Tier) -> Self {
        self.demand = Arc::new(self.demand.at_tier(tier));
        self
    }

    /// See [`crate::VerifiedConnector::collateral`].
    pub fn collateral(mut self, collateral: Collateral) -> Self {
        self.demand = Arc::new(self.demand.with_collateral(collateral));
        self
    }

    /// How long connecting and verifying may take together; 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects for framed JSON.
    ///
    /// # Errors
    /// [`ClientError::Verification`] if the enclave does not pass.
    pub async fn framed(&self) -> Result<Attested<Framed>, ClientError> {
        self.in_time(async {
            let attempt = Attempt::new(&self.demand)?;
            let Open { stream, chain, exporter } = self.open(&attempt, b"enclave-os/1").await?;
            let mut framed = Framed::new(stream, MAX_ATTESTED);
            let answer = match attempt.has_question() {
                true => Some(Answer::from_reply(framed.command(attempt.question()).await?)?),
                false => None,
            };
            framed.set_limit(MAX_FRAME);
            let verified = self.judge(&attempt, &chain, exporter, answer).await?;
            Ok(Attested::new(framed, verified))
        })
        .await
    }

    /// Connects for HTTP/1.1: hyper's requests, one at a time.
    ///
    /// # Errors
    /// As [`VerifiedConnector::framed`].
    pub async fn http1(&self) -> Result<Attested<http1::SendRequest<RequestBody>>, ClientError> {
        self.in_time(async {
            let attempt = Attempt::new(&self.demand)?;
            let (mut requests, chain, exporter) = self.open_http1(&attempt).await?;
            let answer = match attempt.has_question() {
                true => {
                    let request = self.question(&attempt)?;
                    Some(answer(requests.send_request(request).await?).await?)
                }
                false => None,
            };
            let verified = self.judge(&attempt, &chain, exporter, answer).await?;
            Ok(Attested::new(requests, verified))
        })
        .await
    }

    /// Connects for HTTP/2: hyper's requests, many at a time.
    ///
    /// # Errors
    /// As [`VerifiedConnector::framed`].
    pub async fn http2(&self) -> Result<Attested<http2::SendRequest<RequestBody>>, ClientError> {
        self.in_time(async {
            let attempt = Attempt::new(&self.demand)?;
            let Open { stream, chain, exporter } = self.open(&attempt, b"h2").await?;
            let (mut requests, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // Ends when the requests are dropped; whoever waits for an answer gets its error.
            ::tokio::spawn(connection);
            let answer = match attempt.has_question() {
                true => {
                    let request = self.question(&attempt)?;
                    Some(answer(requests.send_request(request).await?).await?)
                }
                false => None,
            };
            let verified = self.judge(&attempt, &chain, exporter, answer).await?;
            Ok(Attested::new(requests, verified))
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        ::tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(ClientError::Connect {
                address: self.address.clone(),
                source: io::Error::from(io::ErrorKind::TimedOut),
            })
        })
    }

    async fn open(&self, attempt: &Attempt<'_>, protocol: &[u8]) -> Result<Open, ClientError> {
        self.handshake(self.config(attempt, protocol)?, attempt).await
    }

    /// Takes any certificate: what decides is the judgement after the handshake.
    fn config(&self, attempt: &Attempt<'_>, protocol: &[u8]) -> Result<ClientConfig, ClientError> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let verifier = danger::AnyCertificate::verifier(&provider);
        let config = tls::client_config(provider, verifier, attempt.alpn(protocol));
        config.map_err(|e| self.tls_error(io::Error::other(e)))
    }

    async fn handshake(&self, config: ClientConfig, attempt: &Attempt<'_>) -> Result<Open, ClientError> {
        let host = tls::host_of(&self.address).ok_or_else(|| ClientError::Address(self.address.clone()))?;
        let name = self.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| ClientError::Address(self.address.clone()))?;
        let tcp = TcpStream::connect(&self.address)
            .await
            .map_err(|source| ClientError::Connect { address: self.address.clone(), source })?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(|error| self.tls_error(error))?;
        let tls = stream.get_ref().1;
        let chain = tls.peer_certificates().unwrap_or_default().to_vec();
        let exporter = attempt.exporter(tls)?;
        Ok(Open { stream, chain, exporter })
    }

    async fn open_http1(
        &self,
        attempt: &Attempt<'_>,
    ) -> Result<(http1::SendRequest<RequestBody>, Vec<CertificateDer<'static>>, [u8; 32]), ClientError> {
        let Open { stream, chain, exporter } = self.open(attempt, b"http/1.1").await?;
        Ok((http1(stream).await?, chain, exporter))
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
        chain: &[CertificateDer<'_>],
        exporter: [u8; 32],
        answer: Option<Answer>,
    ) -> Result<Verified, ClientError> {
        let shown = self.shown(self.demand.settings(chain.first())).await?;
        attempt.judge(chain, self.server_name.as_deref(), exporter, answer.as_ref(), shown.disclosed())
    }

    /// What the policy wants to know of the configuration, as [`crate::VerifiedConnector`] gets it.
    async fn shown(&self, wanted: Settings) -> Result<Shown, ClientError> {
        let mut shown = Shown::default();
        if wanted == Settings::default() {
            return Ok(shown);
        }
        let plain = Demand::new(self.demand.verifier.policy().clone()).at_tier(Tier::Certificate);
        let attempt = Attempt::new(&plain)?;
        let mut config = self.config(&attempt, b"http/1.1")?;
        config.enable_sni = false;
        let Open { stream, .. } = self.handshake(config, &attempt).await?;
        let mut requests = http1(stream).await?;
        if wanted.manifest {
            let request = self.request("GET", &format!("{BASE}/manifest"), Bytes::new())?;
            shown.manifest = json(requests.send_request(request).await?).await?;
        }
        for leaf in &wanted.proofs {
            let request = self.request("GET", &format!("{BASE}/proofs/{}", escape(leaf)), Bytes::new())?;
            requests.ready().await?;
            // Where there is no such leaf, the verdict says so.
            shown.proofs.extend(json(requests.send_request(request).await?).await?);
        }
        Ok(shown)
    }

    fn question(&self, attempt: &Attempt<'_>) -> Result<hyper::Request<RequestBody>, ClientError> {
        self.request("POST", &format!("{BASE}/attest"), attempt.question_body().into())
    }

    fn request(
        &self,
        method: &str,
        target: &str,
        body: Bytes,
    ) -> Result<hyper::Request<RequestBody>, ClientError> {
        let host = self.server_name.as_deref().or_else(|| tls::host_of(&self.address)).unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        hyper::Request::builder()
            .method(method)
            .uri(format!("https://{host}{target}"))
            .header("host", &host)
            .header("content-type", "application/json")
            .body(Full::new(body).map_err(|never| match never {}).boxed())
            .map_err(|_| ClientError::Address(self.address.clone()))
    }

    fn tls_error(&self, source: io::Error) -> ClientError {
        ClientError::Tls { address: self.address.clone(), source }
    }
}

async fn http1(stream: TlsStream<TcpStream>) -> Result<http1::SendRequest<RequestBody>, ClientError> {
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the requests are dropped; whoever waits for an answer gets its error.
    ::tokio::spawn(connection);
    Ok(requests)
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        ClientError::Io(io::Error::other(error))
    }
}

async fn answer(response: hyper::Response<hyper::body::Incoming>) -> Result<Answer, ClientError> {
    let (status, body) = collect(response, MAX_ATTESTED).await?;
    match decode_reply(&body) {
        Ok(Reply::Error(error)) => Err(ClientError::Refused(error)),
        Ok(reply) => Answer::from_reply(reply),
        Err(error) => Err(ClientError::Protocol(format!("status {status}: {error}"))),
    }
}

/// What was asked for, or nothing if it is not there.
async fn json<T: DeserializeOwned>(
    response: hyper::Response<hyper::body::Incoming>,
) -> Result<Option<T>, ClientError> {
    let (status, body) = collect(response, MAX_MANIFEST).await?;
    if status == 404 {
        return Ok(None);
    }
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|error| ClientError::Protocol(format!("status {status}: {error}")))
}

async fn collect(
    response: hyper::Response<hyper::body::Incoming>,
    limit: usize,
) -> Result<(u16, Bytes), ClientError> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), limit).collect().await;
    let body = body.map_err(|error| ClientError::Protocol(format!("the answer breaks off: {error}")))?;
    Ok((status, body.to_bytes()))
}
