//! What does an app at its limits cost its neighbour, and what does a server do beyond its capacity? On native and
//! the image (on hardware where there is any, emulated otherwise).
//!
//! `cargo xtask bench neighbour`. The latency of app B is taken alone and beside app A at one of its limits, in
//! one run and by turns. Throughput is that of clients that each ask again as soon as they are answered; the first
//! row in which more clients bring no more answers is the server's capacity.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails measures nothing")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use boundary_wire::client::{Load, Params};
use enclave_os_client::{ClientError, Connection, Framed};
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::{Value, json};

/// The same by turns, so that a slow moment of the machine is in all of them.
const ROUNDS: usize = 3;
const CALLS: usize = 100;
/// As many as an app may have running by default.
const RUNNING: usize = 64;
/// Clients that keep an app at a limit which ends its calls.
const CLIENTS: usize = 8;
const IDLE: usize = 500;
/// How long a load is kept up.
const LOAD_TIME: Duration = Duration::from_secs(2);
const LOADS: [usize; 7] = [1, 2, 4, 8, 16, 64, 256];

/// What app A does meanwhile.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    Calls,
    Fuel,
    Memory,
    Connections,
}

impl Beside {
    const ALL: [Self; 5] = [Self::Nothing, Self::Calls, Self::Fuel, Self::Memory, Self::Connections];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "alone",
            Self::Calls => "beside 64 calls that compute without end",
            Self::Fuel => "beside calls that use up their fuel",
            Self::Memory => "beside calls that take all memory they may",
            Self::Connections => "beside 500 connections that say nothing",
        }
    }
}

fn main() {
    let as_json = std::env::args().any(|argument| argument == "--json");
    let mut document = Vec::new();
    for platform in [Platform::Native, Platform::of_the_image()] {
        let neighbours = neighbours(platform);
        let loads = overload(platform);
        if as_json {
            document.push(json!({ "platform": platform.name(), "neighbour": neighbours, "load": loads }));
        } else {
            print(platform, &neighbours, &loads);
        }
    }
    if as_json {
        println!("{:#}", Value::from(document));
    }
}

fn print(platform: Platform, neighbours: &[Value], loads: &[Value]) {
    println!("\n{platform}: a call of app B, median of {ROUNDS} rounds of {CALLS}");
    for row in neighbours {
        let (name, median) = (row["beside"].as_str().unwrap(), row["median_us"].as_f64().unwrap());
        println!("  {name:<46} {median:>9.0} µs  {:>6.2} times alone", row["times_alone"].as_f64().unwrap());
    }
    println!("{platform}: clients that ask again as soon as they are answered");
    for row in loads {
        println!(
            "  {:>4} clients {:>9.0} answers/s  {:>5.2} of the most  admitted: median {:>8.0} µs, 99th {:>9.0} µs  shed {:>8}",
            row["clients"],
            row["per_second"].as_f64().unwrap(),
            row["of_peak"].as_f64().unwrap(),
            row["median_us"].as_f64().unwrap(),
            row["p99_us"].as_f64().unwrap(),
            row["shed"],
        );
    }
}

/// The latency of B beside each of the loads of A.
fn neighbours(platform: Platform) -> Vec<Value> {
    let server = Server::start(platform);
    let mut medians = Beside::ALL.map(|_| Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("{platform}: round {round} of {ROUNDS}");
        for (beside, medians) in Beside::ALL.into_iter().zip(&mut medians) {
            medians.push(server.latency_beside(beside));
        }
    }
    let medians = medians.map(|mut rounds| at(&mut rounds, 0.5));
    let alone = medians[0];
    let row = |(beside, median): (Beside, f64)| json!({ "beside": beside.name(), "median_us": median, "times_alone": median / alone });
    Beside::ALL.into_iter().zip(medians).map(row).collect()
}

