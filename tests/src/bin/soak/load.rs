//! The load: who does what to the host, and what was acknowledged.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use boundary_wire::client::{Load as LoadApp, Params};
use enclave_os_client::{ClientError, Connector, Framed};
use scenarios::example;
use scenarios::host::{HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

const STEADY: &str = "steady";
const CHURNED: &str = "churned";
const BAD: &str = "bad";
/// Threads that call the example.
const CALLERS: u64 = 2;
/// Values that each of them keeps.
const KEYS: u64 = 16;
/// Connections that say nothing while a round lasts.
const IDLE: usize = 32;

/// The artifacts.
pub(crate) struct Guests {
    example: Vec<u8>,
    misbehave: Vec<u8>,
}

impl Guests {
    pub(crate) fn build(platform: Platform) -> Result<Guests> {
        let misbehave = guest("tests/guests/misbehave", "misbehave.wasm")?;
        Ok(Guests {
            example: example::artifact(platform)?,
            misbehave: example::compile(platform, &misbehave)?,
        })
    }
}

/// What was done, and which values were acknowledged.
#[derive(Default)]
pub(crate) struct Tally {
    calls: AtomicU64,
    loads: AtomicU64,
    refusals: AtomicU64,
    connections: AtomicU64,
    values: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(crate) fn answers(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn values(&self) -> usize {
        self.acknowledged().len()
    }

    /// Every acknowledged value, or a later one that was on its way when the host died.
    pub(crate) fn demand(&self, client: &mut Framed) -> Result<()> {
        for (key, wanted) in self.acknowledged().iter() {
            let found = text(client, STEADY, "kv-read", json!([key]))?;
            let number: u64 = found.parse().with_context(|| format!("`{key}` reads `{found}`"))?;
            ensure!(number >= *wanted, "`{key}` is {number} again, {wanted} was acknowledged");
        }
        Ok(())
    }

    fn acknowledged(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads the apps that stay, where they are not there yet.
pub(crate) fn prepare(host: &HostProcess, guests: &Guests) -> Result<()> {
    let mut client = host.framed()?;
    let there: Vec<String> = client.list()?.into_iter().map(|app| app.name).collect();
    for (name, bytes) in [(STEADY, &guests.example), (BAD, &guests.misbehave)] {
        if !there.iter().any(|app| app == name) {
            let timeout_ms = Some(500);
            let name = name.to_owned();
            client.load(LoadApp { name, bytes: bytes.clone(), timeout_ms, ..LoadApp::default() })?;
        }
    }
    Ok(())
}

/// Calls that fill the memory of guests at once.
const FILLERS: usize = 8;

/// Fills all memory that guests may have together. An enclave's heap is never given back to the host: where a
/// block lies at its largest load is resident from then on, and that may come late in a lighter one.
pub(crate) fn fill(host: &HostProcess) -> Result<()> {
    let connector = host.connector();
    let fill = || -> Result<()> {
        let mut client = connector.framed()?;
        for _ in 0..3 {
            match invoke(&mut client, BAD, "take-all", json!([])) {
                Err(ClientError::Refused(_)) => {}
                Err(error) => return Err(error).context("take-all"),
                Ok(_) => return Err(anyhow!("take-all was answered")),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..FILLERS).map(|_| scope.spawn(fill)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?
        };
        threads.into_iter().try_for_each(join)
    })
}

/// Threads that work on one host.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub(crate) fn start(host: &HostProcess, guests: &Guests, tally: &Arc<Tally>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Load { stop, threads: Vec::new() };
        for caller in 0..CALLERS {
            let (connector, tally) = (host.connector(), tally.clone());
            load.spawn(move |stop| call(&connector, caller, &tally, stop));
        }
        let (connector, tally_, artifact) = (host.connector(), tally.clone(), guests.example.clone());
        load.spawn(move |stop| churn(&connector, &artifact, &tally_, stop));
        let (connector, tally_) = (host.connector(), tally.clone());
        load.spawn(move |stop| misbehave(&connector, &tally_, stop));
        let (address, connector, tally_) = (host.address(), host.connector(), tally.clone());
        load.spawn(move |stop| come_and_go(address, &connector, &tally_, stop));
        load
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }

    /// Ends the load; the first thing that went wrong is the error.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a thread of the load panicked"))??;
        }
        Ok(())
    }

    /// Ends the load on a host that is gone: its errors are what was wanted.
    pub(crate) fn abandon(self) {
        drop(self.stop());
    }
}

