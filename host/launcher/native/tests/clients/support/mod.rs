//! A whole enclave in this process, and clients that speak to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use attestation::image_policy::ImagePolicy;
use boundary_ring::ChannelMemory;
use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver};
use host_services::quoting::Quoting;
use host_services::station::{Control, Services};
use host_services::storage;
use launcher_native::{Event, Events, Native, NativePlatform};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::Value;
use sgx_emu::SoftwareCpu;

/// A running enclave.
pub(crate) struct Host {
    native: Option<Native>,
    pub(crate) address: SocketAddr,
    events: Receiver<Event>,
}

impl Host {
    /// With a development policy, on the data and the CPU of `dir`.
    pub(crate) fn start(dir: &Path) -> Host {
        Self::start_with(dir, ImagePolicy { development: true, ..ImagePolicy::default() })
    }

    pub(crate) fn start_with(dir: &Path, policy: ImagePolicy) -> Host {
        Self::start_quoting(dir, policy, None)
    }

    /// With this in place of a quoting service.
    pub(crate) fn start_quoting(dir: &Path, policy: ImagePolicy, quoting: Option<Arc<dyn Quoting>>) -> Host {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let (told, events) = channel();
        let cpu = SoftwareCpu::open(&dir.join("cpu")).unwrap();
        let page = policy.to_page().unwrap();
        let tell = Box::new(move |event| drop(told.send(event)));
        let native = Native::start(cpu, page, 2, services(dir, quoting), listener, tell).unwrap();
        let host = Host { native: Some(native), address, events };
        match host.events.recv_timeout(Duration::from_secs(60)).unwrap() {
            Event::Serving => host,
            other => panic!("{other:?}"),
        }
    }

    /// One whose threads the test runs itself.
    pub(crate) fn at(address: SocketAddr, events: Receiver<Event>) -> Host {
        Host { native: None, address, events }
    }

    /// Ends it in order.
    pub(crate) fn stop(self) {
        if let Some(native) = self.native {
            native.shutdown(Duration::from_secs(5));
            native.join();
        }
        for event in self.events.try_iter() {
            assert!(matches!(event, Event::Ended { result: Ok(()), .. }), "{event:?}");
        }
    }

    pub(crate) fn tls(&self, server_name: &str, alpn: &[&str]) -> Tls {
        self.try_tls(server_name, alpn).unwrap()
    }

    /// The handshake up to where the client is done with it.
    pub(crate) fn try_tls(&self, server_name: &str, alpn: &[&str]) -> std::io::Result<Tls> {
        let provider = Arc::new(rustls_graviola::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(server_name.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut tls = StreamOwned::new(client, tcp);
        tls.flush()?;
        Ok(tls)
    }

    /// A framed connection to the enclave itself.
    pub(crate) fn framed(&self) -> Framed {
        Framed(self.tls("127.0.0.1", &[]))
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub(crate) fn http(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.http_as("localhost", method, target, &[("host", "localhost")], body)
    }

    pub(crate) fn http_as(
        &self,
        server_name: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut tls = self.tls(server_name, &["http/1.1"]);
        request(&mut tls, method, target, headers, body)
    }
}

fn services(dir: &Path, quoting: Option<Arc<dyn Quoting>>) -> Arc<Services> {
    Arc::new(Services {
        storage: storage::open(dir).unwrap(),
        quoting,
        log: Log::to_stderr(Format::Text).unwrap(),
        resolver: Resolver::start(Vec::new()).unwrap(),
        control: Control::new(10_000),
    })
}

/// What an enclave is made of, for a test that runs its threads itself: with a development policy.
pub(crate) fn parts(
    dir: &Path,
    workers: u16,
    events: Events,
) -> (Arc<NativePlatform>, Vec<ChannelMemory>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().unwrap();
    let cpu = SoftwareCpu::open(&dir.join("cpu")).unwrap();
    let page = ImagePolicy { development: true, ..ImagePolicy::default() }.to_page().unwrap();
    let (platform, channels) =
        NativePlatform::new(cpu, page, workers, services(dir, None), listener, events).unwrap();
    (platform, channels, address)
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What came back over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status and the code of a problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        let json = self.json();
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
        for key in ["type", "title", "detail"] {
            assert!(!json[key].as_str().unwrap().is_empty(), "{json}");
        }
        assert_eq!(json["status"], self.status);
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn request(
    tls: &mut Tls,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    tls.write_all(head.as_bytes()).unwrap();
    // A server that refuses early need not read it all.
    let _early = tls.write_all(body).is_err();
    answer(tls)
}

pub(crate) fn answer(tls: &mut Tls) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    tls.read_exact(&mut body).unwrap();
    Answer { status, head, body }
}

/// The framed protocol.
pub(crate) struct Framed(pub(crate) Tls);

impl Framed {
    /// A command in the spec's envelope.
    pub(crate) fn command(&mut self, command: &Value) -> Value {
        let inner = command.to_string().into_bytes();
        self.send(serde_json::json!({ "Data": inner }).to_string().as_bytes());
        let outer = self.receive().unwrap();
        let inner: Vec<u8> = serde_json::from_value(outer["Data"].clone()).unwrap();
        serde_json::from_slice(&inner).unwrap()
    }

    /// A frame as it is.
    pub(crate) fn raw(&mut self, frame: &[u8]) -> Value {
        self.send(frame);
        self.receive().unwrap()
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap();
        self.0.write_all(&[&length.to_be_bytes()[..], frame].concat()).unwrap();
        self.0.flush().unwrap();
    }

    /// `None`: the connection has ended.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        if self.0.read_exact(&mut length).is_err() {
            return None;
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        Some(serde_json::from_slice(&body).unwrap())
    }

    pub(crate) fn load(&mut self, name: &str, artifact: &[u8]) -> Value {
        self.command(&serde_json::json!({ "wasm_load": { "name": name, "bytes": artifact } }))
    }

    pub(crate) fn call(&mut self, app: &str, function: &str, params: Value) -> Value {
        self.command(
            &serde_json::json!({ "wasm_call": { "app": app, "function": function, "params": params } }),
        )
    }
}

/// A component with `answer() -> u32`, which gives `answer`, `twice(u32) -> u32` and `spin()`.
pub(crate) fn artifact(answer: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (func (export "answer") (result i32) (i32.const {answer}))
                (func (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
                (func (export "spin") (loop (br 0))))
            (core instance $i (instantiate $m))
            (func (export "answer") (result u32) (canon lift (core func $i "answer")))
            (func (export "twice") (param "number" u32) (result u32) (canon lift (core func $i "twice")))
            (func (export "spin") (canon lift (core func $i "spin"))))"#
    );
    let wasm = wat::parse_str(text).unwrap();
    enclave_os_compiler::compile(&wasm, enclave_os_compiler::NATIVE_TARGET).unwrap()
}

/// Says yes to every certificate: these tests are about what comes after.
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
