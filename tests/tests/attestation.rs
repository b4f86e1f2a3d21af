//! The three tiers of freshness and the evidence document, judged as a stranger judges them: by a policy that
//! names the machine's development root and the enclave's measurement.
//!
//! Bug: an answer that was made for somebody else, for another moment, or by another enclave passes.
//! Required: it is refused by the check that is about it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Result;
use attestation::collateral::Collateral;
use attestation::evidence::EvidenceDocument;
use attestation::policy::VerificationPolicy;
use attestation::report_data::EXPORTER_LABEL;
use attestation::verify::{Disclosed, Presented, Verdict, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use enclave_os_client::Load;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::{Value, json};
use sgx_emu::quoting::DevelopmentPki;
use time::{Duration, OffsetDateTime};

scenarios::on_each_platform!(
    each_tier_passes_and_what_was_made_for_others_does_not,
    a_relay_in_front_of_another_enclave_is_refused,
    evidence_is_verified_offline_and_nothing_in_it_can_be_exchanged,
);

struct Enclave {
    host: HostProcess,
    verifier: Verifier,
    _data: tempfile::TempDir,
}

impl Enclave {
    fn start(platform: Platform, pki: &std::path::Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut options = HostOptions::development(platform, data.path().join("data"));
        options.arguments.extend(["--dev-pki".to_owned(), pki.to_string_lossy().into_owned()]);
        let host = HostProcess::start(&options)?;
        let root = DevelopmentPki::open_or_create(pki, OffsetDateTime::now_utc())?.root_fingerprint();
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        let ready = Tls::connect(&host, "localhost", &["http/1.1"])?.get("localhost", "ready");
        let mrenclave = ready["mrenclave"].as_str().unwrap();
        let policy = format!(
            "format = 1\n[roots]\ndevelopment = [\"{root}\"]\n[enclave]\nmrenclave = [\"{mrenclave}\"]\n\
             [freshness]\nmin_tier = \"certificate\"\n"
        );
        let verifier = Verifier::new(VerificationPolicy::from_toml(&policy)?);
        Ok(Enclave { host, verifier, _data: data })
    }

    fn connect(&self, server_name: &str, alpn: &[&str]) -> Tls {
        Tls::connect(&self.host, server_name, alpn).unwrap()
    }

    fn judge(
        &self,
        presented: &Presented<'_>,
        collateral: Option<&Collateral>,
        now: OffsetDateTime,
    ) -> Verdict {
        self.verifier.judge(presented, collateral, Disclosed::default(), now)
    }

    /// A component under this name, with a hostname of its own.
    fn load(&self, platform: Platform, name: &str) -> Result<()> {
        let wasm = wat::parse_str("(component)")?;
        let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
        let bytes = enclave_os_compiler::compile(&wasm, target)?;
        let hostname = Some(format!("{name}.example.com"));
        self.host.framed()?.load(Load { name: name.into(), bytes, hostname, ..Load::default() })?;
        Ok(())
    }
}

/// The ids of the checks that failed.
fn failed(verdict: &Verdict) -> Vec<String> {
    let shown = serde_json::to_value(verdict).unwrap();
    let checks = shown["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["passed"] == false)
        .map(|check| check["check"].as_str().unwrap().into())
        .collect()
}

#[track_caller]
fn passes(verdict: &Verdict) {
    assert!(verdict.accepted(), "{}", serde_json::to_string_pretty(verdict).unwrap());
}

fn each_tier_passes_and_what_was_made_for_others_does_not(platform: Platform) -> Result<()> {
    let pki = tempfile::tempdir()?;
    let enclave = Enclave::start(platform, pki.path())?;
    enclave.load(platform, "one")?;
    enclave.load(platform, "two")?;
    let now = OffsetDateTime::now_utc();
    let nonce = [0x5a; 32];

    // Tier `certificate`.
    let mut tls = enclave.connect("localhost", &["http/1.1"]);
    let chain = tls.chain();
    let answer = tls.attest("localhost", &nonce);
    let known = collateral(&answer);
    let certificate = |server_name| Presented::Certificate { chain: &chain, server_name: Some(server_name) };
    passes(&enclave.judge(&certificate("localhost"), Some(&known), now));
    for hours in [-25, 25] {
        let verdict = enclave.judge(&certificate("localhost"), Some(&known), now + Duration::hours(hours));
        assert!(failed(&verdict).contains(&"certificate-time".to_owned()), "{hours}: {:?}", failed(&verdict));
    }
    let of_app = enclave.connect("one.example.com", &["http/1.1"]).chain();
    let of_app = |server_name| Presented::Certificate { chain: &of_app, server_name: Some(server_name) };
    passes(&enclave.judge(&of_app("one.example.com"), Some(&known), now));
    assert_eq!(failed(&enclave.judge(&of_app("two.example.com"), Some(&known), now)), ["server-name"]);

    // Tier `challenge`.
    let name = format!("enclave-os-nonce/{}", URL_SAFE_NO_PAD.encode(nonce));
    let challenged = enclave.connect("localhost", &[&name, "http/1.1"]);
    let own = challenged.chain();
    let of = |nonce| Presented::Challenge { chain: &own, server_name: Some("localhost"), nonce };
    passes(&enclave.judge(&of(&nonce), Some(&known), now));
    assert_eq!(failed(&enclave.judge(&of(&[0x5b; 32]), Some(&known), now)), ["report-data"], "an old nonce");
    for hours in [-25, 25] {
        let verdict = enclave.judge(&of(&nonce), Some(&known), now + Duration::hours(hours));
        assert!(failed(&verdict).contains(&"certificate-time".to_owned()), "{hours}: {:?}", failed(&verdict));
    }
    let cached = Presented::Challenge { chain: &chain, server_name: Some("localhost"), nonce: &nonce };
    assert_eq!(failed(&enclave.judge(&cached, Some(&known), now)), ["report-data"], "not made for it");

    // Tier `channel`, over HTTP and framed.
    let quote = quote(&answer);
    let exporter = tls.exporter(&nonce);
    let channel = |nonce, exporter, quote| Presented::Channel {
        chain: &chain,
        server_name: Some("localhost"),
        nonce,
        exporter,
        quote,
    };
    passes(&enclave.judge(&channel(&nonce, &exporter, &quote), Some(&known), now));
    for hours in [-25, 25] {
        let shown = channel(&nonce, &exporter, &quote);
        let verdict = enclave.judge(&shown, Some(&known), now + Duration::hours(hours));
        assert!(failed(&verdict).contains(&"certificate-time".to_owned()), "{hours}: {:?}", failed(&verdict));
    }
    let second = enclave.connect("localhost", &["http/1.1"]);
    let (of_second, of_leaf) = (second.exporter(&nonce), leaf_quote(&chain));
    for (what, verdict) in [
        ("replayed on a second connection", channel(&nonce, &of_second, &quote)),
        ("an old nonce", channel(&[0x5b; 32], &exporter, &quote)),
        ("the certificate's quote", channel(&nonce, &exporter, &of_leaf)),
    ]
    .map(|(what, presented)| (what, enclave.judge(&presented, Some(&known), now)))
    {
        assert_eq!(failed(&verdict), ["report-data"], "{what}");
    }
    let mut framed = enclave.connect("localhost", &["enclave-os/1"]);
    let answer = framed.attest_framed(&nonce);
    let (quote, exporter) = (self::quote(&answer), framed.exporter(&nonce));
    passes(&enclave.judge(&channel(&nonce, &exporter, &quote), Some(&collateral(&answer)), now));
    Ok(())
}

fn a_relay_in_front_of_another_enclave_is_refused(platform: Platform) -> Result<()> {
    let pki = tempfile::tempdir()?;
    let (target, relay) = (Enclave::start(platform, pki.path())?, Enclave::start(platform, pki.path())?);
    let (now, nonce) = (OffsetDateTime::now_utc(), [1; 32]);
    // The client's connection ends at the relay, which passes the question on.
    let front = relay.connect("localhost", &["http/1.1"]);
    let mut behind = target.connect("localhost", &["http/1.1"]);
    let answer = behind.attest("localhost", &nonce);
    let (chain, quote) = (front.chain(), quote(&answer));
    let exporter = front.exporter(&nonce);
    let presented = |exporter, chain| Presented::Channel {
        chain,
        server_name: Some("localhost"),
        nonce: &nonce,
        exporter,
        quote: &quote,
    };
    let known = collateral(&answer);
    let verdict = target.judge(&presented(&exporter, &chain), Some(&known), now);
    assert_eq!(failed(&verdict), ["report-data"]);
    // Even if the relay could show the target's certificate, the channel is another one.
    let shown = behind.chain();
    let verdict = target.judge(&presented(&exporter, &shown), Some(&known), now);
    assert_eq!(failed(&verdict), ["report-data"], "exporter of another connection");
    passes(&target.judge(&presented(&behind.exporter(&nonce), &shown), Some(&known), now));
    Ok(())
}

fn evidence_is_verified_offline_and_nothing_in_it_can_be_exchanged(platform: Platform) -> Result<()> {
    let pki = tempfile::tempdir()?;
    let enclave = Enclave::start(platform, pki.path())?;
    let early = enclave.evidence("localhost")?;
    enclave.load(platform, "one")?;
    let now = OffsetDateTime::now_utc();
    let (whole, app) = (enclave.evidence("localhost")?, enclave.evidence("one.example.com")?);
    for document in [&early, &whole, &app] {
        passes(&enclave.judge(&Presented::Evidence(document), None, now));
    }
    assert_eq!(whole.generations.last().unwrap().changed, ["app.one"]);
    for (what, document) in [
        (
            "the certificate of another time",
            EvidenceDocument { certificate_chain: early.certificate_chain.clone(), ..whole.clone() },
        ),
        (
            "the manifest of another time",
            EvidenceDocument { manifest: early.manifest.clone(), ..whole.clone() },
        ),
        (
            "the quote of another time",
            EvidenceDocument { evidence_quote: early.evidence_quote.clone(), ..whole.clone() },
        ),
        (
            "the certificate's quote",
            EvidenceDocument { evidence_quote: whole.certificate_quote.clone(), ..whole.clone() },
        ),
        ("the app's quote", EvidenceDocument { evidence_quote: app.evidence_quote.clone(), ..whole.clone() }),
        ("no quote", EvidenceDocument { evidence_quote: None, ..whole.clone() }),
        ("the proof of another time", EvidenceDocument { ca_proof: early.ca_proof.clone(), ..whole.clone() }),
    ] {
        let verdict = enclave.judge(&Presented::Evidence(&document), None, now);
        assert!(!verdict.accepted(), "{what}: {}", serde_json::to_string(&verdict)?);
    }
    Ok(())
}

impl Enclave {
    fn evidence(&self, name: &str) -> Result<EvidenceDocument> {
        let document = self.connect(name, &["http/1.1"]).get(name, "evidence");
        Ok(EvidenceDocument::from_json(&document.to_string())?)
    }
}

fn quote(answer: &Value) -> Vec<u8> {
    STANDARD.decode(answer["quote"].as_str().unwrap()).unwrap()
}

fn collateral(answer: &Value) -> Collateral {
    Collateral::from_json(&answer["collateral"].to_string()).unwrap()
}

fn leaf_quote(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    let leaf = attestation::leaf_certificate::LeafCertificate::from_der(&chain[0]).unwrap();
    leaf.quote.unwrap()
}

/// A connection whose handshake is over; the certificate is judged afterwards.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    fn connect(host: &HostProcess, server_name: &str, alpn: &[&str]) -> Result<Tls> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(JudgedLater(provider)))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(server_name.to_owned())?;
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        let mut tcp = TcpStream::connect(host.address())?;
        while client.is_handshaking() {
            client.complete_io(&mut tcp)?;
        }
        Ok(Tls(StreamOwned::new(client, tcp)))
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.conn.peer_certificates().unwrap().iter().map(|der| der.clone().into_owned()).collect()
    }

    fn exporter(&self, nonce: &[u8; 32]) -> [u8; 32] {
        self.0.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(nonce)).unwrap()
    }

    fn get(&mut self, name: &str, path: &str) -> Value {
        self.http(&format!("GET /.enclave/v1/{path} HTTP/1.1\r\nhost: {name}\r\n\r\n"))
    }

    fn attest(&mut self, name: &str, nonce: &[u8; 32]) -> Value {
        let body = json!({ "nonce": URL_SAFE_NO_PAD.encode(nonce) }).to_string();
        let length = body.len();
        self.http(&format!(
            "POST /.enclave/v1/attest HTTP/1.1\r\nhost: {name}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    fn http(&mut self, request: &str) -> Value {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        self.json(length.parse().unwrap())
    }

    fn attest_framed(&mut self, nonce: &[u8; 32]) -> Value {
        let frame = json!({ "attest": { "nonce": URL_SAFE_NO_PAD.encode(nonce) } }).to_string();
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], frame.as_bytes()].concat()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        self.json(u32::from_be_bytes(length) as usize)
    }

    fn json(&mut self, length: usize) -> Value {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// Checks that the peer has the key of its certificate, and leaves the rest to the verifier.
#[derive(Debug)]
struct JudgedLater(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for JudgedLater {
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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
