//! Quotes on a live server: in certificates, for a nonce, for a connection, in documents; and hosts that give
//! none, or others than they were asked for.

use std::path::Path;
use std::sync::{Arc, Mutex};

use attestation::leaf_certificate::LeafCertificate;
use attestation::manifest::Manifest;
use attestation::report_data::{Binding, EXPORTER_LABEL, compute};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use host_services::quoting::{Quoting, QuotingError};
use rustls::AlertDescription;
use serde_json::{Value, json};
use sgx_emu::quoting::{DevelopmentPki, PlatformFacts, QuotingEnclave};
use sgx_emu::{EnclaveState, SoftwareCpu};
use sha2::{Digest, Sha256, Sha512};

use super::support::{Answer, Host, Tls, artifact, request};

/// What a host does when it is asked for a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Honest,
    Unavailable,
    /// The quote that it gave before.
    Replayed,
    Truncated,
    OtherEnclave,
    OtherReportData,
}

/// A quoting service on the CPU of `dir`.
#[derive(Clone)]
struct Service(Arc<Inner>);

struct Inner {
    cpu: SoftwareCpu,
    enclave: QuotingEnclave,
    collateral: String,
    mode: Mutex<Mode>,
    last: Mutex<Vec<u8>>,
}

impl Service {
    fn new(dir: &Path, mode: Mode) -> Service {
        let open = || SoftwareCpu::open(&dir.join("cpu")).unwrap();
        let now = time::OffsetDateTime::from_unix_timestamp(1_795_180_455).unwrap();
        let pki = DevelopmentPki::generate(&PlatformFacts::development(), now).unwrap();
        let enclave = QuotingEnclave::new(Arc::new(open()), &pki).unwrap();
        let (mode, last) = (Mutex::new(mode), Mutex::default());
        Service(Arc::new(Inner { cpu: open(), enclave, collateral: pki.collateral_json(), mode, last }))
    }

    fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    /// A quote about an enclave on this machine.
    fn about(&self, state: EnclaveState, data: &[u8; 64]) -> Vec<u8> {
        let report = self.0.cpu.ereport(&state, &self.0.enclave.target_info(), data);
        self.0.enclave.quote(&report).unwrap()
    }
}

impl Quoting for Service {
    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        Ok(self.0.enclave.target_info().to_vec())
    }

    fn collateral(&self) -> Result<Vec<u8>, QuotingError> {
        Ok(self.0.collateral.clone().into_bytes())
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        let report: [u8; 432] = report.try_into().unwrap();
        let data: [u8; 64] = report[320..384].try_into().unwrap();
        let quote = self.0.enclave.quote(&report).unwrap();
        let mut last = self.0.last.lock().unwrap();
        let mode = *self.0.mode.lock().unwrap();
        match mode {
            Mode::Honest => {
                last.clone_from(&quote);
                Ok(quote)
            }
            Mode::Unavailable => Err(QuotingError::Unavailable("no aesmd at its socket".to_owned())),
            Mode::Replayed => Ok(last.clone()),
            Mode::Truncated => Ok(quote[..quote.len() - 10].to_vec()),
            Mode::OtherEnclave => {
                Ok(self.about(EnclaveState { mrenclave: [9; 32], ..EnclaveState::development() }, &data))
            }
            Mode::OtherReportData => Ok(self.about(EnclaveState::development(), &[7; 64])),
        }
    }
}

fn start(dir: &Path, mode: Mode) -> (Host, Service) {
    let service = Service::new(dir, mode);
    let policy = attestation::image_policy::ImagePolicy { development: true, ..Default::default() };
    (Host::start_quoting(dir, policy, Some(Arc::new(service.clone()))), service)
}

fn leaf(tls: &Tls) -> LeafCertificate {
    LeafCertificate::from_der(&tls.conn.peer_certificates().unwrap()[0]).unwrap()
}

