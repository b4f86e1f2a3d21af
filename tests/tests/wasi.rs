//! Programs that know nothing of enclaves: the Rust standard library over WASI, and what becomes of its files.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use boundary_wire::client::{Load, Params};
use enclave_os_client::Framed;
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    the_standard_library_finds_an_ordinary_machine,
    files_survive_the_end_of_the_host_without_a_sync_of_their_own,
    a_program_with_a_main_runs_and_prints,
);

/// Loads a component of `tests/guests/std-probe` under the name `app`, with fuel for a whole program.
fn load(platform: Platform, client: &mut Framed, file: &str) {
    let bytes = compile(platform, &guest("tests/guests/std-probe", file).unwrap()).unwrap();
    let max_fuel = Some(2_000_000_000);
    client.load(Load { name: "app".to_owned(), bytes, max_fuel, ..Load::default() }).unwrap();
}

/// The only result of a call.
fn call(client: &mut Framed, function: &str, params: Value) -> Value {
    let params = Params::Positional(params.as_array().unwrap().clone());
    let mut results = client.call("app", function, params).unwrap();
    assert_eq!(results.len(), 1, "{function}");
    results.remove(0)["value"].take()
}

fn the_standard_library_finds_an_ordinary_machine(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
    let mut client = host.framed().unwrap();
    load(platform, &mut client, "std_probe.wasm");

    assert_eq!(call(&mut client, "exercise-files", json!([])), json!("ok"));
    assert_ne!(call(&mut client, "large-file", json!([4])), json!(0));
    assert_eq!(call(&mut client, "read-input", json!([])), json!({"ok": ""}));
    assert_eq!(call(&mut client, "arguments", json!([])), json!(["app"]));
    let slept = call(&mut client, "slept-ns", json!([30])).as_u64().unwrap();
    assert!(slept >= 30_000_000, "a sleep of 30 ms took {slept} ns");
    let orders: Vec<Value> = (0..3).map(|_| call(&mut client, "map-order", json!([]))).collect();
    assert!(orders.iter().any(|order| *order != orders[0]), "three calls, one random seed");
    for denied in ["127.0.0.1:443", "example.org:443"] {
        assert_eq!(call(&mut client, "connect", json!([denied])), json!("PermissionDenied"), "{denied}");
    }
    assert_eq!(call(&mut client, "read", json!(["../../etc/passwd"])), json!({"err": "PermissionDenied"}));
}

fn files_survive_the_end_of_the_host_without_a_sync_of_their_own(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::development(platform, folder.path().join("data"));
    let host = HostProcess::start(&options).unwrap();
    let mut client = host.framed().unwrap();
    load(platform, &mut client, "std_probe.wasm");
    assert_eq!(call(&mut client, "make-directories", json!(["a/b"])), json!({"ok": null}));
    for (function, text) in [("write", "one "), ("append", "two "), ("append-and-sync", "three")] {
        assert_eq!(call(&mut client, function, json!(["a/b/file", text])), json!({"ok": null}));
    }
    host.kill().unwrap();

    let host = HostProcess::start(&options).unwrap();
    let mut client = host.framed().unwrap();
    assert_eq!(call(&mut client, "read", json!(["a/b/file"])), json!({"ok": "one two three"}));
    assert_eq!(call(&mut client, "list", json!(["."])), json!({"ok": ["a"]}));
}

fn a_program_with_a_main_runs_and_prints(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
    let mut client = host.framed().unwrap();
    load(platform, &mut client, "plain.wasm");
    for _ in 0..2 {
        assert_eq!(call(&mut client, "run", json!([])), json!({"ok": null}));
    }
    // Its log is written while the answer is on its way.
    let printed = || host.output().contains("run number 2");
    for _ in 0..500 {
        if printed() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it did not print: {}", host.output());
}
