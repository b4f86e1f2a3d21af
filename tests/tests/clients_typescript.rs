//! The TypeScript client (`clients/typescript`): its own tests, and against a running enclave. It is installed and
//! built under `target/`, from its lock file.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use boundary_wire::client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, guest, workspace};
use scenarios::platform::Platform;
use serde_json::json;
use sgx_emu::quoting::DevelopmentPki;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

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
    let pki = folder.path().join("pki");
    let root = DevelopmentPki::open_or_create(&pki, OffsetDateTime::now_utc()).unwrap().root_fingerprint();
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.arguments.extend(["--dev-pki".to_owned(), text(&pki).to_owned()]);
    let host = HostProcess::start(&options).unwrap();

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
    fs::write(&policy, verification_policy(&root, mrenclave(&host))).unwrap();
    let live = folder.path().join("live.json");
    let facts = json!({"address": host.address().to_string(), "policy": policy, "example": component});
    fs::write(&live, facts.to_string()).unwrap();
    let output = npm().args(["run", "--silent", "test:live"]).env("ENCLAVE_OS_LIVE", &live).output();
    finished(&output.unwrap(), &host.output());
}

/// The development root and the enclave that runs, nothing else.
fn verification_policy(root: &[u8; 32], mrenclave: &str) -> String {
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("format = 1\n[roots]\ndevelopment = [\"{root}\"]\n[enclave]\nmrenclave = [\"{mrenclave}\"]\n")
}

fn mrenclave(host: &HostProcess) -> &str {
    let line = host.ready_line();
    line.split_once("MRENCLAVE ").and_then(|(_, rest)| rest.get(..64)).expect(line)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

/// npm in the folder where the client is built.
fn npm() -> Command {
    npm_in(&built())
}

fn npm_in(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).env("NO_UPDATE_NOTIFIER", "1").env("NODE_NO_WARNINGS", "1");
    npm
}

/// A copy of the client, installed from its lock file and built, once for each content of its sources.
fn built() -> PathBuf {
    let sources = sources(&workspace().join("clients/typescript"));
    let mut content = Sha256::new();
    for (name, bytes) in &sources {
        content.update(format!("{name}\0{}\0", bytes.len()));
        content.update(bytes);
    }
    let content: String = content.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = target().join("clients-typescript");
    fs::create_dir_all(&folder).unwrap();
    // Tests are processes of their own: one of them builds it, the others wait.
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (made, complete) = (folder.join("package"), folder.join("package.complete"));
    if fs::read_to_string(&complete).ok().as_ref() != Some(&content) {
        drop(fs::remove_file(&complete));
        if made.exists() {
            fs::remove_dir_all(&made).unwrap();
        }
        for (name, bytes) in &sources {
            let path = made.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        run(npm_in(&made).args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]));
        run(npm_in(&made).args(["run", "--silent", "build"]));
        fs::write(&complete, content).unwrap();
    }
    made
}

/// The client's files by name, without what is installed or built in place.
fn sources(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("node_modules") && !path.ends_with("dist") {
                    folders.push(path);
                }
            } else {
                found.push((text(path.strip_prefix(root).unwrap()).to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The build folder: the test runs in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).expect("a build folder").to_path_buf()
}

fn run(command: &mut Command) -> String {
    let output =
        command.output().expect("node and npm are needed: install them with the system's package manager");
    finished(&output, "")
}

/// What it printed; anything but success fails the test.
fn finished(output: &Output, beside: &str) -> String {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}\n{beside}");
    printed.into_owned()
}
