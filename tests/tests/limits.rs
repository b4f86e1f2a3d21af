//! Guests that misbehave: each ends with its own code, and the server goes on.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::time::{Duration, Instant};

use boundary_wire::client::{Load, Params};
use enclave_os_client::{ClientError, Framed};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    each_way_to_misbehave_has_its_name,
    a_call_that_writes_and_then_fails_leaves_the_server_in_order,
    a_long_call_does_not_stall_its_worker,
);

struct Server {
    platform: Platform,
    host: HostProcess,
    _folder: tempfile::TempDir,
}

impl Server {
    /// One worker, so that everything below shares a thread.
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments = vec!["--workers".to_owned(), "1".to_owned()];
        Self { platform, host: HostProcess::start(&options).unwrap(), _folder: folder }
    }

    fn load(&self, name: &str, load: Load) -> Framed {
        let mut client = self.host.framed().unwrap();
        let bytes =
            compile(self.platform, &guest("tests/guests/misbehave", "misbehave.wasm").unwrap()).unwrap();
        client.load(Load { name: name.to_owned(), bytes, ..load }).unwrap();
        client
    }
}

fn call(client: &mut Framed, app: &str, function: &str, params: Value) -> Result<Vec<Value>, ClientError> {
    client.call(app, function, Params::Positional(params.as_array().unwrap().clone()))
}

fn refusal(client: &mut Framed, app: &str, function: &str, params: Value) -> (String, String) {
    match call(client, app, function, params) {
        Err(ClientError::Refused(error)) => (error.code, error.message),
        other => panic!("{function} gave {other:?}"),
    }
}

fn each_way_to_misbehave_has_its_name(platform: Platform) {
    let server = Server::start(platform);
    let limits = Load { timeout_ms: Some(3_000), max_fuel: Some(200_000_000), ..Load::default() };
    let mut client = server.load("bad", limits);
    let mut expect = |function: &str, params: Value, wanted: &str, words: &str| {
        let (code, message) = refusal(&mut client, "bad", function, params);
        assert_eq!(code, wanted, "{function}: {message}");
        assert!(message.contains(words), "{function}: {message}");
        // Nothing of it is left for the next call.
        let next = call(&mut client, "bad", "count-calls", json!([])).unwrap();
        assert_eq!(next, [json!({"type": "u32", "value": 1})], "after {function}");
    };
    expect("spin", json!([]), "fuel-exhausted", "fuel");
    expect("take-all", json!([]), "memory-limit", "memory");
    expect("take-mib", json!([100]), "memory-limit", "memory");
    expect("recurse", json!([]), "trap", "stack");
    expect("fail", json!(["on purpose"]), "trap", "trap");
    expect("divide-by", json!([0]), "trap", "trap");
    // WASI 0.2 says only whether an exit is a success.
    expect("exit-with", json!([3]), "exit", "code 1");
    expect("sleep-forever", json!([]), "deadline", "");
    expect("random-bytes", json!([u64::from(u32::MAX) * 2]), "trap", "");
    assert_eq!(call(&mut client, "bad", "divide-by", json!([2])).unwrap().len(), 1);
    assert_eq!(
        call(&mut client, "bad", "take-mib", json!([16])).unwrap(),
        [json!({"type": "u32", "value": 16})]
    );
}

fn a_call_that_writes_and_then_fails_leaves_the_server_in_order(platform: Platform) {
    let server = Server::start(platform);
    let mut client = server.load("bad", Load::default());
    let (code, _) = refusal(&mut client, "bad", "write-then-fail", json!(["left.txt", "behind"]));
    assert_eq!(code, "trap");
    client.ping().unwrap();
}

fn a_long_call_does_not_stall_its_worker(platform: Platform) {
    let server = Server::start(platform);
    let limits = Load { timeout_ms: Some(4_000), max_fuel: Some(u64::MAX / 2), ..Load::default() };
    let mut client = server.load("bad", limits);
    let mut other = server.host.framed().unwrap();
    let long = std::thread::spawn(move || {
        let begun = Instant::now();
        let (code, _) = refusal(&mut client, "bad", "spin", json!([]));
        (code, begun.elapsed())
    });
    let mut answered = 0;
    while !long.is_finished() {
        other.ping().unwrap();
        answered += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, took) = long.join().unwrap();
    assert_eq!(code, "deadline");
    assert!(took >= Duration::from_secs(3), "it ended after {took:?}, before its time");
    // One worker runs both: had the long call held it, one ping would have taken all the time there was.
    assert!(answered >= 5, "{answered} answers while the long call ran");
}
