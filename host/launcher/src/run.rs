//! From flags to a running enclave, and from a signal to its end.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use boundary_wire::rpc::LogLevel;
use host_services::log::Log;
use host_services::network::{Listener, Resolver, raise_descriptor_limit};
use host_services::station::{Control, Services};
use host_services::storage;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{Args, PlatformChoice};
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::launch::{self, Event, Running, Setup};
use crate::policy::Policy;

/// Time that open work may take when the host is asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// After that the enclave flushes and seals; one that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors kept for files and the host's own use.
const RESERVED_DESCRIPTORS: usize = 128;
/// A worker that nobody asked for by number gets no more company than this.
const MAX_DEFAULT_WORKERS: usize = 64;

/// What the main thread waits for.
enum News {
    Signal(i32),
    Enclave(Event),
}

pub(crate) fn run(args: &Args) -> Result<(), HostError> {
    let platform = launch::choose(args.platform)?;
    let policy_path = args.policy.as_deref();
    let policy = Policy::read(policy_path).map_err(|source| HostError::Policy {
        path: policy_path.map(Into::into).unwrap_or_default(),
        source,
    })?;
    let log = Log::to_stderr(args.log_format.into()).map_err(system("starting the log"))?;
    let data_dir = DataDir::open(&args.data_dir, platform.name())?;
    let listener = Listener::bind(address(args, &policy))?;
    let address = listener.address().map_err(system("asking for the port"))?;
    let services = Arc::new(Services {
        storage: storage::open(data_dir.path())?,
        quoting: None,
        log: log.clone(),
        resolver: Resolver::start(args.resolve.clone()).map_err(system("starting the resolver"))?,
        control: Control::new(raise_descriptor_limit().saturating_sub(RESERVED_DESCRIPTORS).max(1)),
    });
    let (told, news) = mpsc::channel();
    watch_signals(told.clone())?;
    announce(args, &*platform, &policy, address, &log);
    let running = platform.launch(Setup {
        data_dir: &data_dir,
        policy_page: policy.page,
        workers: args.workers.unwrap_or_else(default_workers),
        services,
        listener,
        events: Box::new(move |event| drop(told.send(News::Enclave(event)))),
    })?;
    let ready = format!(
        "ready: listening on {address}, platform {}, MRENCLAVE {}",
        platform.name(),
        hex(&running.mrenclave())
    );
    let ended = attend(running, &news, &ready, &log);
    log.flush();
    ended
}

/// Waits until every thread of the enclave has ended, and says how.
fn attend(running: Box<dyn Running>, news: &Receiver<News>, ready: &str, log: &Log) -> Result<(), HostError> {
    let mut left = running.threads();
    let mut failure: Option<String> = None;
    let mut serving = false;
    let mut stopping: Option<Instant> = None;
    let stop = |stopping: &mut Option<Instant>| {
        if stopping.is_none() {
            *stopping = Some(Instant::now());
            running.shutdown(GRACE);
        }
    };
    while left > 0 {
        let next = match stopping {
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => news.recv_timeout((GRACE + PATIENCE).saturating_sub(since.elapsed())),
        };
        match next {
            Ok(News::Signal(signal)) if stopping.is_some() => {
                log.host(LogLevel::Warn, "second signal: stopping at once");
                log.flush();
                std::process::exit(128 + signal);
            }
            Ok(News::Signal(signal)) => {
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                log.host(LogLevel::Info, &format!("{name}: finishing open work, flushing and sealing"));
                stop(&mut stopping);
            }
            Ok(News::Enclave(Event::Serving)) => {
                serving = true;
                say(ready);
            }
            Ok(News::Enclave(Event::StationStopped { thread, error })) => {
                log.host(LogLevel::Error, &format!("enclave thread {thread}: {error}"));
                failure.get_or_insert(error);
                stop(&mut stopping);
            }
            Ok(News::Enclave(Event::Ended { result })) => {
                left -= 1;
                if let Err(error) = result {
                    failure.get_or_insert(error);
                }
                // The enclave is its threads: when one has gone, the others are asked to go.
                stop(&mut stopping);
            }
            Err(_) => return Err(HostError::Stuck),
        }
    }
    running.join();
    match failure {
        Some(reason) if serving => Err(HostError::Stopped(reason)),
        Some(reason) => Err(HostError::Refused(reason)),
        None => {
            log.host(LogLevel::Info, "stopped");
            Ok(())
        }
    }
}

fn announce(args: &Args, platform: &dyn launch::Launch, policy: &Policy, address: SocketAddr, log: &Log) {
    if args.platform == PlatformChoice::Auto {
        let text = format!("this build has no enclave image: using platform {}", platform.name());
        log.host(LogLevel::Info, &text);
    }
    if let Some(warning) = platform.warning() {
        log.host(LogLevel::Warn, warning);
    }
    if policy.development {
        let text = format!("development policy: whoever reaches {address} may load code, no token asked");
        log.host(LogLevel::Warn, &text);
    } else if args.policy.is_none() {
        log.host(LogLevel::Info, "no --policy: nobody may load code");
    }
}

fn watch_signals(told: Sender<News>) -> Result<(), HostError> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(system("watching for signals"))?;
    let watch = move || {
        for signal in signals.forever() {
            if told.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(system("watching for signals"))?;
    Ok(())
}

fn address(args: &Args, policy: &Policy) -> SocketAddr {
    let default = if policy.development { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    SocketAddr::new(args.listen.unwrap_or(IpAddr::V4(default)), args.port)
}

fn default_workers() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u16::try_from(cores.min(MAX_DEFAULT_WORKERS)).unwrap_or(1)
}

/// For whoever waits for it; a closed standard output is no reason to stop serving.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap_or_default();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap_or_default();
        out
    })
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::System { doing, source }
}
