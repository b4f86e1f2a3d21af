//! The same component, the same inputs, under wasmtime's own host and here: the same answers.
//!
//! `tests/guests/conformance` writes down what it is answered. Every line must be equal, but for the differences that
//! `differential/deliberate.rs` lists with their reasons.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod differential {
    pub(crate) mod deliberate;
    pub(crate) mod reference;
}

use std::collections::BTreeMap;

use boundary_wire::client::{CommandInput, Load, Params};
use differential::deliberate;
use differential::reference::{Inputs, Reference};
use enclave_os_client::Framed;
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    filesystem_answers_as_under_wasmtime,
    io_answers_as_under_wasmtime,
    clocks_random_cli_and_sockets_answer_as_under_wasmtime,
    misuse_traps_as_under_wasmtime,
    programs_end_as_under_wasmtime,
);

fn filesystem_answers_as_under_wasmtime(platform: Platform) {
    let sections = [
        "filesystem-preopens",
        "filesystem-open",
        "filesystem-paths",
        "filesystem-rename",
        "filesystem-remove",
        "filesystem-readdir",
        "filesystem-links",
        "filesystem-contents",
        "filesystem-size",
        "filesystem-append",
        "filesystem-two-handles",
        "filesystem-unlinked",
        "filesystem-sync",
        "filesystem-stat",
        "filesystem-times",
        "filesystem-identity",
        "filesystem-wrong-type",
        "filesystem-standard-library",
    ];
    compare(platform, &sections);
}

fn io_answers_as_under_wasmtime(platform: Platform) {
    compare(platform, &["io-input-streams", "io-output-streams", "io-splice", "io-closed", "io-poll"]);
}

fn clocks_random_cli_and_sockets_answer_as_under_wasmtime(platform: Platform) {
    compare(platform, &["clocks", "random", "cli", "sockets"]);
}

fn misuse_traps_as_under_wasmtime(platform: Platform) {
    let (mut here, inputs, reference) = both(platform);
    let misuses = [
        "poll-nothing",
        "drop-stream-before-its-pollable",
        "write-without-permit",
        "write-zeroes-without-permit",
        "blocking-write-of-more-than-4096",
        "blocking-zeroes-of-more-than-4096",
        "pollable-of-another-type",
        "descriptor-of-another-type",
        "no-such-handle",
        "closed-twice",
    ];
    let mut tolerates = |name: &str| match here.call("misuse", json!([name])) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.contains("trap"), "{name}: {error}");
            false
        }
    };
    assert!(
        reference.tolerates(&inputs, "nothing").unwrap() && tolerates("nothing"),
        "a call without misuse fails"
    );
    for name in misuses {
        assert!(!tolerates(name), "{name} is tolerated here");
        let deliberate = deliberate::ONLY_HERE_A_TRAP.iter().any(|(misuse, _)| *misuse == name);
        assert_eq!(
            reference.tolerates(&inputs, name).unwrap(),
            deliberate,
            "{name} is tolerated by wasmtime"
        );
    }
}