fn invoke(client: &mut Framed, app: &str, function: &str, params: Value) -> Result<Vec<Value>, ClientError> {
    client.call(app, function, Params::Positional(params.as_array().cloned().unwrap_or_default()))
}

fn text(client: &mut Framed, app: &str, function: &str, params: Value) -> Result<String> {
    let mut results = invoke(client, app, function, params)?;
    let first = results.first_mut().context("no result")?;
    Ok(first["value"].as_str().context("no text")?.to_owned())
}

/// A connection that sees the configuration as it is now: another app's load makes older ones stale only
/// for that app.
fn call(connector: &Connector, caller: u64, tally: &Tally, stop: &AtomicBool) -> Result<()> {
    let mut client = connector.framed()?;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("caller-{caller}-{}", count % KEYS);
        let last = tally.acknowledged().get(&key).copied().unwrap_or(0);
        let next = (last + 1).to_string();
        let stored = text(&mut client, STEADY, "kv-store", json!([key, next]))?;
        ensure!(stored == format!("stored: {key}"), "kv-store answers `{stored}`");
        tally.acknowledged().insert(key.clone(), last + 1);
        let read = text(&mut client, STEADY, "kv-read", json!([key]))?;
        ensure!(read == next, "kv-read answers `{read}`, `{next}` was stored");
        let hello = text(&mut client, STEADY, "hello", json!([]))?;
        ensure!(hello == "Hello, World!", "hello answers `{hello}`");
        if count % 64 == 0 {
            ensure!(text(&mut client, STEADY, "fetch-headlines", json!([]))?.starts_with("1. "), "headlines");
        }
        tally.calls.fetch_add(3, Ordering::Relaxed);
        count += 1;
    }
    Ok(())
}

fn churn(connector: &Connector, artifact: &[u8], tally: &Tally, stop: &AtomicBool) -> Result<()> {
    let mut client = connector.framed()?;
    while !stop.load(Ordering::Relaxed) {
        let (name, bytes) = (CHURNED.to_owned(), artifact.to_vec());
        client.load(LoadApp { name, bytes, ..LoadApp::default() })?;
        text(&mut client, CHURNED, "kv-store", json!(["some key", "some value"]))?;
        ensure!(client.unload(CHURNED)?, "the app was not there to unload");
        tally.loads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn misbehave(connector: &Connector, tally: &Tally, stop: &AtomicBool) -> Result<()> {
    let mut client = connector.framed()?;
    let ways = [
        ("spin", json!([]), "fuel-exhausted"),
        ("take-all", json!([]), "memory-limit"),
        ("recurse", json!([]), "trap"),
        ("fail", json!(["on purpose"]), "trap"),
        ("sleep-forever", json!([]), "deadline"),
    ];
    for (function, params, wanted) in ways.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match invoke(&mut client, BAD, function, params.clone()) {
            Err(ClientError::Refused(error)) if error.code == *wanted || error.code == "deadline" => {
                tally.refusals.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(error).context(*function),
            Ok(_) => return Err(anyhow!("{function} was answered")),
        }
    }
    Ok(())
}

fn come_and_go(address: SocketAddr, connector: &Connector, tally: &Tally, stop: &AtomicBool) -> Result<()> {
    let idle = (0..IDLE).map(|_| connector.framed()).collect::<Result<Vec<_>, _>>()?;
    while !stop.load(Ordering::Relaxed) {
        // Half a ClientHello.
        let mut torn = TcpStream::connect(address)?;
        torn.write_all(&[0x16, 3, 1, 2, 0, 1, 0])?;
        drop(torn);
        // A frame that says more than comes.
        let mut framed = connector.framed()?;
        framed.connection().write_all(&[0, 0, 4, 0, b'{'])?;
        drop(framed);
        // And one in order.
        connector.framed()?.ping()?;
        tally.connections.fetch_add(3, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(idle);
    Ok(())
}
