//! The Go client (`clients/go`): its own tests, and against a running enclave. Where the system has no Go that
//! is new enough, one is installed under `target/`, as the client's `toolchain.txt` pins it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, workspace};
use scenarios::languages;
use scenarios::platform::Platform;

scenarios::on_each_platform!(it_verifies_and_calls_a_running_enclave, the_printed_command_runs);

#[test]
fn its_own_tests_and_the_shared_vectors_pass() {
    let unformatted = run(go_tool("gofmt").arg("-l").args(sources(&client())));
    assert_eq!(unformatted, "", "`gofmt -w` mends these");
    run(go().args(["vet", "./..."]));
    run(go().args(["test", "./..."]));
}

/// `enclaveos/live_test.go` and `live_refused_test.go`: every tier, native values, HTTP, settings, evidence, refusals.
fn it_verifies_and_calls_a_running_enclave(platform: Platform) {
    let scene = Scene::new(platform);
    let component = scene.folder.path().join("example.cwasm");
    fs::write(&component, example::artifact(platform).unwrap()).unwrap();
    let output = go()
        .args(["test", "./enclaveos", "-run", "^TestLive", "-count=1", "-v"])
        .env("ENCLAVE_OS_ADDRESS", scene.host.address().to_string())
        .env("ENCLAVE_OS_POLICY", &scene.policy)
        .env("ENCLAVE_OS_COMPONENT", &component)
        .output()
        .unwrap();
    let printed = finished(&output, &scene.host.output());
    assert!(printed.contains("--- PASS: TestLiveCallsAtEveryTier"), "{printed}");
    assert!(!printed.contains("--- SKIP"), "{printed}");
}

/// `go run . --host … --port …`, as the specification prints it, and under a policy.
fn the_printed_command_runs(platform: Platform) {
    let scene = Scene::new(platform);
    let commands = "\"Ping\"\n{\"wasm_list\":{}}\n";
    let answers = "\"Pong\"\n{\n  \"status\": \"apps\",\n  \"apps\": []\n}\n";

    let output = scene.command(&[], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("WARNING: not verified against a policy"), "{told}");
    assert_eq!(finished(&output, &scene.host.output()), answers);

    let policy = scene.folder.path().join("policy.toml");
    fs::write(&policy, &scene.policy).unwrap();
    let output = scene.command(&["--policy", text(&policy)], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the policy holds, tier channel"), "{told}");
    assert_eq!(finished(&output, &scene.host.output()), answers);

    fs::write(&policy, scene.policy.replace(&scene.mrenclave, &"00".repeat(32))).unwrap();
    let output = scene.command(&["--policy", text(&policy)], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(told.contains("measurement: "), "{told}");
}

/// A running host under a development PKI of its own.
struct Scene {
    folder: tempfile::TempDir,
    host: HostProcess,
    mrenclave: String,
    /// The text of a policy that names the development root and the enclave that runs.
    policy: String,
}

impl Scene {
    fn new(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host =
            HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
        let mrenclave = host.mrenclave().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let policy = host.verification_policy_file().unwrap();
        Scene { folder, host, mrenclave, policy }
    }

    /// Runs the client's command with these arguments and this input.
    fn command(&self, arguments: &[&str], input: &str) -> Output {
        let address = self.host.address();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut child = go()
            .args(["run", ".", "--host", &host, "--port", &port])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A refused enclave ends the command before it reads; then there is nobody to write to.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }
}

fn client() -> PathBuf {
    workspace().join("clients/go")
}

/// The client's own packages, without what is vendored.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            !path.ends_with("vendor") && (path.is_dir() || path.extension() == Some("go".as_ref()))
        })
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

fn go() -> Command {
    go_tool("go")
}

/// A program of the toolchain, in the client's folder, without a network.
fn go_tool(name: &str) -> Command {
    languages::go(name).unwrap()
}

fn run(command: &mut Command) -> String {
    languages::run(command).unwrap()
}

/// What it printed; anything but success fails the test.
fn finished(output: &Output, beside: &str) -> String {
    languages::finished(output).map_err(|error| format!("{error:#}\n{beside}")).unwrap()
}
