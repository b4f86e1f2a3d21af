//! Guests that attack the enclave, its other apps, its clients and its store. Each attack ends with an error of its
//! own; the server, its one worker and the other apps go on, and memory comes back.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::Path;

use boundary_wire::client::{Load, Params};
use enclave_os_client::{ClientError, Framed};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    each_attack_ends_with_an_error_of_its_own,
    endless_work_of_the_host_does_not_stall_a_worker,
    an_app_keeps_to_its_share_of_the_store,
    damaged_artifacts_are_refused_whatever_is_damaged,
    all_missing_imports_are_listed_at_once,
);

/// What the allocator of the machine may keep.
const SLACK: u64 = 64 << 20;

struct Server {
    platform: Platform,
    options: HostOptions,
    host: HostProcess,
    client: Framed,
    _folder: tempfile::TempDir,
}

impl Server {
    /// One worker, so that everything shares a thread.
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments = vec!["--workers".to_owned(), "1".to_owned()];
        let host = HostProcess::start(&options).unwrap();
        let client = host.framed().unwrap();
        Self { platform, options, host, client, _folder: folder }
    }

    /// Ends the host at once and starts it again.
    fn restart(self) -> Self {
        let Self { platform, options, host, _folder, .. } = self;
        host.kill().unwrap();
        let host = HostProcess::start(&options).unwrap();
        let client = host.framed().unwrap();
        Self { platform, options, host, client, _folder }
    }

    fn component(&self, name: &str) -> Vec<u8> {
        let file = format!("{name}.wasm");
        compile(self.platform, &guest(&format!("tests/guests/{name}"), &file).unwrap()).unwrap()
    }

    fn compile(&self, text: &str) -> Vec<u8> {
        let target = self.platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
        enclave_os_compiler::compile(&wat::parse_str(text).unwrap(), target).unwrap()
    }

    fn load(&mut self, name: &str, bytes: Vec<u8>, load: Load) {
        self.client.load(Load { name: name.to_owned(), bytes, ..load }).unwrap();
    }

    fn refused_load(&mut self, bytes: Vec<u8>) -> (String, String) {
        match self.client.load(Load { name: "refused".to_owned(), bytes, ..Load::default() }) {
            Err(ClientError::Refused(error)) => (error.code, error.message),
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, app: &str, function: &str, params: Value) -> Value {
        let mut results = call(&mut self.client, app, function, params).unwrap();
        results.pop().map_or(Value::Null, |mut result| result["value"].take())
    }

    fn refusal(&mut self, app: &str, function: &str, params: Value) -> (String, String) {
        match call(&mut self.client, app, function, params) {
            Err(ClientError::Refused(error)) => (error.code, error.message),
            other => panic!("{function} gave {other:?}"),
        }
    }

    /// Memory of the host process, the enclave's included.
    fn resident(&self) -> u64 {
        let status = Path::new("/proc").join(self.host.id().to_string()).join("status");
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }
}

fn call(client: &mut Framed, app: &str, function: &str, params: Value) -> Result<Vec<Value>, ClientError> {
    client.call(app, function, Params::Positional(params.as_array().unwrap().clone()))
}

/// Takes table elements until there are no more.
const TABLES: &str = r#"(component
    (core module $m
        (table 1 funcref)
        (func (export "grow")
            (loop (br_if 0 (i32.ne (table.grow 0 (ref.null func) (i32.const 65536)) (i32.const -1))))
            unreachable))
    (core instance $i (instantiate $m))
    (func (export "grow") (canon lift (core func $i "grow"))))"#;

/// App, function, arguments, and the code and a word of the error.
fn attacks() -> Vec<(&'static str, &'static str, Value, &'static str, &'static str)> {
    vec![
        ("simple", "spin", json!([]), "fuel-exhausted", "max_fuel"),
        ("simple", "take-all", json!([]), "memory-limit", "max_memory_bytes"),
        ("tables", "grow", json!([]), "memory-limit", "memory"),
        ("simple", "recurse", json!([]), "trap", "stack"),
        ("simple", "fail", json!(["on purpose"]), "trap", "unreachable"),
        ("hostile", "exit-with", json!([3]), "exit", "code 3"),
        ("hostile", "numbers", json!([5_000_000]), "result-too-large", "return less"),
        ("hostile", "text", json!([40, "x"]), "result-too-large", "return less"),
        ("hostile", "text", json!([12, "\u{1}"]), "result-too-large", "return less"),
        ("hostile", "nested", json!([32]), "result-too-large", "return less"),
        ("simple", "random-bytes", json!([u64::from(u32::MAX)]), "trap", "get-random-bytes"),
        ("hostile", "write-zeroes", json!([1_u64 << 32]), "trap", "zeroes"),
        ("hostile", "hoard", json!([]), "trap", "resource"),
        ("hostile", "poll-nothing", json!([]), "trap", "empty poll list"),
        ("hostile", "poll-often", json!([100_000]), "trap", "handle"),
        ("hostile", "wait-for-ever", json!([]), "deadline", "timeout_ms"),
        ("simple", "sleep-forever", json!([]), "deadline", "timeout_ms"),
    ]
}

