//! What does the enclave boundary cost? The host on native against the signed image (on hardware where there is
//! any, emulated otherwise), in one run and by turns, because machines are noisy.
//!
//! `cargo xtask bench boundary`. Everything is measured from a client on loopback, through TLS, so a figure
//! is what a user sees; what the two columns differ in is the boundary.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails measures nothing")]

mod report;

use std::time::{Duration, Instant};

use boundary_wire::client::{Call, Command, Envelope, Load, Params, Reply, Request};
use enclave_os_client::Framed;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;

use report::{Figure, Unit};

/// Both hosts are measured this often, by turns.
const ROUNDS: usize = 7;

const ROUND_TRIPS: u32 = 2_000;
const CLIENTS: usize = 4;
/// Requests that a client sends before it reads their answers, so that little of the time is its own.
const BURST: u32 = 50;
const BURSTS: u32 = 10;
/// Workers that are compared with one.
const WORKERS: u16 = 2;
/// Connections that keep them busy: enough for the kernel to give each worker some.
const BUSY_CLIENTS: usize = 12;
/// Requests that such a client has under way.
const BUSY_BURST: u32 = 4;
const BUSY_TIME: Duration = Duration::from_millis(700);
const SLEEPS: u32 = 20;
/// Long enough for every thread of the enclave to be asleep.
const SILENCE: Duration = Duration::from_millis(20);
/// Functions of the component whose artifact is loaded: about 2 MB of native code and data.
const FUNCTIONS: usize = 6_000;

/// Gets itself a memory of 1 MiB and writes to every fourth byte of it.
const WORK: &str = r#"(component
  (core module $m (memory 1)
    (func (export "work") (result i32) (local $at i32)
      i32.const 15 memory.grow drop
      loop $again
        local.get $at local.get $at i32.store
        local.get $at i32.const 4 i32.add local.tee $at
        i32.const 1048576 i32.lt_u br_if $again
      end
      local.get $at))
  (core instance $i (instantiate $m))
  (func (export "work") (result u32) (canon lift (core func $i "work"))))"#;

/// One platform, with what is measured on it.
struct Subject {
    platform: Platform,
    host: HostProcess,
    /// The same with one worker.
    alone: HostProcess,
    large: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Subject {
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bytes = example::artifact(platform).unwrap();
        let work = artifact(platform, WORK);
        let start = |workers: u16| {
            let mut options = HostOptions::development(platform, folder.path().join(workers.to_string()));
            options.arguments = vec!["--workers".to_owned(), workers.to_string()];
            let host = HostProcess::start(&options).unwrap();
            let load = Load { name: "app".into(), bytes: bytes.clone(), ..Load::default() };
            let mut client = host.framed().unwrap();
            client.load(load).unwrap();
            client.load(Load { name: "busy".into(), bytes: work.clone(), ..Load::default() }).unwrap();
            host
        };
        let (host, alone) = (start(WORKERS), start(1));
        let large = large_artifact(platform);
        Self { platform, host, alone, large, _folder: folder }
    }

    fn client(&self) -> Framed {
        self.host.framed().unwrap()
    }
}

/// Its name, its unit, and how it is taken.
type Measure = (&'static str, Unit, fn(&Subject) -> f64);

fn main() {
    // The runner of benches passes flags of its own; one of ours is read.
    let json = std::env::args().any(|argument| argument == "--json");
    let image = Platform::of_the_image();
    let subjects = [Platform::Native, image].map(Subject::start);
    let large = subjects[0].large.len();
    let measures: [Measure; 6] = [
        ("round trip of a ping", Unit::Microseconds, round_trip),
        ("calls of a component per second", Unit::PerSecond, |subject| calls_per_second(&subject.host)),
        ("calls that work and allocate, two workers over one", Unit::Times, |subject| {
            busy(&subject.host).per_second / busy(&subject.alone).per_second
        }),
        ("processor time of such a call, two workers over one", Unit::Times, |subject| {
            busy(&subject.host).processor / busy(&subject.alone).processor
        }),
        ("ping of a sleeping enclave", Unit::Microseconds, wake_up),
        ("load and unload of an artifact of 2 MB", Unit::Milliseconds, load),
    ];
    let mut figures: Vec<Figure> = measures.iter().map(|(name, unit, _)| Figure::new(name, *unit)).collect();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (figure, (.., measure)) in figures.iter_mut().zip(measures) {
            for subject in &subjects {
                figure.add(subject.platform, measure(subject));
            }
        }
    }
    report::print(&figures, image, large, json);
}

