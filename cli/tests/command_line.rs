//! What a script relies on without any server: help, exit codes, where things are printed.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_enclave-os"))
        .args(arguments)
        .env_remove("ENCLAVE_OS_SERVER")
        .env_remove("ENCLAVE_OS_CA")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port where nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn help_lists_every_command_and_the_exit_codes() {
    let output = run(&["--help"]);
    assert_eq!(code(&output), 0);
    let help = stdout(&output);
    for word in
        ["compile", "load", "call", "list", "unload", "schema", "status", "proof", "ca", "Exit codes:"]
    {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    for line in
        [&["frobnicate"][..], &["call"], &["load", "x.wasm", "--max-fuel", "many"], &["call", "a", "(1)"]]
    {
        assert_eq!(code(&run(line)), 2, "{line:?}");
    }
}

#[test]
fn no_server_is_exit_3_with_a_hint() {
    let server = closed_port();
    let output = run(&["--server", &server, "list"]);
    assert_eq!(code(&output), 3);
    let errors = stderr(&output);
    assert!(errors.contains(&format!("cannot connect to {server}")), "{errors}");
    assert!(errors.contains("hint: is enclave-os-host running there?"), "{errors}");
    assert!(errors.contains("warning: not verified: "), "{errors}");
    assert!(!errors.contains('\x1b'), "colours in a pipe: {errors:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_failure_in_json_is_on_stdout_too() {
    let output = run(&["--json", "--server", &closed_port(), "list"]);
    assert_eq!(code(&output), 3);
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((failure["status"].as_str(), failure["code"].as_str()), (Some("error"), Some("connect")));
}

#[test]
fn a_server_that_speaks_no_tls_is_exit_3() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 64];
        drop(stream.read(&mut hello));
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    });
    let output = run(&["--server", &server, "list"]);
    plain.join().unwrap();
    assert_eq!(code(&output), 3, "{}", stderr(&output));
}

#[test]
fn missing_files_are_exit_5_before_any_connection() {
    for line in [
        &["compile", "/nonexistent.wasm"][..],
        &["load", "/nonexistent.wasm"],
        &["list", "--ca", "/nonexistent.pem"],
        &["ca", "install", "/nonexistent.pem"],
    ] {
        let output = run(line);
        assert_eq!(code(&output), 5, "{line:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("/nonexistent"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("not verified"), "nothing was connected to");
    }
}

#[test]
fn compile_says_what_is_wrong_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.wasm");
    for (content, word) in [(&b"#!/bin/sh"[..], "not a WebAssembly"), (b"\0asm\x01\0\0\0", "not a component")]
    {
        std::fs::write(&file, content).unwrap();
        let output = run(&["compile", file.to_str().unwrap()]);
        assert_eq!(code(&output), 5);
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}

/// The smallest component there is.
#[test]
fn compile_writes_the_artifact_beside_the_component() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.wasm");
    std::fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
    let output = run(&["compile", file.to_str().unwrap(), "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let artifact = std::fs::read(folder.path().join("app.cwasm")).unwrap();
    assert_eq!(report["bytes"], artifact.len());
    assert_eq!(report["status"], "compiled");
    assert_eq!(report["code_hash"].as_str().map(str::len), Some(64));
}