fn programs_end_as_under_wasmtime(platform: Platform) {
    let (mut here, inputs, reference) = both_with(platform, "tests/guests/std-probe", "tool.wasm");
    let binary: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let runs: &[(&[&str], &[u8])] = &[
        (&[], b""),
        (&["show", "", "two words", "-n", "\u{fc}n\u{ef}"], b""),
        (&["cat"], &binary),
        (&["cat"], b""),
        (&["count"], &binary),
        (&["count"], b"unread\0"),
        (&["show"], b"nobody reads this"),
        (&["exit", "0"], b""),
        (&["exit", "7"], b""),
        (&["return", "1"], b""),
        (&["return", "9"], b""),
        (&["fail"], b""),
        (&["panic"], b""),
        (&["unknown"], b""),
        (&["store", "some", "text"], b""),
        (&["stored"], b""),
    ];
    for (args, stdin) in runs {
        let args: Vec<String> = args.iter().map(|argument| (*argument).to_owned()).collect();
        let given = Inputs {
            arguments: inputs.arguments.iter().chain(&args).cloned().collect(),
            environment: inputs.environment.clone(),
        };
        let (code, stdout, stderr) = reference.run(&given, stdin).unwrap();
        let exited =
            here.client.run("app", CommandInput { args: args.clone(), stdin: stdin.to_vec() }).unwrap();
        assert_eq!(exited.exit_code.map(i32::from), code, "{args:?}: {:?}", exited.error);
        assert!(exited.stdout == stdout, "{args:?}: {}", String::from_utf8_lossy(&exited.stdout));
        assert!(exited.stderr == stderr, "{args:?}: {}", String::from_utf8_lossy(&exited.stderr));
        assert_eq!(
            exited.error.map(|error| error.code),
            code.is_none().then(|| "trap".to_owned()),
            "{args:?}"
        );
    }
}

/// The enclave with the component loaded.
struct Here {
    client: Framed,
    _host: HostProcess,
    _data: tempfile::TempDir,
}

impl Here {
    fn call(&mut self, function: &str, params: Value) -> Result<Value, String> {
        let params = Params::Positional(params.as_array().unwrap().clone());
        let mut results = self.client.call("app", function, params).map_err(|error| error.to_string())?;
        Ok(results.pop().map(|mut result| result["value"].take()).unwrap_or_default())
    }

    fn section(&mut self, name: &str) -> Vec<String> {
        let lines = self.call("section", json!([name])).unwrap_or_else(|error| panic!("{name}: {error}"));
        lines.as_array().unwrap().iter().map(|line| text(line).to_owned()).collect()
    }
}

/// A string, typed or bare.
fn text(value: &Value) -> &str {
    value.as_str().or_else(|| value["value"].as_str()).unwrap()
}

fn both(platform: Platform) -> (Here, Inputs, Reference) {
    both_with(platform, "tests/guests/conformance", "conformance.wasm")
}

fn both_with(platform: Platform, folder: &str, file: &str) -> (Here, Inputs, Reference) {
    let component = guest(folder, file).unwrap();
    let data = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, data.path().join("data"))).unwrap();
    let mut client = host.framed().unwrap();
    let env =
        BTreeMap::from([("GREETING".to_owned(), "hello".to_owned()), ("EMPTY".to_owned(), String::new())]);
    client
        .load(Load {
            name: "app".to_owned(),
            bytes: compile(platform, &component).unwrap(),
            max_fuel: Some(200_000_000_000),
            timeout_ms: Some(60_000),
            env: env.clone(),
            ..Load::default()
        })
        .unwrap();
    // What the enclave adds of its own is an input too.
    let own = [("ENCLAVE_OS_APP", "app"), ("ENCLAVE_OS_APP_VERSION", "")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let inputs =
        Inputs { arguments: vec!["app".to_owned()], environment: env.into_iter().chain(own).collect() };
    (Here { client, _host: host, _data: data }, inputs, Reference::new(&component).unwrap())
}

fn compare(platform: Platform, sections: &[&str]) {
    let (mut here, inputs, reference) = both(platform);
    let mut differences = Vec::new();
    for section in sections {
        let theirs = reference.section(&inputs, section).unwrap();
        let ours = here.section(section);
        assert!(ours.len() > 3, "{section} says next to nothing: {ours:?}");
        let mut operation = "";
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if !theirs.starts_with("  ") {
                operation = theirs.split(": ").next().unwrap_or_default();
            }
            if theirs != ours && deliberate::reason(section, operation, theirs, ours).is_none() {
                differences.push(format!("{section}, {operation}\n  wasmtime: {theirs}\n  here:     {ours}"));
            }
        }
        if theirs.len() != ours.len() {
            differences.push(format!("{section}: {} lines, not {}", ours.len(), theirs.len()));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
