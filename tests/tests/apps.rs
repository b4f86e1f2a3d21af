//! Apps beside each other: what one does, is, or leaves behind reaches no other.
//!
//! Bug: an app that is busy stops its neighbour, a replacement that fails takes the old app with it, other code reads
//! what the code before it left, a request finds another app than its connection is for, or a restart forgets one.
//! Required: each of them is that app's matter alone.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boundary_wire::client::{DataPolicy, Load, Params};
use enclave_os_client::{Body, ClientError, Framed};
use host_services::storage::{self, KvOp};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    an_app_at_its_limits_stops_no_other,
    a_replacement_is_whole_or_not_at_all,
    other_code_reads_nothing_of_what_was_left,
    no_name_leads_to_another_app,
    a_restart_brings_all_back_or_says_what_was_altered,
);

fn start(platform: Platform, folder: &Path) -> HostProcess {
    HostProcess::start(&HostOptions::development(platform, folder.join("data"))).unwrap()
}

/// A component with `one() -> u32`, which gives that number, `spin()` and `take-all()`.
fn artifact(platform: Platform, number: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (memory 1)
                (func (export "one") (result i32) (i32.const {number}))
                (func (export "spin") (loop (br 0)))
                (func (export "take-all")
                    (loop $more
                        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
                        (br $more))))
            (core instance $i (instantiate $m))
            (func (export "one") (result u32) (canon lift (core func $i "one")))
            (func (export "spin") (canon lift (core func $i "spin")))
            (func (export "take-all") (canon lift (core func $i "take-all"))))"#
    );
    let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
    enclave_os_compiler::compile(&wat::parse_str(text).unwrap(), target).unwrap()
}

fn app(name: &str, bytes: &[u8]) -> Load {
    Load {
        name: name.into(),
        bytes: bytes.to_vec(),
        hostname: Some(format!("{name}.example")),
        ..Load::default()
    }
}

