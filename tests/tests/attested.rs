//! What a connection may reach is what its certificate said (DESIGN D15, PROTOCOL "HTTP"), and nobody loads
//! what the measured policy does not let in.
//!
//! Bug: a client verifies one configuration and then talks to another; or it reaches management, or another
//! app, through an app's hostname; or an enclave without operators is open.
//! Required: `attestation-stale` and the end of the connection; nothing but the app; closed.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use anyhow::Result;
use attestation::manifest::{LeafValue, Manifest};
use enclave_os_client::{Body, ClientError, Connector, Framed, Http, Load, Params, danger};
use scenarios::host::{HostOptions, HostProcess};
use scenarios::operator::Operator;
use scenarios::platform::Platform;
use sha2::{Digest, Sha256};

scenarios::on_each_platform!(
    who_verified_one_configuration_does_not_reach_another,
    a_change_of_the_ca_ends_every_earlier_connection,
    at_an_apps_hostname_there_is_that_app_and_nothing_else,
    no_app_takes_the_enclaves_own_name,
    without_operators_and_development_nobody_loads,
    only_artifacts_are_loaded,
);

/// A component whose function `one` gives this number.
fn artifact(platform: Platform, number: u8) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (func (export "one") (result i32) i32.const {number}))
            (core instance $i (instantiate $m))
            (func (export "one") (result u32) (canon lift (core func $i "one"))))"#
    );
    let wasm = wat::parse_str(text).unwrap();
    enclave_os_compiler::compile(&wasm, platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET))
        .unwrap()
}

fn load(name: &str, bytes: &[u8]) -> Load {
    Load {
        name: name.into(),
        bytes: bytes.to_vec(),
        hostname: Some(format!("{name}.example.com")),
        ..Load::default()
    }
}

struct Enclave {
    host: HostProcess,
    _data: tempfile::TempDir,
}

impl Enclave {
    fn start(platform: Platform, policy: &str) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut options = HostOptions::development(platform, data.path().join("data"));
        options.policy = policy.to_owned();
        Ok(Enclave { host: HostProcess::start(&options)?, _data: data })
    }

    fn development(platform: Platform) -> Result<Self> {
        Self::start(platform, "development = true\nserved_names = [\"enclave.example.com\"]\n")
    }

    fn connector(&self) -> Connector {
        danger::accept_any_certificate(Connector::new(self.host.address().to_string()))
    }

    fn framed(&self) -> Framed {
        self.connector().framed().unwrap()
    }

    fn http(&self) -> Http {
        self.connector().http().unwrap()
    }

    /// To an app's hostname, with this `Host`.
    fn http_at(&self, server_name: &str, host: &str) -> Http {
        let connection = self.connector().server_name(server_name).connect(&[b"http/1.1"]).unwrap();
        Http::new(connection, host)
    }

    fn framed_at(&self, server_name: &str) -> Framed {
        self.connector().server_name(server_name).framed().unwrap()
    }
}