/// A connection whose handshake is over.
fn connected(host: &Host, server_name: &str, alpn: &[&str]) -> Result<Tls, rustls::Error> {
    let refused = |error: std::io::Error| match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) => panic!("no answer: {error:?}"),
    };
    let mut tls = host.try_tls(server_name, alpn).map_err(refused)?;
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).map_err(refused)?;
    }
    Ok(tls)
}

fn nonce_name(nonce: &[u8; 32]) -> String {
    format!("enclave-os-nonce/{}", URL_SAFE_NO_PAD.encode(nonce))
}

fn report_data(quote: &[u8]) -> &[u8; 64] {
    quote[48 + 320..48 + 384].try_into().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn load(host: &Host, name: &str) {
    let load =
        json!({"wasm_load": {"name": name, "bytes": artifact(1), "hostname": format!("{name}.example.com")}});
    assert_eq!(host.framed().command(&load)["status"], "loaded");
}

fn evidence(host: &Host, name: &str, query: &str) -> Value {
    let target = format!("/.enclave/v1/evidence{query}");
    host.http_as(name, "GET", &target, &[("host", name)], b"").json()
}

#[test]
fn each_certificate_carries_a_quote_over_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = start(dir.path(), Mode::Honest);
    load(&host, "a");
    let mut keys = Vec::new();
    for name in ["localhost", "a.example.com"] {
        let leaf = leaf(&connected(&host, name, &[]).unwrap());
        let expected = compute(&leaf.spki_der, Binding::NotBefore(leaf.not_before));
        assert_eq!(report_data(&leaf.quote.unwrap()), &expected, "{name}");
        keys.push(leaf.spki_der);
    }
    assert_ne!(keys[0], keys[1]);
    let quotes = &host.http("GET", "/.enclave/v1/ready", b"").json()["quotes"];
    assert_eq!((&quotes["state"], &quotes["certificate"]), (&json!("available"), &json!(true)), "{quotes}");
    host.stop();
}

#[test]
fn a_nonce_gets_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = start(dir.path(), Mode::Honest);
    load(&host, "a");
    let nonce = [0xfb; 32];
    let name = nonce_name(&nonce);
    for server_name in ["localhost", "a.example.com"] {
        let cached = leaf(&connected(&host, server_name, &["http/1.1"]).unwrap());
        let connection = || connected(&host, server_name, &[&name, "http/1.1"]).unwrap();
        let (mut first, second) = (connection(), connection());
        assert_eq!(first.conn.alpn_protocol(), Some(&b"http/1.1"[..]), "a normal protocol");
        let said = leaf(&first);
        assert_eq!(report_data(&said.quote.unwrap()), &compute(&said.spki_der, Binding::Nonce(&nonce)));
        assert_eq!(said.not_after - said.not_before, time::Duration::minutes(5));
        assert_eq!(said.configuration_root, cached.configuration_root);
        assert_ne!(leaf(&second).spki_der, said.spki_der, "of this connection alone");
        let again = leaf(&connected(&host, server_name, &["http/1.1"]).unwrap());
        assert_eq!(again.spki_der, cached.spki_der);
        let answer = request(&mut first, "GET", "/.enclave/v1/health", &[("host", server_name)], b"");
        assert_eq!(answer.status, 200);
    }
    host.stop();
}