/// There and back on an open connection: two rings, TLS, no guest. Microseconds.
fn round_trip(subject: &Subject) -> f64 {
    let mut client = subject.client();
    client.ping().unwrap();
    let begun = Instant::now();
    for _ in 0..ROUND_TRIPS {
        client.ping().unwrap();
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUND_TRIPS)
}

/// Calls with a fresh instance each, from several connections at once.
fn calls_per_second(host: &HostProcess) -> f64 {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| host.framed().unwrap()).collect();
    let call = Call::new("app", "hello", Params::default());
    let request = Request::Envelope(Envelope { auth: None, command: Command::Call(call) });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..BURSTS {
                    (0..BURST).for_each(|_| client.send(&request).unwrap());
                    for _ in 0..BURST {
                        let reply = client.receive().unwrap();
                        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
                    }
                }
            });
        }
    });
    f64::from(BURST * BURSTS) * CLIENTS as f64 / begun.elapsed().as_secs_f64()
}

/// What a busy host did.
struct Busy {
    per_second: f64,
    /// Seconds of the host's threads, enclave and all, for one call.
    processor: f64,
}

/// Calls that take some tenths of a millisecond inside, so that the clients, who share the processors with the
/// workers, take little of them.
fn busy(host: &HostProcess) -> Busy {
    let mut clients: Vec<_> = (0..BUSY_CLIENTS).map(|_| host.framed().unwrap()).collect();
    let call = Call::new("busy", "work", Params::default());
    let request = Request::Envelope(Envelope { auth: None, command: Command::Call(call) });
    let before = processor_time(host);
    let begun = Instant::now();
    let calls: u32 = std::thread::scope(|scope| {
        let clients: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    let mut calls = 0;
                    while begun.elapsed() < BUSY_TIME {
                        (0..BUSY_BURST).for_each(|_| client.send(&request).unwrap());
                        for _ in 0..BUSY_BURST {
                            let reply = client.receive().unwrap();
                            assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
                        }
                        calls += BUSY_BURST;
                    }
                    calls
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let took = begun.elapsed().as_secs_f64();
    let processor = processor_time(host) - before;
    Busy { per_second: f64::from(calls) / took, processor: processor / f64::from(calls) }
}

/// Seconds that the threads of a host have run, as the kernel's scheduler counts them.
fn processor_time(host: &HostProcess) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.id())).unwrap();
    let ns = |thread: std::fs::DirEntry| -> f64 {
        let said = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        said.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
    };
    threads.map(|thread| ns(thread.unwrap())).sum::<f64>() / 1e9
}

/// The first ping after a silence. Microseconds.
fn wake_up(subject: &Subject) -> f64 {
    let mut client = subject.client();
    let mut took = Duration::ZERO;
    for _ in 0..SLEEPS {
        std::thread::sleep(SILENCE);
        let begun = Instant::now();
        client.ping().unwrap();
        took += begun.elapsed();
    }
    took.as_secs_f64() * 1e6 / f64::from(SLEEPS)
}

/// Upload, approval, native code made executable, sealed and acknowledged; and erased again. Milliseconds.
fn load(subject: &Subject) -> f64 {
    let mut client = subject.client();
    let bytes = subject.large.clone();
    let begun = Instant::now();
    client.load(Load { name: "large".into(), bytes, ..Load::default() }).unwrap();
    assert!(client.unload("large").unwrap());
    begun.elapsed().as_secs_f64() * 1e3
}

/// A component of many functions, compiled.
fn large_artifact(platform: Platform) -> Vec<u8> {
    let functions: String = (0..FUNCTIONS)
        .map(|n| {
            format!(
                "(func $f{n} (param i32) (result i32) (local i32) local.get 0 i32.const {n} i32.mul local.tee 1 \
                 i32.const {} i32.xor i32.load local.get 1 i32.add)\n",
                n * 7
            )
        })
        .collect();
    let text = format!(
        "(component (core module $m (memory 1) {functions} \
         (func (export \"one\") (result i32) i32.const 1 call $f1)) \
         (core instance $i (instantiate $m)) \
         (func (export \"one\") (result u32) (canon lift (core func $i \"one\"))))"
    );
    artifact(platform, &text)
}

fn artifact(platform: Platform, text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("component.wasm");
    std::fs::write(&component, wat::parse_str(text).unwrap()).unwrap();
    example::compile(platform, &component).unwrap()
}