fn one(connection: &mut Framed, app: &str) -> Result<serde_json::Value, ClientError> {
    Ok(connection.call(app, "one", Params::default())?[0]["value"].clone())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, code: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

fn who_verified_one_configuration_does_not_reach_another(platform: Platform) -> Result<()> {
    let enclave = Enclave::development(platform)?;
    let (first, second) = (artifact(platform, 1), artifact(platform, 2));
    let mut early = enclave.framed();
    let mut owner = enclave.framed();
    owner.load(load("changing", &first))?;
    owner.load(load("steady", &first))?;
    assert_eq!(one(&mut owner, "changing")?, 1, "one's own change does not count");

    refused(one(&mut early, "changing"), "attestation-stale");
    assert!(matches!(early.ping(), Err(ClientError::Closed | ClientError::Io(_))), "the connection ends");

    let mut verified = [enclave.framed(), enclave.framed()];
    let mut at_app = enclave.framed_at("changing.example.com");
    for connection in verified.iter_mut().chain([&mut at_app]) {
        let claims = connection.peer().claims()?;
        let said = claims.apps.iter().find(|app| app.name == "changing").unwrap().code_hash;
        assert_eq!(said[..], Sha256::digest(&first)[..]);
        assert_eq!(one(connection, "changing")?, 1);
    }
    owner.load(load("changing", &second))?;
    assert_eq!(one(&mut verified[1], "steady")?, 1, "other apps go on");
    for connection in verified.iter_mut().chain([&mut at_app]) {
        refused(one(connection, "changing"), "attestation-stale");
    }
    assert_eq!(one(&mut owner, "changing")?, 2);
    assert_eq!(one(&mut enclave.framed(), "changing")?, 2, "a new connection sees a new certificate");

    // The same code with another limit is another configuration, and so is the same load once more.
    let mut verified = enclave.framed();
    owner.load(Load { max_fuel: Some(5_000), ..load("changing", &second) })?;
    refused(one(&mut verified, "changing"), "attestation-stale");
    let mut verified = enclave.framed();
    owner.unload("changing")?;
    owner.load(load("changing", &second))?;
    refused(one(&mut verified, "changing"), "attestation-stale");
    Ok(())
}

fn a_change_of_the_ca_ends_every_earlier_connection(platform: Platform) -> Result<()> {
    let enclave = Enclave::development(platform)?;
    enclave.framed().load(load("app", &artifact(platform, 1)))?;
    let (mut framed, mut http) = (enclave.framed(), enclave.http());
    // A renewed certificate over the same key: the enclave's own, signed by a CA outside.
    let csr = http.ca_csr()?;
    let chain = Operator::new()?.sign(&csr)?;
    http.ca_install(chain.as_bytes())?;
    http.manifest()?;
    refused(one(&mut framed, "app"), "attestation-stale");
    let mut after = enclave.framed();
    assert_eq!(one(&mut after, "app")?, 1);
    assert_eq!(after.peer().chain_der().count(), 3);
    Ok(())
}

fn at_an_apps_hostname_there_is_that_app_and_nothing_else(platform: Platform) -> Result<()> {
    let enclave = Enclave::development(platform)?;
    let bytes = artifact(platform, 1);
    let mut owner = enclave.framed();
    owner.load(load("mine", &bytes))?;
    owner.load(load("other", &bytes))?;

    let mut framed = enclave.framed_at("mine.example.com");
    assert_eq!(framed.peer().claims()?.app.unwrap().code_hash[..], Sha256::digest(&bytes)[..]);
    assert_eq!(one(&mut framed, "mine")?, 1);
    refused(one(&mut framed, "other"), "unknown-app");
    refused(framed.schema("other"), "unknown-app");
    refused(framed.list(), "not-here");
    refused(framed.load(load("third", &bytes)), "not-here");
    refused(framed.load(load("mine", &bytes)), "not-here");
    refused(framed.unload("mine"), "not-here");
    assert_eq!(owner.list()?.len(), 2);

    let mut http = enclave.http_at("mine.example.com", "mine.example.com");
    let manifest: Manifest = http.manifest()?;
    assert!(manifest.leaf("code_hash").is_some(), "the app's own manifest");
    assert!(manifest.leaves().iter().all(|leaf| !leaf.name().contains("other")));
    assert_eq!(manifest.root(), http.peer().claims()?.app.unwrap().configuration_root);
    let proof = http.proof("app.mine.code_hash")?;
    http.peer().check_proof(&proof)?;
    http.proof("app.other.code_hash").unwrap_err();
    for (method, path) in [
        ("GET", "apps"),
        ("GET", "apps/mine"),
        ("DELETE", "apps/mine"),
        ("PUT", "apps/mine"),
        ("GET", "apps/mine/logs"),
        ("GET", "metrics"),
        ("GET", "ca/csr"),
        ("POST", "ca/install"),
        ("POST", "apps/other/call/one"),
        ("GET", "apps/other/schema"),
    ] {
        let mut http = enclave.http_at("mine.example.com", "mine.example.com");
        let body = if method == "GET" { Body::Empty } else { Body::Bytes("application/json", b"[]") };
        let response = http.request(method, &format!("/.enclave/v1/{path}"), &[], body)?;
        assert!(matches!(response.status, 403 | 404), "{method} {path}: {}", response.status);
    }
    for host in
        ["other.example.com", "enclave.example.com", "localhost", "127.0.0.1", "mine.example.com.evil"]
    {
        let mut http = enclave.http_at("mine.example.com", host);
        let response = http.request("GET", "/.enclave/v1/health", &[], Body::Empty)?;
        assert_eq!(response.status, 421, "{host}");
    }
    let mut http = enclave.http_at("mine.example.com", "MINE.example.com:8443");
    assert_eq!(http.request("GET", "/.enclave/v1/health", &[], Body::Empty)?.status, 200);
    assert_eq!(owner.list()?.len(), 2);
    Ok(())
}

fn no_app_takes_the_enclaves_own_name(platform: Platform) -> Result<()> {
    let enclave = Enclave::development(platform)?;
    let mut owner = enclave.framed();
    for own in ["localhost", "enclave.example.com"] {
        let thief = Load { hostname: Some(own.into()), ..load("thief", &artifact(platform, 1)) };
        refused(owner.load(thief), "hostname-reserved");
        assert!(enclave.framed_at(own).peer().claims()?.app.is_none());
    }
    assert!(owner.list()?.is_empty());
    Ok(())
}

fn without_operators_and_development_nobody_loads(platform: Platform) -> Result<()> {
    for policy in ["", "served_names = [\"e.example.com\"]\n"] {
        let enclave = Enclave::start(platform, policy)?;
        let mut framed = enclave.framed();
        framed.ping()?;
        let why = refused(framed.load(load("app", &artifact(platform, 1))), "no-operators");
        assert!(why.contains("development = true"), "{why}");
        refused(framed.unload("app"), "no-operators");
        refused(framed.list(), "no-operators");
        let mut http = enclave.http();
        for (method, path) in [
            ("PUT", "apps/app"),
            ("DELETE", "apps/app"),
            ("GET", "apps"),
            ("GET", "apps/app"),
            ("POST", "ca/install"),
        ] {
            let body = if method == "GET" {
                Body::Empty
            } else {
                Body::Bytes("application/octet-stream", b"\x7fELF")
            };
            let token = [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")];
            let response = http.request(method, &format!("/.enclave/v1/{path}"), &token, body)?;
            assert_eq!(response.status, 403, "{method} {path}");
            http = enclave.http();
        }
        let manifest = http.manifest()?;
        let LeafValue::Json(code) = manifest.leaf("core.code_policy").unwrap().value() else {
            panic!("JSON")
        };
        assert_eq!(code["native_artifacts"], "nobody");
    }
    Ok(())
}

fn only_artifacts_are_loaded(platform: Platform) -> Result<()> {
    let enclave = Enclave::development(platform)?;
    let mut framed = enclave.framed();
    let wasm = wat::parse_str("(component)").unwrap();
    let why = refused(framed.load(load("app", &wasm)), "not-compiled");
    assert!(why.contains("enclave-os compile"), "{why}");
    refused(framed.load(load("app", b"#!/bin/sh")), "not-an-artifact");
    refused(framed.load(load("app", b"")), "not-an-artifact");
    // The magic alone makes no artifact.
    let damaged = [&b"\x7fELF"[..], &[0xff; 4096]].concat();
    framed.load(load("app", &damaged)).unwrap_err();
    let whole = artifact(platform, 1);
    for length in [64, whole.len() / 2, whole.len() - 100] {
        framed.load(load("app", &whole[..length])).unwrap_err();
    }
    assert!(framed.list()?.is_empty());
    framed.load(load("app", &whole))?;
    Ok(())
}