#[test]
fn a_nonce_that_cannot_be_answered_ends_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let (host, service) = start(dir.path(), Mode::Honest);
    let refused = |alpn: &[&str]| match connected(&host, "localhost", alpn) {
        Err(rustls::Error::AlertReceived(alert)) => alert,
        other => panic!("{alpn:?}: {other:?}"),
    };
    let (one, two) = (nonce_name(&[1; 32]), nonce_name(&[2; 32]));
    let short = format!("enclave-os-nonce/{}", URL_SAFE_NO_PAD.encode([1; 31]));
    for alpn in [
        &["enclave-os-nonce/", "h2"][..],
        &["enclave-os-nonce/***", "h2"],
        &[short.as_str(), "h2"],
        &[one.as_str(), two.as_str(), "h2"],
        &[one.as_str(), one.as_str(), "h2"],
        // Nothing normal beside it.
        &[one.as_str()],
    ] {
        assert_eq!(refused(alpn), AlertDescription::NoApplicationProtocol, "{alpn:?}");
    }
    // No quote: never the cached certificate in its place.
    service.set(Mode::Unavailable);
    assert_eq!(refused(&[&one, "h2"]), AlertDescription::HandshakeFailure);
    service.set(Mode::OtherReportData);
    assert_eq!(refused(&[&one, "h2"]), AlertDescription::HandshakeFailure);
    let ready = host.http("GET", "/.enclave/v1/ready", b"").json();
    assert_eq!(ready["quotes"]["challenges_refused"], 2, "{ready}");
    assert_eq!(ready["quotes"]["host_misbehaved"], true, "{ready}");
    service.set(Mode::Honest);
    connected(&host, "localhost", &[&one, "h2"]).unwrap();
    host.stop();
}

/// Required: what cannot be answered costs no quote, and one connection has few of them.
#[test]
fn a_connection_has_few_quotes_and_pays_for_good_nonces_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (host, service) = start(dir.path(), Mode::Honest);
    // So that asking is quicker than the limit on any machine.
    service.set(Mode::Unavailable);
    let ask = |length| json!({ "attest": { "nonce": URL_SAFE_NO_PAD.encode(vec![1; length]) } }).to_string();
    let mut framed = host.framed();
    let mut said = |length| framed.raw(ask(length).as_bytes())["code"].as_str().unwrap().to_owned();
    for _ in 0..300 {
        assert_eq!(said(31), "bad-request");
    }
    assert_eq!(said(32), "no-quote");
    let mut asked = 1;
    while said(32) != "overloaded" {
        asked += 1;
        assert!(asked < 200, "it has as many as the whole enclave");
    }
    service.set(Mode::Honest);
    assert!(host.framed().raw(ask(32).as_bytes())["quote"].is_string(), "another connection has its own");
    host.stop();
}

/// The quote of an answer to `attest`, checked as a client does over this very connection.
fn check_channel(tls: &Tls, nonce: &[u8; 32], answer: &Value) -> Vec<u8> {
    assert!(answer["issued"].as_str().unwrap().ends_with('Z'), "{answer}");
    assert!(answer["collateral"]["tcb_info"].is_string(), "{answer}");
    let exporter = tls.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(nonce)).unwrap();
    let expected = compute(&leaf(tls).spki_der, Binding::Channel { nonce, exporter: &exporter });
    let quote = bytes(&answer["quote"]);
    assert_eq!(report_data(&quote), &expected);
    quote
}

#[test]
fn attest_binds_a_quote_to_the_connection_that_asks() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = start(dir.path(), Mode::Honest);
    load(&host, "a");
    let nonce = [9; 32];
    let body = json!({ "nonce": URL_SAFE_NO_PAD.encode(nonce) });
    let frame = json!({ "attest": body });
    let mut quotes = Vec::new();
    for _ in 0..2 {
        let mut framed = host.framed();
        let answer = framed.raw(frame.to_string().as_bytes());
        quotes.push(check_channel(&framed.0, &nonce, &answer));
        let wrapped = framed.command(&frame);
        quotes.push(check_channel(&framed.0, &nonce, &wrapped));
    }
    assert_eq!(report_data(&quotes[0]), report_data(&quotes[1]), "the same connection and nonce");
    assert_ne!(report_data(&quotes[0]), report_data(&quotes[2]), "another connection");
    for (name, alpn) in
        [("localhost", &["http/1.1"][..]), ("a.example.com", &[]), ("localhost", &["h2", "http/1.1"][1..])]
    {
        let mut tls = host.tls(name, alpn);
        let answer: Answer =
            request(&mut tls, "POST", "/.enclave/v1/attest", &[("host", name)], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        let quote = check_channel(&tls, &nonce, &answer.json());
        assert!(quotes.iter().all(|other| report_data(other) != report_data(&quote)));
    }
    // A challenged connection has another key, and attests that one.
    let mut tls = connected(&host, "localhost", &[&nonce_name(&nonce), "http/1.1"]).unwrap();
    let headers = [("host", "localhost")];
    let answer = request(&mut tls, "POST", "/.enclave/v1/attest", &headers, body.to_string().as_bytes());
    check_channel(&tls, &nonce, &answer.json());
    host.stop();
}

