//! Python programs that know nothing but the standard library: the session printed in the specification,
//! unchanged, and the example's own test script.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, workspace};
use scenarios::platform::Platform;

scenarios::on_each_platform!(
    the_session_of_the_specification_runs_unchanged,
    the_examples_script_prints_its_table,
);

fn python(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("python3")
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .expect("python3 is needed for this test: install it with the system's package manager")
}

/// It connects to port 8443, loads with an integer array and reads each answer with a single `recv`.
fn the_session_of_the_specification_runs_unchanged(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wasm_example.cwasm"), example::artifact(platform).unwrap()).unwrap();
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.port = 8443;
    let host = HostProcess::start(&options).unwrap();

    let session = workspace().join("tests/tests/data/spec_session.py");
    let output = python(folder.path(), &[session.to_str().unwrap()]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}\n{}", host.output());
    assert!(printed.contains("\"status\": \"loaded\""), "{printed}");
    let result = "Result: {\n  \"status\": \"ok\",\n  \"returns\": [\n    {\n      \"type\": \"string\",\n      \
                  \"value\": \"Hello, World!\"\n    }\n  ]\n}";
    assert!(printed.contains(result), "{printed}");
}

fn the_examples_script_prints_its_table(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("wasm_example.cwasm");
    std::fs::write(&artifact, example::artifact(platform).unwrap()).unwrap();
    let world = example::World::new(platform, folder.path().join("data")).unwrap();
    let host = world.start().unwrap();

    let script = workspace().join("examples/wasm-example/tests/test_wasm_functions.py");
    let port = host.address().port().to_string();
    let output =
        python(folder.path(), &[script.to_str().unwrap(), artifact.to_str().unwrap(), "--port", &port]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let wanted = [
        "Enclave OS (Mini) - WASM Integration Test Suite",
        "Connected: TLSv1.3, TLS_",
        "Loading wasm_example.cwasm ...",
        "Hello World           ✔",
        "Hello, World!",
        "HTTPS Egress          ✔",
        "headlines — 1. ",
        "✔ Result: ALL 6 TESTS PASSED",
    ];
    for words in wanted {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&printed).contains(&flat(words)), "no `{words}` in:\n{printed}");
    }
}