struct Server {
    host: HostProcess,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments = vec!["--workers".to_owned(), "2".to_owned()];
        let server = Self { host: HostProcess::start(&options).unwrap(), _folder: folder };
        let bytes = artifact(platform);
        let mut owner = server.host.framed().unwrap();
        let a = Load { name: "a".into(), bytes: bytes.clone(), timeout_ms: Some(600_000), ..Load::default() };
        owner.load(Load { max_fuel: Some(u64::MAX / 2), ..a.clone() }).unwrap();
        owner.load(Load { name: "starved".into(), ..a }).unwrap();
        owner.load(Load { name: "b".into(), bytes, ..Load::default() }).unwrap();
        server
    }

    /// Median of one round. Microseconds.
    fn latency_beside(&self, beside: Beside) -> f64 {
        let enough = AtomicBool::new(false);
        let again = |app: &'static str, function: &'static str| {
            let mut client = self.host.framed().unwrap();
            while !enough.load(Ordering::Relaxed) {
                let refused = client.call(app, function, Params::default());
                assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
            }
        };
        std::thread::scope(|scope| {
            let mut held: (Vec<Framed>, Vec<Connection>) = Default::default();
            match beside {
                Beside::Nothing => {}
                Beside::Calls => held.0.extend((0..RUNNING).map(|_| self.spinning())),
                Beside::Fuel => (0..CLIENTS).for_each(|_| drop(scope.spawn(|| again("starved", "spin")))),
                Beside::Memory => (0..CLIENTS).for_each(|_| drop(scope.spawn(|| again("a", "take-all")))),
                Beside::Connections => {
                    let connector = self.host.connector().server_name("a");
                    held.1.extend((0..IDLE).map(|_| connector.connect(&[]).unwrap()));
                }
            }
            let mut client = self.host.framed().unwrap();
            client.call("b", "one", Params::default()).unwrap();
            let mut took: Vec<f64> = (0..CALLS).map(|_| timed(&mut client).unwrap()).collect();
            enough.store(true, Ordering::Relaxed);
            drop(held);
            at(&mut took, 0.5)
        })
    }

    /// A client whose call does not end before it leaves.
    fn spinning(&self) -> Framed {
        let mut client = self.host.framed().unwrap();
        client.send_frame(br#"{"wasm_call":{"app":"a","function":"spin"}}"#).unwrap();
        client
    }
}

/// Answers per second and their latency, with more and more clients.
fn overload(platform: Platform) -> Vec<Value> {
    let server = Server::start(platform);
    let rows: Vec<_> = LOADS.into_iter().map(|clients| (clients, under(&server, clients))).collect();
    let peak = rows.iter().map(|(_, load)| load.per_second).fold(0.0, f64::max);
    let row = |(clients, mut load): (usize, Answered)| {
        json!({
            "clients": clients,
            "per_second": load.per_second,
            "of_peak": load.per_second / peak,
            "median_us": at(&mut load.took, 0.5),
            "p99_us": at(&mut load.took, 0.99),
            "shed": load.shed,
        })
    };
    rows.into_iter().map(row).collect()
}

struct Answered {
    per_second: f64,
    took: Vec<f64>,
    shed: usize,
}

fn under(server: &Server, clients: usize) -> Answered {
    eprintln!("{clients} clients");
    let connected: Vec<_> = (0..clients).map(|_| server.host.framed().unwrap()).collect();
    let begun = Instant::now();
    let parts: Vec<(Vec<f64>, usize)> = std::thread::scope(|scope| {
        let ask = |mut client: Framed| {
            let (mut took, mut shed) = (Vec::new(), 0);
            while begun.elapsed() < LOAD_TIME {
                match timed(&mut client) {
                    Some(latency) => took.push(latency),
                    None => shed += 1,
                }
            }
            (took, shed)
        };
        let asking: Vec<_> = connected.into_iter().map(|client| scope.spawn(move || ask(client))).collect();
        asking.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let shed = parts.iter().map(|(_, shed)| shed).sum();
    let took: Vec<f64> = parts.into_iter().flat_map(|(took, _)| took).collect();
    Answered { per_second: took.len() as f64 / seconds, took, shed }
}

/// One call of app B, in microseconds. `None`: it was shed.
fn timed(client: &mut Framed) -> Option<f64> {
    let begun = Instant::now();
    match client.call("b", "one", Params::default()) {
        Ok(_) => Some(begun.elapsed().as_secs_f64() * 1e6),
        Err(ClientError::Refused(error)) if error.code == "overloaded" => None,
        Err(error) => panic!("{error}"),
    }
}

/// The value that this part of the others do not exceed.
fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * part) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn artifact(platform: Platform) -> Vec<u8> {
    let text = r#"(component
        (core module $m
            (memory 1)
            (func (export "one") (result i32) (i32.const 1))
            (func (export "spin") (loop (br 0)))
            (func (export "take-all")
                (loop $more
                    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
                    (br $more))))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "one")))
        (func (export "spin") (canon lift (core func $i "spin")))
        (func (export "take-all") (canon lift (core func $i "take-all"))))"#;
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("neighbour.wasm");
    std::fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
    example::compile(platform, &component).unwrap()
}