fn each_attack_ends_with_an_error_of_its_own(platform: Platform) {
    let mut server = Server::start(platform);
    let (simple, hostile) = (server.component("misbehave"), server.component("hostile"));
    let limits = || Load { timeout_ms: Some(2_000), max_fuel: Some(1_000_000_000), ..Load::default() };
    server.load("neighbour", simple.clone(), Load::default());
    server.load("simple", simple, Load { max_fuel: Some(100_000_000), ..limits() });
    server.load("hostile", hostile, limits());
    let tables = server.compile(TABLES);
    server.load("tables", tables, limits());
    let mut neighbour = server.host.framed().unwrap();

    let mut round = |server: &mut Server| {
        for (app, function, params, wanted, word) in attacks() {
            let (code, message) = server.refusal(app, function, params);
            assert_eq!(code, wanted, "{function}: {message}");
            assert!(message.contains(word), "{function}: {message}");
            let counted = call(&mut neighbour, "neighbour", "count-calls", json!([])).unwrap();
            assert_eq!(counted, [json!({"type": "u32", "value": 1})], "after {function}");
        }
        // Lengths beyond all bounds are what can be had at once.
        let read = server.call("hostile", "read", json!([u64::MAX]));
        assert_eq!(read, json!([65536, 65536, 34464, 65536, 0, 0, 65536]));
        assert_eq!(server.call("hostile", "write-at-once", json!([16])), json!(1 << 20));
        assert_eq!(server.call("hostile", "poll-often", json!([4096])), json!(4096));
        assert_eq!(server.call("hostile", "nested", json!([1])), json!([[[[""]]]]));
        let open = server.call("simple", "open-many", json!([])).as_u64().unwrap();
        assert!((1..=1024).contains(&open), "{open} files were open");
        server.call("hostile", "lines", json!([1_000_000]));
    };
    // What the first round leaves in pools, the second one finds there.
    round(&mut server);
    let before = server.resident();
    round(&mut server);
    let after = server.resident();
    assert!(after <= before + SLACK, "resident memory went from {before} to {after} bytes");
    // The end of the host flushes its log.
    drop((server.client, neighbour));
    let output = server.host.stop_with_output().unwrap();
    let told =
        output.lines().filter(|line| line.contains("bytes were dropped") || line.contains("were lost"));
    assert!(told.count() >= 1, "a million lines went by and nothing was said:\n{output}");
}

