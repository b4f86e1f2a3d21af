//! `wasi:keyvalue`, `wasi:logging` and `wasi:config`, as guests use them: what a completed change is worth, what a call
//! that ends midway leaves, what each costs, and that an app keeps to its quota of keys.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boundary_wire::client::{AppInfo, DataPolicy, Load, LogPolicy, Params, Secret};
use enclave_os_client::{ClientError, Framed};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    a_guest_uses_buckets_in_every_way,
    completed_changes_survive_a_kill,
    two_workers_count_together_and_lose_nothing,
    data_goes_with_the_app_as_its_policy_says,
    what_an_operation_writes_does_not_grow_with_what_is_there,
    a_guest_logs_and_reads_its_configuration,
    logging_of_before_it_had_a_version_links,
);

struct Server {
    platform: Platform,
    options: HostOptions,
    host: HostProcess,
    client: Framed,
    probe: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(platform: Platform, workers: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments = vec!["--workers".to_owned(), workers.to_string()];
        let host = HostProcess::start(&options).unwrap();
        let client = host.framed().unwrap();
        let probe = guest("tests/guests/keyvalue", "keyvalue_probe.wasm").unwrap();
        let probe = compile(platform, &probe).unwrap();
        Self { platform, options, host, client, probe, _folder: folder }
    }

    /// Ends the host at once and starts it again.
    fn restart(self) -> Self {
        let Self { platform, options, host, probe, _folder, .. } = self;
        host.kill().unwrap();
        let host = HostProcess::start(&options).unwrap();
        let client = host.framed().unwrap();
        Self { platform, options, host, client, probe, _folder }
    }

    fn load(&mut self, load: Load) {
        let max_fuel = Some(20_000_000_000);
        let bytes = if load.bytes.is_empty() { self.probe.clone() } else { load.bytes.clone() };
        self.client.load(Load { name: "app".to_owned(), bytes, max_fuel, ..load }).unwrap();
    }

    fn call(&mut self, function: &str, params: Value) -> Value {
        call(&mut self.client, function, params).unwrap()
    }

    fn ok(&mut self, function: &str, params: Value) -> Value {
        let mut result = self.call(function, params);
        assert!(result.get("ok").is_some(), "{function}: {result}");
        result["ok"].take()
    }

    /// The first word of the error.
    fn err(&mut self, function: &str, params: Value) -> String {
        let result = self.call(function, params);
        let words = result["err"].as_str().unwrap_or_else(|| panic!("{function}: {result}"));
        words.split(':').next().unwrap().to_owned()
    }

    fn info(&mut self) -> AppInfo {
        self.client.list().unwrap().into_iter().find(|app| app.name == "app").unwrap()
    }

    fn keys(&mut self) -> u64 {
        self.info().storage.unwrap().keys.unwrap()
    }

    /// Bytes that the host has written since it started, to whatever.
    fn written(&self) -> u64 {
        let file = format!("/proc/{}/io", self.host.id());
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
    }
}

fn call(client: &mut Framed, function: &str, params: Value) -> Result<Value, ClientError> {
    let mut results = client.call("app", function, Params::Positional(params.as_array().unwrap().clone()))?;
    Ok(results.pop().map_or(Value::Null, |mut result| result["value"].take()))
}

