//! An enclave whose policy names two operators, and what asks it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use attestation::operator_token::{Role, Token, encode};
use boundary_wire::client::{Command, Envelope, Reply, Request, Unload};
use enclave_os_client::{
    Access, Body, ClientError, Connector, Framed, Http, Load, OperatorKey, Response, Secret, danger,
};
use graviola::hashing::Sha256 as Hash;
use graviola::signing::ecdsa::{P256, SigningKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::Value;

/// Throw-away keys. Always the same ones: each policy is another image, which is kept.
pub(crate) const MANAGER: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0EBfswbl0Lmmo3Z7
T5z2/hVyNlsIF0yvdTv0fTk14QuhRANCAASmZIpiAcuo4ds/P0PGnM3WDkFNlNkq
zEdlgiQ5xUMppJxWc6EuxZ17LxFM6udHjMyLierSg3YHfm5romSwVcVw
-----END PRIVATE KEY-----
";
pub(crate) const WATCHER: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIDVZ/mmPbkQdf0wP0/SBzNc5XUh8tYe6Lww9qGC64o4P
-----END PRIVATE KEY-----
";

pub(crate) fn key(pem: &str) -> Arc<OperatorKey> {
    Arc::new(OperatorKey::from_pem(pem).unwrap())
}

/// The manager's key for what no client would sign.
pub(crate) fn raw_key() -> SigningKey<P256> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(MANAGER.as_bytes()).unwrap();
    SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).unwrap()
}

pub(crate) fn sign(message: &[u8]) -> Result<[u8; 64], graviola::Error> {
    let mut signature = [0; 64];
    raw_key().sign::<Hash>(&[message], &mut signature)?;
    Ok(signature)
}

/// A token of the manager with any claims.
pub(crate) fn signed(token: &Token) -> String {
    encode(token, &key(MANAGER).public(), None, sign).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn policy() -> String {
    let entry = |name: &str, role: &str, pem: &str| {
        let key = key(pem).public().to_pem();
        format!("[[operators]]\nname = \"{name}\"\nrole = \"{role}\"\nkey = '''\n{key}'''\n")
    };
    entry("manager", "manager", MANAGER) + &entry("watcher", "monitoring", WATCHER)
}

pub(crate) struct Enclave {
    pub(crate) host: HostProcess,
    options: HostOptions,
    pub(crate) folder: tempfile::TempDir,
}

impl Enclave {
    pub(crate) fn start(platform: Platform) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.policy = policy();
        Ok(Enclave { host: HostProcess::start(&options)?, options, folder })
    }

    pub(crate) fn restart(self) -> Result<Self> {
        let Enclave { host, options, folder } = self;
        assert!(host.stop()?.success());
        Ok(Enclave { host: HostProcess::start(&options)?, options, folder })
    }

    pub(crate) fn connector(&self) -> Connector {
        danger::accept_any_certificate(Connector::new(self.host.address().to_string()))
    }

    pub(crate) fn framed(&self) -> Framed {
        self.connector().framed().unwrap()
    }

    pub(crate) fn http(&self) -> Http {
        self.connector().http().unwrap()
    }

    /// With the key that may do everything.
    pub(crate) fn manager(&self) -> Framed {
        self.framed().operator(key(MANAGER)).unwrap()
    }

    pub(crate) fn audience(&self) -> String {
        self.framed().peer().audience().unwrap()
    }

    /// What a token of this role says here and now.
    pub(crate) fn token(&self, role: Role) -> Token {
        Token {
            aud: self.audience(),
            iat: now(),
            nbf: None,
            exp: now() + 120,
            role,
            apps: (role == Role::App).then(|| vec!["shop".to_owned()]),
            nonce: None,
            iss: None,
            sub: None,
            jti: None,
        }
    }

    /// The answers to `wasm_list`, and to `GET apps`, with this token.
    pub(crate) fn list(&self, token: Option<&str>) -> (Result<Reply, String>, Response) {
        (ask(&mut self.framed(), Command::List, token), get(&mut self.http(), "apps", token))
    }
}

pub(crate) fn ask(framed: &mut Framed, command: Command, token: Option<&str>) -> Result<Reply, String> {
    let auth = token.map(Secret::new);
    framed.request(&Request::Envelope(Envelope { auth, command })).map_err(|error| error.code().to_owned())
}

pub(crate) fn send(http: &mut Http, method: &str, path: &str, token: Option<&str>) -> Response {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
    http.request(method, &format!("/.enclave/v1/{path}"), &headers, Body::Empty).unwrap()
}

pub(crate) fn get(http: &mut Http, path: &str, token: Option<&str>) -> Response {
    send(http, "GET", path, token)
}

pub(crate) fn code(response: &Response) -> String {
    serde_json::from_slice::<Value>(&response.body).unwrap()["code"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn unload(name: &str) -> Command {
    Command::Unload(Unload { name: name.to_owned() })
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, code: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

/// A component whose function `one` gives this number.
pub(crate) fn artifact(platform: Platform, number: u8) -> Vec<u8> {
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

pub(crate) fn load(platform: Platform, name: &str, access: Access) -> Load {
    Load { name: name.into(), bytes: artifact(platform, 1), access: Some(access), ..Load::default() }
}