fn endless_work_of_the_host_does_not_stall_a_worker(platform: Platform) {
    let mut server = Server::start(platform);
    let hostile = server.component("hostile");
    let env = (0..200).map(|n| (format!("VARIABLE_{n}"), "x".repeat(400))).collect();
    let limits = Load { timeout_ms: Some(1_000), max_fuel: Some(u64::MAX / 2), env, ..Load::default() };
    server.load("hostile", hostile, limits);
    let functions = ["random", "set-size", "poll", "read", "environment"];
    let of_long_arguments = ["has-field", "delete-field", "set-path", "resolve", "fetch"];
    for function in functions.into_iter().chain(of_long_arguments) {
        let mut client = server.host.framed().unwrap();
        let long =
            std::thread::spawn(move || match call(&mut client, "hostile", "churn", json!([function])) {
                Err(ClientError::Refused(error)) => error.code,
                other => panic!("{other:?}"),
            });
        let mut answered = 0;
        while !long.is_finished() {
            server.client.ping().unwrap();
            answered += 1;
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(long.join().unwrap(), "deadline", "{function}");
        // One worker runs both: had the call held it until its deadline, it would have been one or two.
        assert!(answered >= 10, "{answered} answers while `{function}` was called without end");
    }
}

fn an_app_keeps_to_its_share_of_the_store(platform: Platform) {
    const QUOTA: u64 = (8 << 20) + (64 << 10);
    let mut server = Server::start(platform);
    let hostile = server.component("hostile");
    let limits = || Load { max_fuel: Some(1_000_000_000), ..Load::default() };
    server.load("filler", hostile.clone(), Load { max_store_bytes: Some(QUOTA), ..limits() });
    server.load("neighbour", hostile, limits());
    let stored = |server: &mut Server| {
        let apps = server.client.list().unwrap();
        let storage = apps.iter().find(|app| app.name == "filler").unwrap().storage.unwrap();
        assert_eq!(storage.max_bytes, QUOTA);
        storage.bytes
    };
    assert_eq!(stored(&mut server), 0);

    let filled = server.call("filler", "fill", json!(["first"]));
    assert_eq!(filled[0], "StorageFull", "{filled}");
    let files = filled[1].as_u64().unwrap();
    assert_eq!(files, 8, "the rest is what describes them");
    let full = stored(&mut server);
    assert!(full > files << 20 && full <= QUOTA, "{full} bytes are stored");
    // What nobody synced is found out when the call ends.
    let (code, message) = server.refusal("filler", "write-at-once", json!([1]));
    assert_eq!(code, "quota-exceeded", "{message}");
    assert!(message.contains("max_store_bytes"), "{message}");
    assert_eq!(stored(&mut server), full);
    // Others have shares of their own.
    assert_eq!(server.call("neighbour", "write-at-once", json!([1])), json!(1 << 20));
    assert_eq!(server.call("neighbour", "clear", json!(["none"])), json!(0));

    let mut server = server.restart();
    assert_eq!(stored(&mut server), full, "the count is that of the records");
    let mut http = server.host.connector().http().unwrap();
    let ready = http.ready().unwrap();
    assert_eq!(ready.more["short_of_storage"], json!(["filler"]));
    let leaf = format!("{:?}", http.proof("app.filler.limits").unwrap().leaf());
    assert!(leaf.contains(&QUOTA.to_string()), "{leaf}");
    let again = server.call("filler", "fill", json!(["second"]));
    assert_eq!(again, json!(["StorageFull", 0]));
    assert_eq!(server.call("filler", "clear", json!(["first"])), json!(files));
    assert!(stored(&mut server) < 1 << 20);
    assert_eq!(server.call("filler", "fill", json!(["third"])), json!(["StorageFull", files]));
}

fn damaged_artifacts_are_refused_whatever_is_damaged(platform: Platform) {
    let mut server = Server::start(platform);
    let whole = server.component("misbehave");
    server.load("neighbour", whole.clone(), Load::default());
    let damaged = ["not-an-artifact", "not-compiled", "artifact-damaged", "artifact-incompatible"];
    let mut refuse = |bytes: Vec<u8>, what: &str| {
        let (code, message) = server.refused_load(bytes);
        assert!(damaged.contains(&code.as_str()) && message.len() > 20, "{what}: {code}: {message}");
    };
    for length in [0, 1, 4, 63, 64, 65, 1000, 4096, whole.len() / 2, whole.len() - 1] {
        refuse(whole[..length].to_vec(), &format!("{length} of {} bytes", whole.len()));
    }
    let places = (0..64).step_by(5).chain((64..whole.len()).step_by(whole.len() / 20));
    for place in places.chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x20;
        refuse(bytes, &format!("a bit of byte {place} of {}", whole.len()));
    }
    assert_eq!(server.client.list().unwrap().len(), 1);
    assert_eq!(server.call("neighbour", "count-calls", json!([])), json!(1));
}

fn all_missing_imports_are_listed_at_once(platform: Platform) {
    let mut server = Server::start(platform);
    let bytes = server.compile(
        r#"(component
            (import "wasi:blobstore/container@0.2.0-draft" (instance (export "open" (func))))
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "wasi:io/poll@0.3.0" (instance (export "pollable" (type (sub resource)))))
            (import "my:own/thing" (instance (export "run" (func (param "x" u32)))))
            (import "bare" (func)))"#,
    );
    let (code, message) = server.refused_load(bytes);
    assert_eq!(code, "unsupported-imports", "{message}");
    let other_version = "wasi:io/poll@0.3.0 (here: wasi:io/poll@0.2)";
    for missing in ["wasi:blobstore/container@0.2.0-draft", other_version, "my:own/thing", "bare"] {
        assert!(message.contains(missing), "{message}");
    }
    assert!(!message.contains("wall-clock@"), "{message}");
    assert!(message.contains("It has") && message.contains("wasi:filesystem@0.2"), "{message}");
}