fn a_guest_uses_buckets_in_every_way(platform: Platform) {
    let mut server = Server::start(platform, 1);
    server.load(Load { max_store_keys: Some(20), max_store_bytes: Some(3 << 20), ..Load::default() });
    assert_eq!((server.keys(), server.info().storage.unwrap().max_keys), (0, 20));

    assert_eq!(server.ok("get", json!(["", "k"])), json!(null));
    assert_eq!(server.ok("exists", json!(["", "k"])), json!(false));
    server.ok("set", json!(["", "k", "one"]));
    assert_eq!(server.ok("get", json!(["default", "k"])), json!("one"), "the empty name is `default`");
    assert_eq!(server.ok("exists", json!(["", "k"])), json!(true));
    assert_eq!(server.ok("get", json!(["other", "k"])), json!(null));
    server.ok("set", json!(["other", "", "the empty key"]));
    assert_eq!(server.ok("get", json!(["other", ""])), json!("the empty key"));
    server.ok("delete", json!(["other", ""]));
    server.ok("delete", json!(["other", ""]));

    assert_eq!(server.ok("increment", json!(["", "n", 5])), json!(5));
    assert_eq!(server.ok("increment-signed", json!(["", "n", -2])), json!(3));
    assert_eq!(server.err("increment", json!(["", "k", 1])), "not-a-number");
    server.ok("set", json!(["", "n", "18446744073709551615"]));
    assert_eq!(server.err("increment", json!(["", "n", 1])), "overflow");
    assert_eq!(server.ok("swap-often", json!(["", "cas", 3])), json!(0));
    assert_eq!(server.ok("get", json!(["", "cas"])), json!("3"));

    server.ok("set-many", json!(["", [["a", "1"], ["b", "2"], ["a", "3"]]]));
    assert_eq!(server.ok("get-many", json!(["", ["a", "none", "b"]])), json!(["3", null, "2"]));
    server.ok("delete-many", json!(["", ["a", "none", "b", "cas"]]));
    assert_eq!(server.ok("count", json!([""])), json!([2, 1, 2, 2]));

    assert_eq!(server.err("open", json!(["b".repeat(256)])), "bucket-too-long");
    let long = "k".repeat(1025);
    for (function, params) in [
        ("get", json!(["", long])),
        ("set", json!(["", long, "v"])),
        ("delete", json!(["", long])),
        ("exists", json!(["", long])),
        ("increment", json!(["", long, 1])),
        ("swap-often", json!(["", long, 1])),
        ("get-many", json!(["", ["k", long]])),
        ("set-many", json!(["", [["k", "v"], [long, "v"]]])),
        ("delete-many", json!(["", ["k", long, "k"]])),
    ] {
        assert_eq!(server.err(function, params), "key-too-long", "{function}");
    }
    assert_eq!(server.err("set-sized", json!(["", "k", (1 << 20) + 1])), "value-too-long");
    assert_eq!(server.err("batch", json!(["", 1025, 1])), "batch-too-long");
    assert_eq!(server.err("batch", json!(["", 5, 1 << 20])), "batch-too-large");
    assert_eq!(server.err("page", json!(["", "not a cursor"])), "bad-cursor");

    // The greatest that are allowed.
    let key = "k".repeat(1024);
    let bucket = "b".repeat(255);
    assert_eq!(server.ok("set-sized", json!([bucket, key, 1 << 20])), json!(true));
    assert_eq!(server.ok("page", json!([bucket, null])), json!([[key], null]));
    assert_eq!(server.err("batch", json!(["", 20, 1])), "quota-exceeded");
    server.ok("batch", json!(["", 17, 1]));
    assert_eq!(
        (server.keys(), server.err("set", json!(["new", "k", "v"]))),
        (20, "quota-exceeded".to_owned())
    );
    server.ok("set", json!(["", "k", "what is there may change"]));
    assert_eq!(server.err("batch", json!(["", 3, 1 << 20])), "quota-exceeded", "more bytes than it may keep");

    let mut server = server.restart();
    assert_eq!((server.keys(), server.ok("count", json!([""]))), (20, json!([19, 1, 19, 19])));
    let mut http = server.host.connector().http().unwrap();
    assert_eq!(http.ready().unwrap().more["short_of_storage"], json!(["app"]));
    let leaf = format!("{:?}", http.proof("app.app.limits").unwrap().leaf());
    assert!(leaf.contains("store_keys"), "{leaf}");
    server.ok("delete", json!([bucket, key]));
    server.ok("set", json!(["new", "k", "v"]));
    assert_eq!(server.ok("get", json!(["", "k"])), json!("what is there may change"));
}

fn completed_changes_survive_a_kill(platform: Platform) {
    let mut server = Server::start(platform, 2);
    server.load(Load { timeout_ms: Some(60_000), ..Load::default() });
    for round in 0..4_u64 {
        // One guest in the midst of setting keys, and clients that were told that theirs are set.
        let mut busy = server.host.framed().unwrap();
        let first = 1_000_000 * (round + 1);
        let busy = std::thread::spawn(move || call(&mut busy, "set-endlessly", json!(["busy", first])));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (mut told, count) = (server.host.framed().unwrap(), acknowledged.clone());
        let telling = std::thread::spawn(move || {
            for n in 0.. {
                if call(&mut told, "increment", json!(["told", format!("r{round}"), 1])).is_err() {
                    return;
                }
                count.store(n + 1, Ordering::SeqCst);
            }
        });
        while acknowledged.load(Ordering::SeqCst) < 5 + 7 * round {
            std::thread::sleep(Duration::from_millis(1));
        }
        server = server.restart();
        busy.join().unwrap().unwrap_err();
        telling.join().unwrap();
        let told = acknowledged.load(Ordering::SeqCst);
        let kept = server.ok("get", json!(["told", format!("r{round}")]));
        let kept: u64 = kept.as_str().unwrap().parse().unwrap();
        assert!(kept == told || kept == told + 1, "{told} were acknowledged, {kept} are kept");
        // What was set one after the other is there without a gap, and the index knows all of it.
        let Value::Array(page) = server.ok("page", json!(["busy", null])) else { panic!("no page") };
        let listed: BTreeSet<u64> = page[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().strip_prefix("key-").unwrap().parse().unwrap())
            .filter(|n| *n >= first)
            .collect();
        let many = server.ok("count", json!(["busy"]))[0].as_u64().unwrap();
        if page[1].is_null() {
            assert!(listed.iter().copied().eq(first..first + listed.len() as u64), "{listed:?}");
        }
        assert_eq!(server.keys(), many + round + 1);
    }
}