#[test]
fn nobody_chooses_what_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = start(dir.path(), Mode::Honest);
    let nonce = URL_SAFE_NO_PAD.encode([9; 32]);
    for body in [
        json!({ "nonce": nonce, "exporter": "00".repeat(32) }),
        json!({ "nonce": nonce, "report_data": "00".repeat(64) }),
        json!({ "nonce": format!("{nonce}=") }),
        json!({ "nonce": URL_SAFE_NO_PAD.encode([9; 31]) }),
        json!({ "nonce": URL_SAFE_NO_PAD.encode([9; 64]) }),
        json!({ "nonce": 7 }),
        json!({}),
    ] {
        let (status, code) = host.http("POST", "/.enclave/v1/attest", body.to_string().as_bytes()).problem();
        assert_eq!((status, code.as_str()), (400, "bad-request"), "{body}");
        let frame = json!({ "attest": body }).to_string();
        assert_eq!(host.framed().raw(frame.as_bytes())["code"], "bad-request", "{body}");
    }
    host.stop();
}

#[test]
fn evidence_is_bound_to_leaf_and_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let (host, service) = start(dir.path(), Mode::Honest);
    load(&host, "a");
    load(&host, "b");
    for name in ["localhost", "a.example.com"] {
        let document = evidence(&host, name, "?interop=1");
        let chain = document["certificate_chain"].as_array().unwrap();
        let shown = connected(&host, name, &[]).unwrap();
        let shown = shown.conn.peer_certificates().unwrap();
        assert!(chain.iter().map(bytes).eq(shown.iter().map(|der| der.to_vec())));
        let leaf = LeafCertificate::from_der(&shown[0]).unwrap();
        assert_eq!(leaf.quote.unwrap(), bytes(&document["certificate_quote"]));
        let manifest: Manifest = serde_json::from_value(document["manifest"].clone()).unwrap();
        let root = leaf.app.as_ref().map_or(leaf.configuration_root, |app| app.configuration_root);
        assert_eq!(manifest.root(), root);
        let expected = Sha512::new()
            .chain_update("enclave-os evidence v1")
            .chain_update(Sha256::digest(&shown[0]))
            .chain_update(root);
        assert_eq!(report_data(&bytes(&document["evidence_quote"]))[..], expected.finalize()[..]);
        assert_eq!(evidence(&host, name, "")["evidence_quote"], document["evidence_quote"], "made once");
        let generations = document["generations"].as_array().unwrap();
        let newest = generations.last().unwrap();
        let hex: String = leaf.configuration_root.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(newest["configuration_root"], hex);
        let interop = &document["interop"];
        let claims = Sha256::digest(bytes(&interop["claims"]));
        assert_eq!(report_data(&bytes(&interop["quote"]))[..32], claims[..]);
        let collateral: Value = serde_json::from_str(&service.0.collateral).unwrap();
        assert_eq!(document["collateral"], collateral, "as the host gave it");
        if name == "a.example.com" {
            let text = document.to_string();
            assert!(!text.contains("app.b") && !text.contains("b.example.com"), "no other app is named");
        }
    }
    // The leaf changed, so the quote did.
    let before = evidence(&host, "localhost", "");
    load(&host, "c");
    let after = evidence(&host, "localhost", "");
    assert_eq!(before["certificate_quote"], after["certificate_quote"], "the key is the same");
    assert_ne!(before["evidence_quote"], after["evidence_quote"]);
    assert_eq!(after["generations"].as_array().unwrap().last().unwrap()["changed"], json!(["app.c"]));
    host.stop();
}

