//! The TypeScript client (`clients/typescript`): its own tests, and against a running enclave. It is installed and
//! built under `target/`, from its lock file.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::process::{Command, Output};

use boundary_wire::client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, guest, workspace};
use scenarios::languages;
use scenarios::platform::Platform;
use serde_json::json;

scenarios::on_each_platform!(it_verifies_and_calls_a_running_enclave);

#[test]
fn its_own_tests_pass() {
    run(npm().args(["run", "--silent", "test"]));
}

#[test]
fn the_shared_vectors_pass() {
    let vectors = workspace().join("clients/vectors/vectors.json");
    run(npm().args(["run", "--silent", "test:vectors"]).env("ENCLAVE_OS_VECTORS", vectors));
}

#[test]
fn it_packs_what_it_needs_and_nothing_else() {
    let listed = run(npm().args(["pack", "--dry-run", "--json", "--ignore-scripts"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    // An array of packages, or an object with one for each name: npm has changed it.
    let package = listed.get(0).or_else(|| listed.as_object()?.values().next()).unwrap();
    let files: Vec<_> =
        package["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    for wanted in ["LICENSE", "README.md", "package.json", "dist/src/index.js", "dist/src/index.d.ts"] {
        assert!(files.contains(&wanted), "{wanted} is not in {files:?}");
    }
    assert!(!files.iter().any(|file| file.contains("test")), "{files:?}");
}

/// `test/live`: every tier, native values, HTTP, settings, evidence, refusals, the command.
fn it_verifies_and_calls_a_running_enclave(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();

    let mut loader = host.framed().unwrap();
    let mut load = |name: &str, bytes: Vec<u8>| {
        loader.load(Load { name: name.to_owned(), bytes, ..Load::default() }).unwrap();
    };
    let component = folder.path().join("example.cwasm");
    fs::write(&component, example::artifact(platform).unwrap()).unwrap();
    load("example", fs::read(&component).unwrap());
    let echo = guest("tests/guests/echo", "echo.wasm").unwrap();
    load("echo", example::compile(platform, &echo).unwrap());

    let policy = folder.path().join("policy.toml");
    fs::write(&policy, host.verification_policy_file().unwrap()).unwrap();
    let live = folder.path().join("live.json");
    let facts = json!({"address": host.address().to_string(), "policy": policy, "example": component});
    fs::write(&live, facts.to_string()).unwrap();
    let output = npm().args(["run", "--silent", "test:live"]).env("ENCLAVE_OS_LIVE", &live).output();
    finished(&output.unwrap(), &host.output());
}

/// npm in the folder where the client is built.
fn npm() -> Command {
    languages::npm().unwrap()
}

fn run(command: &mut Command) -> String {
    languages::run(command).unwrap()
}

/// What it printed; anything but success fails the test.
fn finished(output: &Output, beside: &str) -> String {
    languages::finished(output).map_err(|error| format!("{error:#}\n{beside}")).unwrap()
}