fn two_workers_count_together_and_lose_nothing(platform: Platform) {
    const EACH: u64 = 25;
    let mut server = Server::start(platform, 2);
    server.load(Load { timeout_ms: Some(60_000), ..Load::default() });
    let host = &server.host;
    std::thread::scope(|scope| {
        for n in 0..6 {
            let mut client = host.framed().unwrap();
            let function = if n % 2 == 0 { "increment-often" } else { "swap-often" };
            scope.spawn(move || {
                let done = call(&mut client, function, json!(["", "n", EACH])).unwrap();
                assert!(done.get("ok").is_some(), "{done}");
            });
        }
        // Others come and go beside them.
        let mut client = host.framed().unwrap();
        scope.spawn(move || {
            for n in 0..10 {
                call(&mut client, "fill", json!(["other", 100 * n, 100 * n + 100])).unwrap();
                call(&mut client, "delete-many", json!(["other", [format!("key-{}", 100 * n)]])).unwrap();
            }
        });
    });
    assert_eq!(server.ok("get", json!(["", "n"])), json!((6 * EACH).to_string()));
    assert_eq!(server.ok("count", json!(["other"])), json!([990, 1, 990, 990]));

    // A call that its deadline ends midway leaves whole changes behind.
    server.load(Load { timeout_ms: Some(300), data_policy: Some(DataPolicy::CodeHash), ..Load::default() });
    match call(&mut server.client, "set-endlessly", json!(["cut", 0])) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, "deadline"),
        other => panic!("{other:?}"),
    }
    // The change that was under way is made before this one.
    server.ok("delete", json!(["cut", "none"]));
    let counted = server.ok("count", json!(["cut"]));
    let there = counted[0].as_u64().unwrap();
    assert!(there > 0 && counted[2] == counted[0]);
    for n in [0, there - 1] {
        assert_eq!(server.ok("get", json!(["cut", format!("key-{n}")])), json!(n.to_string()));
    }
    assert_eq!(server.keys(), there + 991);
}

fn data_goes_with_the_app_as_its_policy_says(platform: Platform) {
    let mut server = Server::start(platform, 1);
    let other = compile(platform, &guest("tests/guests/std-probe", "std_probe.wasm").unwrap()).unwrap();
    let probe = || Load::default();
    let other = || Load { bytes: other.clone(), ..Load::default() };
    let kept = |load: Load| Load { data_policy: Some(DataPolicy::Operator), ..load };

    server.load(probe());
    server.ok("fill", json!(["", 0, 200]));
    server.load(other());
    assert_eq!((server.keys(), server.info().storage.unwrap().records), (0, 0), "it belonged to the code");
    server.load(probe());
    assert_eq!(server.ok("count", json!([""])), json!([0, 1, 0, 0]));

    server.ok("set", json!(["", "k", "v"]));
    server.load(probe());
    assert_eq!(server.ok("get", json!(["", "k"])), json!("v"), "the same code again");
    server.client.unload("app").unwrap();
    server.load(kept(probe()));
    assert_eq!((server.ok("get", json!(["", "k"])), server.keys()), (json!(null), 0));

    server.ok("set", json!(["", "k", "kept"]));
    server.load(kept(other()));
    assert_eq!(server.keys(), 1);
    server.load(kept(probe()));
    assert_eq!(server.ok("get", json!(["", "k"])), json!("kept"));
    assert_eq!(server.ok("count", json!([""])), json!([1, 1, 1, 1]));
}

