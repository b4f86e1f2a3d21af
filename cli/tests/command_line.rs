//! What a script relies on without any server: help, exit codes, where things are printed.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_enclave-os"))
        .args(arguments)
        .env_remove("ENCLAVE_OS_SERVER")
        .env_remove("ENCLAVE_OS_CA")
        .env_remove("ENCLAVE_OS_VERIFY_POLICY")
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
    for word in [
        "compile",
        "load",
        "call",
        "list",
        "unload",
        "schema",
        "status",
        "proof",
        "ca",
        "dev-pki",
        "Exit codes:",
    ] {
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

const ROOT: &str = "-----BEGIN CERTIFICATE-----\nAAECAw==\n-----END CERTIFICATE-----\n";

/// A folder as a host leaves it, with collateral that is good until `until`.
fn dev_pki(until: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tcb_info =
        format!(r#"{{"issueDate":"2026-01-01T00:00:00Z","nextUpdate":"{until}","fmspc":"005357534758"}}"#);
    let collateral = serde_json::json!({
        "pck_crl_issuer_chain": "", "root_ca_crl": "", "pck_crl": "", "tcb_info_issuer_chain": "",
        "tcb_info": tcb_info, "tcb_info_signature": "", "qe_identity_issuer_chain": "", "qe_identity": "",
        "qe_identity_signature": "",
    });
    for (name, text) in
        [("root.pem", ROOT), ("pck-chain.pem", ROOT), ("collateral.json", &collateral.to_string())]
    {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn a_development_pki_is_exported_with_the_policy_that_names_it() {
    let (pki, out) = (dev_pki("2999-01-01T00:00:00Z"), tempfile::tempdir().unwrap());
    let out = out.path().join("made");
    let (dir, to) = (pki.path().to_str().unwrap(), out.to_str().unwrap());
    let output = run(&["dev-pki", "export", "--dir", dir, "--out", to, "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // SHA-256 of 00 01 02 03.
    let root = "054edec1d0211f624fed0cbca9d4f9400b0e491c43742af2c5b0abebf0c990d8";
    assert_eq!(report["root"], root);
    for name in ["root.pem", "pck-chain.pem", "collateral.json"] {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), std::fs::read(pki.path().join(name)).unwrap());
    }
    let policy = std::fs::read_to_string(out.join("policy.toml")).unwrap();
    assert!(policy.contains(&format!("[roots]\ndevelopment = [\"{root}\"]")), "{policy}");
    let shown = run(&["dev-pki", "show", "--dir", dir]);
    assert!(stdout(&shown).contains(root) && stdout(&shown).contains("2999-01-01"), "{}", stdout(&shown));
}

#[test]
fn a_development_pki_that_is_not_there_or_damaged_is_named() {
    let pki = dev_pki("2999-01-01T00:00:00Z");
    std::fs::set_permissions(pki.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = run(&["dev-pki", "show", "--dir", pki.path().to_str().unwrap()]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("has mode 777"), "{}", stderr(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = run(&["dev-pki", "show", "--dir", empty.path().to_str().unwrap()]);
    assert_eq!(code(&output), 5);
    assert!(stderr(&output).contains("enclave-os-host makes one"), "{}", stderr(&output));
    for name in ["root.pem", "collateral.json"] {
        let pki = dev_pki("2999-01-01T00:00:00Z");
        std::fs::write(pki.path().join(name), "nonsense").unwrap();
        let output = run(&["dev-pki", "show", "--dir", pki.path().to_str().unwrap()]);
        assert_eq!(code(&output), 5);
        assert!(stderr(&output).contains(name) && stderr(&output).contains("renew"), "{}", stderr(&output));
    }
}
