//! The Python client (`clients/python`): its own tests, and against a running enclave. What Python needs is
//! installed under `target/`, in the versions and with the hashes of the client's `requirements.txt`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boundary_wire::client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, guest, workspace};
use scenarios::platform::Platform;
use serde_json::json;
use sgx_emu::quoting::DevelopmentPki;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

scenarios::on_each_platform!(it_verifies_and_calls_a_running_enclave, the_printed_session_runs);

#[test]
fn its_own_tests_and_the_shared_vectors_pass() {
    run(python().args(["-W", "error", "-m", "unittest", "discover", "-s", "tests", "-t", "."]));
}

#[test]
fn its_types_hold() {
    let cache = environment().join("mypy");
    run(python().args(["-m", "mypy", "--cache-dir"]).arg(cache));
}

#[test]
fn it_installs_as_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let pip = |arguments: &[&str]| {
        let mut pip = python();
        // What is installed is tried, not the sources.
        pip.env_remove("PYTHONPATH").args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(arguments));
    };
    let (wheels, installed) = (folder.path().join("wheels"), folder.path().join("installed"));
    pip(&["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", text(&wheels), "."]);
    let wheel = fs::read_dir(&wheels).unwrap().next().expect("a wheel").unwrap().path();
    pip(&["install", "--no-deps", "--no-index", "--target", text(&installed), text(&wheel)]);
    for typed in ["enclave_os/py.typed", "ratls_client/py.typed"] {
        assert!(installed.join(typed).is_file(), "{typed} is not in the package");
    }
    let help = run(python().env("PYTHONPATH", &installed).args(["-m", "enclave_os", "verify", "--help"]));
    assert!(help.contains("--policy"), "{help}");
}

/// `tests/live.py`: every tier, native values, refusals, changes, evidence documents, the command.
fn it_verifies_and_calls_a_running_enclave(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.arguments.extend(["--dev-pki".to_owned(), text(&pki).to_owned()]);
    let root = DevelopmentPki::open_or_create(&pki, OffsetDateTime::now_utc()).unwrap().root_fingerprint();
    let host = HostProcess::start(&options).unwrap();

    let mut loader = host.framed().unwrap();
    let mut artifact = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name).with_extension("cwasm");
        fs::write(&path, &bytes).unwrap();
        loader.load(Load { name: name.to_owned(), bytes, ..Load::default() }).unwrap();
        path
    };
    let example = artifact("example", example::artifact(platform).unwrap());
    let echo = guest("tests/guests/echo", "echo.wasm").unwrap();
    artifact("echo", example::compile(platform, &echo).unwrap());

    let policy = folder.path().join("policy.toml");
    fs::write(&policy, verification_policy(&root, mrenclave(&host))).unwrap();
    let live = folder.path().join("live.json");
    let facts = json!({"address": host.address().to_string(), "policy": policy, "example": example});
    fs::write(&live, facts.to_string()).unwrap();
    let result =
        python().env("ENCLAVE_OS_LIVE", &live).args(["-W", "error", "-m", "unittest", "tests.live"]).output();
    finished(&result.unwrap(), &host.output());
}

/// `tests/printed_session.py`, as the first documents print it: another name, an authority, `send` and `recv`.
fn the_printed_session_runs(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.policy.push_str("served_names = [\"server.example.com\"]\n");
    let host = HostProcess::start(&options).unwrap();
    let session = folder.path().join("session");
    fs::create_dir(&session).unwrap();
    fs::write(session.join("wasm_example.cwasm"), example::artifact(platform).unwrap()).unwrap();
    let script = client().join("tests/printed.py");
    let output = python()
        .current_dir(&session)
        .env("ENCLAVE_OS_ADDRESS", host.address().to_string())
        .arg(script)
        .output()
        .unwrap();
    let printed = finished(&output, &host.output());
    assert_eq!(printed, "{'status': 'ok', 'returns': [{'type': 'string', 'value': 'Hello, World!'}]}\n");
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

fn client() -> PathBuf {
    workspace().join("clients/python")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

/// Python with what the client needs, in the client's folder, reading its sources.
fn python() -> Command {
    let mut python = Command::new(environment().join("bin/python"));
    python
        .current_dir(client())
        .env("PYTHONPATH", client().join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8");
    python
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    finished(&output, "")
}

fn finished(output: &std::process::Output, beside: &str) -> String {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}\n{beside}");
    printed.into_owned()
}

/// A virtual environment with what `requirements.txt` pins, made once for each content of that file.
fn environment() -> PathBuf {
    let requirements = client().join("requirements.txt");
    let pinned: String = Sha256::digest(fs::read(&requirements).unwrap())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = target().join("clients-python");
    fs::create_dir_all(&folder).unwrap();
    let made = folder.join(pinned);
    // Tests are processes of their own: one of them makes it, the others wait.
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let complete = made.join("complete");
    if !complete.is_file() {
        if made.exists() {
            fs::remove_dir_all(&made).unwrap();
        }
        let venv = Command::new("python3").args(["-m", "venv"]).arg(&made).output();
        finished(
            &venv.expect("python3 with venv is needed: install it with the system's package manager"),
            "",
        );
        let pip = Command::new(made.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
            ])
            .args(["--require-hashes", "--requirement"])
            .arg(&requirements)
            .output();
        finished(&pip.unwrap(), "");
        fs::write(&complete, "").unwrap();
    }
    made
}

/// The build folder: the test runs in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).expect("a build folder").to_path_buf()
}