/// Waits until `ready` says of quotes what is wanted: the enclave asks again by itself, after a while.
fn until(host: &Host, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let quotes = host.http("GET", "/.enclave/v1/ready", b"").json()["quotes"].clone();
        if wanted(&quotes) {
            return quotes;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_host_without_quotes_is_served_and_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let (host, service) = start(dir.path(), Mode::Unavailable);
    load(&host, "a");
    assert!(leaf(&connected(&host, "localhost", &[]).unwrap()).quote.is_none());
    let quotes = host.http("GET", "/.enclave/v1/ready", b"").json()["quotes"].clone();
    assert_eq!((&quotes["state"], &quotes["certificate"]), (&json!("none"), &json!(false)), "{quotes}");
    assert!(quotes["reason"].as_str().unwrap().contains("no aesmd at its socket"), "{quotes}");
    let nonce = json!({ "nonce": URL_SAFE_NO_PAD.encode([1; 32]) }).to_string();
    let refused = host.http("POST", "/.enclave/v1/attest", nonce.as_bytes());
    assert_eq!(refused.problem(), (503, "no-quote".to_owned()));
    let document = evidence(&host, "localhost", "");
    assert!(document["evidence_quote"].is_null() && document["certificate_quote"].is_null());
    let (status, code) = host.http("GET", "/.enclave/v1/evidence?interop=1", b"").problem();
    assert_eq!((status, code.as_str()), (503, "no-quote"));
    // When there are quotes, certificates get them without anybody asking.
    service.set(Mode::Honest);
    until(&host, |quotes| quotes["certificate"] == true);
    for name in ["localhost", "a.example.com"] {
        assert!(leaf(&connected(&host, name, &[]).unwrap()).quote.is_some(), "{name}");
    }
    host.stop();
}

#[test]
fn a_quote_about_something_else_is_not_served() {
    for mode in [Mode::Truncated, Mode::OtherEnclave, Mode::OtherReportData, Mode::Replayed] {
        let dir = tempfile::tempdir().unwrap();
        let (host, service) = start(dir.path(), Mode::Honest);
        let good = leaf(&connected(&host, "localhost", &[]).unwrap()).quote.unwrap();
        service.set(mode);
        load(&host, "a");
        let served = |name| leaf(&connected(&host, name, &[]).unwrap()).quote;
        assert!(served("a.example.com").is_none(), "{mode:?}");
        assert!(served("localhost") == Some(good), "{mode:?}: the good one is kept");
        let nonce = json!({ "nonce": URL_SAFE_NO_PAD.encode([1; 32]) }).to_string();
        let refused = host.http("POST", "/.enclave/v1/attest", nonce.as_bytes());
        assert_eq!(refused.problem(), (503, "no-quote".to_owned()), "{mode:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("misbehaved"), "{refused:?}");
        let quotes = host.http("GET", "/.enclave/v1/ready", b"").json()["quotes"].clone();
        assert_eq!(
            (&quotes["state"], &quotes["host_misbehaved"]),
            (&json!("none"), &json!(true)),
            "{mode:?}"
        );
        host.stop();
    }
}

#[test]
fn who_asks_too_often_is_told_to_wait_and_the_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (host, service) = start(dir.path(), Mode::Honest);
    // So that asking is quicker than the limit on any machine.
    service.set(Mode::Unavailable);
    let frame = json!({ "attest": { "nonce": URL_SAFE_NO_PAD.encode([1; 32]) } }).to_string();
    let mut framed = host.framed();
    for _ in 0..64 {
        framed.send(frame.as_bytes());
    }
    let mut sent = 64;
    loop {
        match framed.receive().unwrap()["code"].as_str().unwrap() {
            "overloaded" => break,
            "no-quote" => {}
            other => panic!("{other}"),
        }
        framed.send(frame.as_bytes());
        sent += 1;
        assert!(sent < 100_000);
    }
    service.set(Mode::Honest);
    assert_eq!(host.framed().raw(b"\"Ping\""), json!("Pong"));
    connected(&host, "localhost", &[&nonce_name(&[1; 32]), "h2"]).unwrap();
    host.stop();
}
