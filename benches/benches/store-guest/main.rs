//! What do keys, values and files cost a guest, among few and among many? On native and the image (on hardware where
//! there is any, emulated otherwise).
//!
//! `cargo xtask bench store-guest`. One app with 100 and one with 100,000 keys, a file of 0 and one of 1 GiB, on both
//! platforms in one run and by turns. Times are taken by the guest; bytes are all that the host process writes, its own
//! journal and copies of pages included, for each append.

#![allow(clippy::unwrap_used, reason = "a measurement that fails measures nothing")]

use boundary_wire::client::{Load, Params};
use enclave_os_client::Framed;
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

/// The same by turns, so that a slow moment of the machine is in all of them.
const ROUNDS: usize = 5;
/// Operations of a kind in a round.
const OPERATIONS: u64 = 60;
const SIZES: [(&str, u64); 2] = [("few", 100), ("many", 100_000)];
const FILES: [(&str, u64); 2] = [("few", 0), ("many", 1024)];
const KINDS: [&str; 5] = ["get", "set", "new", "delete", "page"];

fn main() {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let mut servers = [Platform::Native, Platform::of_the_image()].map(Server::start);
    let mut figures: Vec<Figures> = servers.iter().map(|_| Figures::default()).collect();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (server, figures) in servers.iter_mut().zip(&mut figures) {
            server.round(figures);
        }
    }
    let rows: Vec<Value> =
        servers.iter().zip(figures).map(|(server, figures)| figures.document(server.platform)).collect();
    if as_json {
        println!("{:#}", Value::from(rows));
    } else {
        rows.iter().for_each(print);
    }
}

/// One host with an app of few keys and one of many, and a file in each.
struct Server {
    platform: Platform,
    host: HostProcess,
    client: Framed,
    _folder: tempfile::TempDir,
}

/// By kind: nanoseconds among few and among many; and bytes written for each append.
#[derive(Default)]
struct Figures {
    times: [[Vec<u64>; 2]; 5],
    appends: [Vec<u64>; 2],
    written: [Vec<u64>; 2],
}

impl Server {
    fn start(platform: Platform) -> Self {
        eprintln!("{platform}: 100,000 keys and a file of 1 GiB");
        let folder = tempfile::tempdir().unwrap();
        let host =
            HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
        let mut client = host.framed().unwrap();
        let probe = guest("tests/guests/keyvalue", "keyvalue_probe.wasm").unwrap();
        let bytes = compile(platform, &probe).unwrap();
        for (name, _) in SIZES {
            let load = Load { name: name.to_owned(), bytes: bytes.clone(), ..Load::default() };
            let (max_fuel, timeout_ms, max_store_bytes) = (Some(u64::MAX / 2), Some(600_000), Some(3 << 30));
            client.load(Load { max_fuel, timeout_ms, max_store_bytes, ..load }).unwrap();
        }
        let mut server = Self { platform, host, client, _folder: folder };
        for (app, keys) in SIZES {
            server.call(app, "fill", json!(["", 0, keys]));
        }
        for (app, mib) in FILES {
            server.call(app, "make-file", json!(["file", 0]));
            for _ in 0..mib / 64 {
                server.call(app, "append", json!(["file", 1 << 20, 64]));
            }
        }
        server
    }

    fn round(&mut self, figures: &mut Figures) {
        for (kind, times) in KINDS.into_iter().zip(&mut figures.times) {
            for ((app, keys), times) in SIZES.into_iter().zip(times) {
                times.extend(numbers(&self.call(app, "time", json!([kind, "", keys, OPERATIONS]))));
            }
        }
        for (n, (app, _)) in FILES.into_iter().enumerate() {
            let before = self.written();
            figures.appends[n].extend(numbers(&self.call(app, "append", json!(["file", 1000, OPERATIONS]))));
            figures.written[n].push((self.written() - before) / OPERATIONS);
        }
    }

    fn call(&mut self, app: &str, function: &str, params: Value) -> Value {
        let params = Params::Positional(params.as_array().unwrap().clone());
        let mut results = self.client.call(app, function, params).unwrap();
        let mut value = results.remove(0)["value"].take();
        assert!(value.get("ok").is_some(), "{function}: {value}");
        value["ok"].take()
    }

    /// Bytes that the host has written since it started.
    fn written(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.host.id())).unwrap();
        text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
    }
}

impl Figures {
    fn document(mut self, platform: Platform) -> Value {
        let mut rows = serde_json::Map::new();
        for (kind, [few, many]) in KINDS.into_iter().zip(&mut self.times) {
            rows.insert(kind.to_owned(), row(median(few) as f64 / 1e3, median(many) as f64 / 1e3));
        }
        let [few, many] = &mut self.appends;
        rows.insert("append".to_owned(), row(median(few) as f64 / 1e3, median(many) as f64 / 1e3));
        let [few, many] = &mut self.written;
        rows.insert("written".to_owned(), row(median(few) as f64, median(many) as f64));
        json!({ "platform": platform.name(), "rows": rows })
    }
}

fn row(few: f64, many: f64) -> Value {
    json!({ "few": few, "many": many, "ratio": many / few })
}

fn print(document: &Value) {
    let platform = document["platform"].as_str().unwrap();
    println!("\n{platform}: medians of {ROUNDS} rounds of {OPERATIONS}");
    println!("  {:<34} {:>12} {:>12} {:>7}", "", "100 keys", "100,000", "ratio");
    let print = |name: &str, row: &Value, unit: &str| {
        let [few, many, ratio] = ["few", "many", "ratio"].map(|field| row[field].as_f64().unwrap());
        println!("  {name:<34} {few:>9.0} {unit} {many:>9.0} {unit} {ratio:>7.2}");
    };
    let rows = &document["rows"];
    for (kind, name) in KINDS.into_iter().zip([
        "get",
        "set of a key that is there",
        "set of a new key",
        "delete",
        "a page of keys",
    ]) {
        print(name, &rows[kind], "µs");
    }
    println!("  {:<34} {:>12} {:>12} {:>7}", "", "small file", "1 GiB", "ratio");
    print("append 1 kB and sync", &rows["append"], "µs");
    print("written by the host for it", &rows["written"], "B ");
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn median(numbers: &mut [u64]) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}
