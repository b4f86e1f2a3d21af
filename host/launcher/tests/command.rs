//! What a person sees of `enclave-os-host`: start-up errors, the ready line, and how it stops.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn host(data: &Path) -> Command {
    host_on("0", data)
}

fn host_on(port: &str, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-os-host"));
    command.args(["--port", port, "--listen", "127.0.0.1", "--workers", "1", "--data-dir"]).arg(data);
    // Not the PKI of whoever runs the tests.
    command.arg("--dev-pki").arg(data.join("dev-pki"));
    command
}

/// A run that is expected to fail.
fn fails(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

struct Running {
    child: Child,
    ready: String,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Running { child, ready }
    }

    fn port(&self) -> u16 {
        let address = self.ready.strip_prefix("ready: listening on 127.0.0.1:").unwrap();
        address.split(',').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(mut self) -> (i32, String) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code().unwrap(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn it_says_when_it_is_ready_and_stops_in_order() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(&mut host(data.path()));
    assert!(running.port() > 0);
    let rest = running.ready.split_once(", ").unwrap().1.trim_end();
    let mrenclave = rest.strip_prefix("platform native, MRENCLAVE ").unwrap();
    assert!(mrenclave.len() == 64 && mrenclave.bytes().all(|b| b.is_ascii_hexdigit()), "{rest}");
    drop(TcpStream::connect(("127.0.0.1", running.port())).unwrap());
    running.signal(Signal::TERM);
    let (code, log) = running.ended();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("protects nothing") && log.contains("nobody may load code"), "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    // And the same data directory can be used again.
    let again = Running::start(&mut host(data.path()));
    again.signal(Signal::INT);
    assert_eq!(again.ended().0, 0);
}

#[test]
fn a_development_policy_listens_on_loopback_and_says_what_it_means() {
    let data = tempfile::tempdir().unwrap();
    let policy = data.path().join("policy.toml");
    fs::write(&policy, "development = true\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-os-host"));
    command.args(["--port", "0", "--workers", "1", "--log-format", "json", "--policy"]).arg(policy);
    let running = Running::start(command.arg("--data-dir").arg(data.path().join("data")));
    assert!(running.ready.starts_with("ready: listening on 127.0.0.1:"), "{}", running.ready);
    running.signal(Signal::TERM);
    let (code, log) = running.ended();
    assert_eq!(code, 0);
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    assert!(log.contains("may load code, no token asked"), "{log}");
}

#[test]
fn a_port_in_use_is_named() {
    let data = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let (code, error) = fails(&mut host_on(&port, data.path()));
    assert_eq!(code, 3, "{error}");
    assert!(error.contains(&format!("127.0.0.1:{port} is in use")) && error.contains("--port"), "{error}");
}

#[test]
fn a_data_directory_has_one_host() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(&mut host(data.path()));
    let (code, error) = fails(&mut host(data.path()));
    assert_eq!(code, 4, "{error}");
    assert!(error.contains(&format!("(process {})", running.child.id())), "{error}");
}

#[test]
fn an_unreadable_or_wrong_policy_is_named() {
    let data = tempfile::tempdir().unwrap();
    let (code, error) = fails(host(data.path()).args(["--policy", "/nowhere/policy.toml"]));
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("/nowhere/policy.toml") && error.contains("hint: "), "{error}");
    let policy = data.path().join("policy.toml");
    fs::write(&policy, "devel = true\n").unwrap();
    let (code, error) = fails(host(data.path()).arg("--policy").arg(&policy));
    assert!(code == 5 && error.contains("devel"), "{error}");
}

#[test]
fn platforms_without_an_image_are_refused() {
    let data = tempfile::tempdir().unwrap();
    for platform in ["sgx", "emulated"] {
        let (code, error) = fails(host(data.path()).args(["--platform", platform]));
        assert_eq!(code, 6, "{error}");
        assert!(
            error.contains("there is no enclave image") && error.contains("--platform native"),
            "{error}"
        );
    }
    assert_eq!(fails(host(data.path()).args(["--resolve", "nonsense"])).0, 2);
}

#[test]
fn an_image_brings_its_own_policy() {
    let data = tempfile::tempdir().unwrap();
    let image = ["--image", "some.sgxs", "--policy", "mine.toml"];
    for platform in ["emulated", "sgx", "auto"] {
        let (code, error) = fails(host(data.path()).args(image).args(["--platform", platform]));
        assert_eq!(code, 2, "{error}");
        assert!(
            error.contains("some.sgxs") && error.contains("`cargo xtask image --policy mine.toml`"),
            "{error}"
        );
    }
    let (code, error) = fails(host(data.path()).args(&image[..2]).args(["--platform", "native"]));
    assert!(code == 2 && error.contains("--image is for the platforms sgx and emulated"), "{error}");
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let data = tempfile::tempdir().unwrap();
    for platform in ["auto", "emulated"] {
        let (code, error) = fails(host(data.path()).args(["--image", "none.sgxs", "--platform", platform]));
        assert_eq!(code, 6, "{error}");
        assert!(error.contains("none.sgxs") && error.contains("cargo xtask image"), "{error}");
    }
}

#[test]
fn the_checklist_says_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let checked = |more: &[&str]| host(data.path()).arg("--check-platform").args(more).output().unwrap();
    let report = checked(&["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report.status.code(), Some(if json["ready"] == true { 0 } else { 6 }), "{json}");
    for finding in json["findings"].as_array().unwrap() {
        assert_eq!(finding["status"] == "ok", finding["advice"].is_null(), "{finding}");
    }
    let text = String::from_utf8(checked(&[]).stdout).unwrap();
    assert!(text.contains("/dev/sgx_enclave") && text.contains("FSGSBASE"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody sees them");
    assert!(fs::read_dir(data.path()).unwrap().next().is_none(), "nothing was started");
}

#[test]
fn development_quotes_are_announced_with_the_root_that_policies_name() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(&mut host(data.path()));
    let root = fs::read_to_string(data.path().join("dev-pki/root.pem")).unwrap();
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
    running.signal(Signal::TERM);
    let (code, log) = running.ended();
    assert_eq!(code, 0, "{log}");
    let announced = log.split_once("quotes: development, under the root ").unwrap().1;
    let fingerprint = &announced[..64];
    assert!(announced.contains("they prove nothing"), "{log}");

    let mut renew = host(data.path());
    let output = renew.arg("--renew-dev-pki").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("renewed: ") && said.trim_end().ends_with(fingerprint), "{said}");
    assert_eq!(fs::read_to_string(data.path().join("dev-pki/root.pem")).unwrap(), root, "the root stays");

    fs::write(data.path().join("dev-pki/development-pki-PROTECTS-NOTHING.json"), "{}").unwrap();
    let (code, error) = fails(&mut host(data.path()));
    assert!(
        code == 6 && error.contains("is not a development PKI") && error.contains("--dev-pki"),
        "{error}"
    );
}