fn one(client: &mut Framed, app: &str) -> Result<u64, ClientError> {
    Ok(client.call(app, "one", Params::default())?[0]["value"].as_u64().unwrap())
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

fn an_app_at_its_limits_stops_no_other(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let bytes = artifact(platform, 7);
    let mut owner = host.framed().unwrap();
    let busy = Load { max_fuel: Some(u64::MAX / 2), timeout_ms: Some(600_000), ..app("busy", &bytes) };
    owner.load(busy).unwrap();
    owner.load(app("other", &bytes)).unwrap();
    // Memory and fuel end a call, and nothing else.
    assert_eq!(code(owner.call("busy", "take-all", Params::default())), "memory-limit");
    assert_eq!(code(owner.call("other", "spin", Params::default())), "fuel-exhausted");
    // All its calls compute without end, and as many wait: one more is shed, and the other app answers as before.
    let spin = br#"{"wasm_call":{"app":"busy","function":"spin"}}"#;
    let spinning = || {
        let mut client = host.framed().unwrap();
        client.send_frame(spin).unwrap();
        client
    };
    let mut running: Vec<Framed> = (0..128).map(|_| spinning()).collect();
    // Whoever comes before they are all there waits, and leaves: then there is room for one more.
    let is_full = || {
        let connector = host.connector().io_timeout(Duration::from_secs(2));
        match one(&mut Framed::new(connector.connect(&[]).unwrap()), "busy") {
            Err(ClientError::Refused(error)) => error.code == "overloaded",
            _ => false,
        }
    };
    while !is_full() {
        running.push(spinning());
    }
    for _ in 0..20 {
        assert_eq!(one(&mut owner, "other").unwrap(), 7);
        assert!(is_full());
    }
    drop(running);
}

fn a_replacement_is_whole_or_not_at_all(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let (first, second) = (artifact(platform, 1), artifact(platform, 2));
    let mut owner = host.framed().unwrap();
    owner.load(app("app", &first)).unwrap();
    owner.load(app("other", &first)).unwrap();
    let cut = &second[..second.len() / 2];
    for (load, wanted) in [
        (Load { hostname: Some("other.example".into()), ..app("app", &second) }, Some("hostname-taken")),
        (Load { route_prefix: Some("/other".into()), ..app("app", &second) }, Some("route-prefix-taken")),
        (Load { hostname: Some("localhost".into()), ..app("app", &second) }, Some("hostname-reserved")),
        (Load { hostname: Some("no_name".into()), ..app("app", &second) }, Some("bad-hostname")),
        (Load { route_prefix: Some("/.enclave/x".into()), ..app("app", &second) }, Some("bad-route-prefix")),
        (app("app", cut), None),
        (app("app", b"\x7fELF"), None),
    ] {
        let refused = code(owner.load(load));
        assert!(wanted.is_none_or(|wanted| refused == wanted), "{refused}");
        assert_eq!(one(&mut owner, "app").unwrap(), 1, "after {refused}");
    }
    // Whoever calls while it is replaced gets one or the other, or is told.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let mut client = host.framed().unwrap();
                let answer = one(&mut client, "app");
                match answer {
                    Ok(number) => seen.push(number),
                    Err(ClientError::Refused(error)) => {
                        assert!(
                            matches!(error.code.as_str(), "attestation-stale" | "app-changing"),
                            "{error:?}"
                        );
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            seen
        };
        let asking = [scope.spawn(ask), scope.spawn(ask)];
        for round in 0..6 {
            let bytes = if round % 2 == 0 { &second } else { &first };
            owner.load(app("app", bytes)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let seen: Vec<u64> = asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect();
        assert!(seen.iter().all(|number| matches!(number, 1 | 2)), "{seen:?}");
    });
    assert_eq!(one(&mut owner, "app").unwrap(), 1);
}

fn other_code_reads_nothing_of_what_was_left(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let writes = compile(platform, &guest("examples/wasm-example", "wasm_example.wasm").unwrap()).unwrap();
    let reads = compile(platform, &guest("tests/guests/std-probe", "std_probe.wasm").unwrap()).unwrap();
    let mut owner = host.framed().unwrap();
    let text = |client: &mut Framed, function: &str, arguments: &[&str]| {
        let params = Params::Positional(arguments.iter().map(|text| json!(text)).collect());
        client.call("app", function, params).unwrap()[0].to_string()
    };
    for policy in [DataPolicy::CodeHash, DataPolicy::Operator] {
        let load = |bytes: &[u8]| Load { data_policy: Some(policy), ..app("app", bytes) };
        owner.load(load(&writes)).unwrap();
        text(&mut owner, "kv-store", &["name", "the-secret"]);
        // The same code again keeps it.
        owner.load(load(&writes)).unwrap();
        assert!(text(&mut owner, "kv-read", &["name"]).contains("the-secret"));
        owner.load(load(&reads)).unwrap();
        let left = text(&mut owner, "list", &["/"]);
        let is_empty = serde_json::from_str::<Value>(&left).unwrap()["value"]["ok"] == json!([]);
        assert_eq!(is_empty, policy == DataPolicy::CodeHash, "{policy:?}: {left}");
        // Nor is it there for the first code when that comes back.
        if policy == DataPolicy::CodeHash {
            owner.load(load(&writes)).unwrap();
            assert!(!text(&mut owner, "kv-read", &["name"]).contains("the-secret"));
        }
        owner.unload("app").unwrap();
    }
}

fn no_name_leads_to_another_app(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let mut owner = host.framed().unwrap();
    owner.load(app("mine", &artifact(platform, 1))).unwrap();
    owner.load(app("other", &artifact(platform, 2))).unwrap();
    owner
        .load(Load { route_prefix: Some("/mine/inner".into()), ..app("inner", &artifact(platform, 3)) })
        .unwrap();
    let ask = |server_name: &str, request: &str| -> (u16, Value) {
        let connector = host.connector().server_name(server_name);
        let mut connection = connector.connect(&[b"http/1.1"]).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        connection.flush().unwrap();
        let mut bytes = Vec::new();
        let _reset = connection.read_to_end(&mut bytes).is_err();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    };
    let call = |server_name: &str, host: &str, app: &str| {
        let request = format!(
            "POST /.enclave/v1/apps/{app}/call/one HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]"
        );
        ask(server_name, &request)
    };
    assert_eq!(call("mine.example", "mine.example", "mine").1["returns"][0]["value"], 1);
    // Ways to write another app's name in the path of a connection to this one.
    for name in [
        "other",
        "%6fther",
        "%6Fth%65r",
        "mine%2f..%2fother",
        "mine/../other",
        "mine%00other",
        "OTHER",
        "other%20",
        "./other",
        "%2e%2e/other",
        "mine//other",
        "other;mine",
    ] {
        let (status, problem) = call("mine.example", "mine.example", name);
        assert!(matches!(status, 400 | 403 | 404), "{name}: {status} {problem}");
        assert!(problem.get("returns").is_none(), "{name}: {problem}");
    }
    // Ways to name another host on it, or to say this one otherwise.
    for (name, wanted) in [
        ("mine.example", 200),
        ("MINE.example", 200),
        ("mine.example:443", 200),
        ("other.example", 421),
        ("mine.example.", 200),
        ("mine.example.other.example", 421),
        ("other.example:443", 421),
        ("other.example@mine.example", 421),
        ("mine.example@other.example", 421),
        ("mine%2eexample", 421),
        ("mine.example/other", 421),
        ("mine.example, other.example", 421),
        ("[mine.example]", 421),
        ("localhost", 421),
        ("", 421),
    ] {
        let (status, problem) = call("mine.example", name, "mine");
        // What is no authority at all is refused before it is compared.
        let malformed = (status, &problem["code"]) == (400, &json!("bad-host"));
        let odd = name.is_empty() || name.contains(['@', '%', '/', ',', '[']);
        assert!(status == wanted || malformed && odd, "{name}: {status} {problem}");
    }
    // The target's authority counts as much as the header, and two that differ are for nobody.
    for (target, host, wanted) in [
        ("https://mine.example", "mine.example", 200),
        ("https://other.example", "mine.example", 421),
        ("https://mine.example", "other.example", 421),
        ("https://other.example", "other.example", 421),
    ] {
        let request =
            format!("GET {target}/.enclave/v1/health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(ask("mine.example", &request).0, wanted, "{target} {host}");
    }
    // On the enclave's own name the longest prefix wins, undecoded and on the borders of segments.
    for (path, wanted) in [
        ("/mine", "mine"),
        ("/mine/x", "mine"),
        ("/mine/inner", "inner"),
        ("/mine/inner/x", "inner"),
        ("/mine/innermost", "mine"),
        ("/mine/%69nner", "mine"),
        ("/mine/INNER", "mine"),
        ("/other?/mine", "other"),
        ("/m%69ne", ""),
        ("/MINE", ""),
        ("/mineral", ""),
        ("/mine/../other", ""),
        ("/mine/%2e%2e/other", ""),
        ("//other", ""),
        ("/mine//inner", ""),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let (status, problem) = ask("localhost", &request);
        let detail = problem["detail"].as_str().unwrap_or_default();
        if wanted.is_empty() {
            assert!(matches!(status, 400 | 404), "{path}: {status} {detail}");
        } else {
            assert!(detail.contains(&format!("app {wanted:?}")), "{path}: {status} {detail}");
        }
    }
}

fn a_restart_brings_all_back_or_says_what_was_altered(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let apps = [("first", 1), ("second", 2), ("third", 3)];
    let host = start(platform, folder.path());
    let mut owner = host.framed().unwrap();
    for (name, number) in apps {
        owner.load(app(name, &artifact(platform, number))).unwrap();
    }
    host.stop().unwrap();

    // Somebody alters a record while nobody looks: nothing is served from such a store, and nothing is lost.
    let largest = flip_a_bit(&data);
    let Err(refused) = HostProcess::start(&HostOptions::development(platform, &data)) else {
        panic!("it starts")
    };
    let refused = refused.to_string();
    assert!(refused.contains(&format!("record {}", &largest[..16])), "{refused}");
    flip_a_bit(&data);
    let host = start(platform, folder.path());
    let mut client = host.framed().unwrap();
    for (name, number) in apps {
        assert_eq!(one(&mut client, name).unwrap(), u64::from(number));
    }
    let mut http = host.connector().http().unwrap();
    let ready = http.request("GET", "/.enclave/v1/ready", &[], Body::Empty).unwrap();
    let ready: Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((&ready["apps"], &ready["damaged"], &ready["damage"]), (&json!(3), &json!([]), &json!({})));
}

/// Of the largest record of a host that does not run. Gives the record's key, in hex.
fn flip_a_bit(data: &Path) -> String {
    let store = storage::open(data).unwrap();
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(after.as_ref(), 1 << 20).unwrap();
        after = page.records.last().map(|(key, _)| *key);
        records.extend(page.records);
        if !page.more {
            break;
        }
    }
    let (key, mut value) = records.into_iter().max_by_key(|(key, value)| (value.len(), *key)).unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 1;
    store.batch(&[KvOp::Put { key, value }]).unwrap();
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}
