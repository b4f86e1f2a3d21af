//! The Python client (`clients/python`): its own tests, and against a running enclave. What Python needs is
//! installed under `target/`, in the versions and with the hashes of the client's `requirements.txt`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use attestation::manifest::LeafValue;
use boundary_wire::client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, guest, workspace};
use scenarios::languages;
use scenarios::platform::Platform;
use serde_json::json;

scenarios::on_each_platform!(
    it_verifies_and_calls_a_running_enclave,
    the_printed_session_runs,
    the_printed_verifier_of_proofs_runs,
);

#[test]
fn its_own_tests_and_the_shared_vectors_pass() {
    run(python().args(["-W", "error", "-m", "unittest", "discover", "-s", "tests", "-t", "."]));
}

#[test]
fn its_types_hold() {
    let cache = languages::python_environment(&client()).unwrap().join("mypy");
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
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();

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
    fs::write(&policy, host.verification_policy_file().unwrap()).unwrap();
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

/// The verifier of single leaves that docs/formats/certificates.md prints, over proofs of a running enclave.
fn the_printed_verifier_of_proofs_runs(platform: Platform) {
    const CHECK: &str = r#"
import sys
for line in sys.stdin:
    proof = json.loads(line)
    value = json.dumps(proof["leaf"]["json"], sort_keys=True, separators=(",", ":")).encode()
    print(root_of(proof).hex(), sha(value).hex() == proof["leaf"]["value_hash"])
"#;
    let page = fs::read_to_string(workspace().join("docs/formats/certificates.md")).unwrap();
    let (_, printed) = page.split_once("```python\n").expect("the page prints it");
    let (printed, _) = printed.split_once("```").expect("it ends");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("verifier.py");
    fs::write(&script, format!("{printed}{CHECK}")).unwrap();

    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
    let mut http = host.connector().http().unwrap();
    let root = http.peer().claims().unwrap().configuration_root;
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let leaves = http.manifest().unwrap();
    let told = leaves.leaves().iter().filter(|leaf| matches!(leaf.value(), LeafValue::Json(_)));
    let names: Vec<_> = told.map(|leaf| leaf.name().to_owned()).collect();
    assert!(names.len() > 2, "{names:?}");
    let mut lines = String::new();
    for name in &names {
        lines.push_str(&serde_json::to_string(&http.proof(name).unwrap()).unwrap());
        lines.push('\n');
    }
    let input = folder.path().join("proofs");
    let judged = |lines: &str| {
        fs::write(&input, lines).unwrap();
        run(python().arg(&script).stdin(fs::File::open(&input).unwrap()))
    };
    assert_eq!(judged(&lines), format!("{root} True\n").repeat(names.len()));
    let forged = lines.replace("\"index\":", "\"index\":1");
    assert!(!judged_or_refused(&mut python(), &script, &forged, &input).contains(&root));
}

/// What it prints, also if it stops at what it is given.
fn judged_or_refused(python: &mut Command, script: &Path, lines: &str, input: &Path) -> String {
    fs::write(input, lines).unwrap();
    let output = python.arg(script).stdin(fs::File::open(input).unwrap()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn client() -> PathBuf {
    workspace().join("clients/python")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

/// Python with what the client needs, in the client's folder.
fn python() -> Command {
    languages::python().unwrap()
}

fn run(command: &mut Command) -> String {
    languages::run(command).unwrap()
}

/// What it printed; anything but success fails the test.
fn finished(output: &std::process::Output, beside: &str) -> String {
    languages::finished(output).map_err(|error| format!("{error:#}\n{beside}")).unwrap()
}