fn what_an_operation_writes_does_not_grow_with_what_is_there(platform: Platform) {
    const KEYS: u64 = 20_000;
    const ROUNDS: u64 = 40;
    const LARGE: u64 = 64;
    let mut server = Server::start(platform, 1);
    server.load(Load { timeout_ms: Some(120_000), ..Load::default() });
    let write = |server: &mut Server, function: &str, params: Value| {
        let before = server.written();
        server.ok(function, params);
        (server.written() - before) / ROUNDS
    };
    let cost = |server: &mut Server, keys: u64| {
        ["set", "new"].map(|operation| write(server, "time", json!([operation, "", keys, ROUNDS])))
    };
    server.ok("fill", json!(["", 0, 100]));
    let few = cost(&mut server, 100);
    server.ok("fill", json!(["", 100, KEYS]));
    let many = cost(&mut server, KEYS);
    let [replaced, made] = [0, 1].map(|n| (few[n], many[n]));
    // The host's own tree is deeper by a page or two; what is there would be 1.5 MB.
    assert!(replaced.1 <= 2 * replaced.0 + (64 << 10), "a set among few and many keys: {replaced:?} bytes");
    assert!(made.1 <= 2 * made.0 + (64 << 10), "a new key among few and many: {made:?} bytes");
    let counted = server.ok("count", json!([""]));
    let [all, pages, different, longest] = [0, 1, 2, 3].map(|n| counted[n].as_u64().unwrap());
    assert_eq!((all, different), (KEYS, KEYS));
    assert!(pages >= KEYS / 1000 && longest <= 1000, "{pages} pages, at most {longest} keys in one");

    server.ok("make-file", json!(["small", 0]));
    server.ok("make-file", json!(["large", 0]));
    server.ok("append", json!(["large", 1 << 20, LARGE]));
    // Of zeros that take no room.
    server.ok("make-file", json!(["gigabyte", 1 << 30]));
    let [small, large, gigabyte] =
        ["small", "large", "gigabyte"].map(|path| write(&mut server, "append", json!([path, 1024, ROUNDS])));
    let more = 2 * small + (64 << 10);
    assert!(large <= more && gigabyte <= more, "1 kB more of a file: {small}, {large}, {gigabyte} bytes");
    assert!(large < LARGE << 14, "{large} bytes for 1 kB more of {LARGE} MiB");
}

fn a_guest_logs_and_reads_its_configuration(platform: Platform) {
    let mut server = Server::start(platform, 1);
    let env = [("greeting".to_owned(), "hi".to_owned()), ("Empty".to_owned(), String::new())];
    let secrets = [("password".to_owned(), Secret::new("s3cret"))];
    let load = Load { env: env.into(), secrets: secrets.into(), ..Load::default() };
    server.load(load.clone());
    assert_eq!(server.call("config", json!(["greeting"])), json!(["hi", "hi"]));
    assert_eq!(server.call("config", json!(["Empty"])), json!(["", ""]));
    for absent in ["password", "ENCLAVE_OS_APP", "empty"] {
        assert_eq!(server.call("config", json!([absent])), json!([null, null]), "{absent}");
    }
    let all = json!([["Empty", ""], ["greeting", "hi"]]);
    assert_eq!(server.call("config-all", json!([])), json!([all, all]));

    let levels = ["trace", "debug", "info", "warn", "error", "critical"];
    for level in levels {
        server.call("log", json!([level, "where", format!("said at {level}\nand again\u{1b}[2J")]));
    }
    server.call("log", json!(["info", "", "without a context"]));
    let expected = [
        "[where] said at info",
        "[where] said at warn",
        "[where] said at error",
        "critical: [where] said at critical",
        "without a context",
    ];
    // Lines are written while the answer is on its way.
    for _ in 0..500 {
        let output = server.host.output();
        if expected.iter().all(|line| output.contains(line)) {
            assert!(
                output.contains("[where] and again\u{fffd}[2J") && !output.contains('\u{1b}'),
                "{output}"
            );
            server.load(Load { log_policy: Some(LogPolicy::None), ..load });
            server.call("log", json!(["error", "", "not for the host"]));
            server.call("log", json!(["error", "", "nor this"]));
            let output = server.host.stop_with_output().unwrap();
            assert!(!output.contains("not for the host"), "{output}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not log: {}", server.host.output());
}

/// Logs one message by the interface as it was before it had a version.
const UNVERSIONED: &str = r#"(component
    (type $logging (instance
        (type $cases (enum "trace" "debug" "info" "warn" "error" "critical"))
        (export "level" (type $level (eq $cases)))
        (type $log (func (param "level" $level) (param "context" string) (param "message" string)))
        (export "log" (func (type $log)))))
    (import "wasi:logging/logging" (instance $logging (type $logging)))
    (core module $memory (memory (export "memory") 1) (data (i32.const 8) "without a version"))
    (core instance $memory (instantiate $memory))
    (core func $log (canon lower (func $logging "log") (memory (core memory $memory "memory"))))
    (core module $main
        (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
        (func (export "run")
            (call $log (i32.const 3) (i32.const 8) (i32.const 7) (i32.const 8) (i32.const 17))))
    (core instance $main (instantiate $main (with "host" (instance (export "log" (func $log))))))
    (func (export "run") (canon lift (core func $main "run"))))"#;

fn logging_of_before_it_had_a_version_links(platform: Platform) {
    let mut server = Server::start(platform, 1);
    let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
    let bytes = enclave_os_compiler::compile(&wat::parse_str(UNVERSIONED).unwrap(), target).unwrap();
    server.load(Load { bytes, ..Load::default() });
    server.call("run", json!([]));
    for _ in 0..500 {
        if server.host.output().contains("[without] without a version") {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not log: {}", server.host.output());
}
