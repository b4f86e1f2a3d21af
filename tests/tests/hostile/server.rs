//! A server with a small app, for clients that do harm.

use std::io::Read;

use boundary_wire::client::Load;
use enclave_os_client::{Body, ClientError, Connection, Framed, Params};
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::{Value, json};

/// Calls of one app at a time, by default, and as many that wait.
pub(crate) const CALLS_OF_AN_APP: u32 = 64;

pub(crate) struct Server {
    pub(crate) host: HostProcess,
    platform: Platform,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(platform: Platform) -> Server {
        Server::with_policy(platform, "development = true\n")
    }

    pub(crate) fn with_policy(platform: Platform, policy: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.policy = policy.to_owned();
        Server { host: HostProcess::start(&options).unwrap(), platform, _folder: folder }
    }

    /// Loads the app: `twice(number: u32) -> u32`, `length(text: string) -> u32`, and `spin()`, which has ten
    /// minutes and all the fuel there is.
    pub(crate) fn load(&self, name: &str) {
        let limits = Load {
            name: name.into(),
            bytes: artifact(self.platform),
            max_fuel: Some(u64::MAX / 2),
            timeout_ms: Some(600_000),
            ..Load::default()
        };
        self.host.framed().unwrap().load(limits).unwrap();
    }

    pub(crate) fn twice(&self, client: &mut Framed, number: u32) -> u64 {
        let params = Params::Positional(vec![json!(number)]);
        // What was loaded after the handshake is for new connections.
        let returns = match client.call("a", "twice", params.clone()) {
            Err(ClientError::Refused(error)) if error.code == "attestation-stale" => {
                self.host.framed().unwrap().call("a", "twice", params)
            }
            other => other,
        };
        returns.unwrap()[0]["value"].as_u64().unwrap()
    }

    /// Status and code of a call of the app over a connection of its own.
    pub(crate) fn call_over_http(&self, app: &str, function: &str, body: &[u8]) -> (u16, String) {
        let mut http = self.host.connector().http().unwrap();
        let target = format!("/.enclave/v1/apps/{app}/call/{function}");
        let answer = http.request("POST", &target, &[], Body::Bytes("application/json", body)).unwrap();
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"), "{json}");
        }
        (answer.status, json["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Status and code of a problem.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let mut http = self.host.connector().http().unwrap();
        let body = Body::Bytes("application/json", body);
        let answer = http.request("POST", &format!("/.enclave/v1/{path}"), &[], body).unwrap();
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, json["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn ready(&self) -> String {
        let mut http = self.host.connector().http().unwrap();
        let answer = http.request("GET", "/.enclave/v1/ready", &[], Body::Empty).unwrap();
        String::from_utf8(answer.body).unwrap()
    }

    /// Bytes of memory that the host's process has.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.host.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

/// The statuses of all that is answered on a connection until it ends.
pub(crate) fn answers(connection: &mut Connection) -> Vec<u16> {
    let mut bytes = Vec::new();
    let _reset = connection.read_to_end(&mut bytes).is_err();
    let text = String::from_utf8_lossy(&bytes);
    let mut rest = &*text;
    let mut statuses = Vec::new();
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        statuses.push(head[9..12].parse().unwrap());
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        rest = &behind[length.map_or(0, |length| length.parse().unwrap())..];
    }
    assert!(rest.is_empty(), "{rest}");
    statuses
}

fn artifact(platform: Platform) -> Vec<u8> {
    let text = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (drop (memory.grow (i32.add (i32.div_u (local.get 3) (i32.const 65536)) (i32.const 1))))
                (local.get $at))
            (func (export "twice") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
            (func (export "length") (param i32 i32) (result i32) (local.get 1))
            (func (export "spin") (loop (br 0))))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "realloc" (core func $realloc))
        (func (export "twice") (param "number" u32) (result u32) (canon lift (core func $i "twice")))
        (func (export "length") (param "text" string) (result u32)
            (canon lift (core func $i "length") (memory $memory) (realloc $realloc)))
        (func (export "spin") (canon lift (core func $i "spin"))))"#;
    let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
    enclave_os_compiler::compile(&wat::parse_str(text).unwrap(), target).unwrap()
}
