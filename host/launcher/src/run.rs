//! From flags to a running enclave, and from a signal to its end.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use boundary_wire::rpc::LogLevel;
use host_services::log::Log;
use host_services::network::{Listener, Resolver, raise_descriptor_limit};
use host_services::seats::{Event, Events};
use host_services::station::{Control, Services};
use host_services::storage;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Args;
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::launch::{self, Chosen, Launch, Running, Setup};

/// Time that open work may take when the host is asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// After that the enclave flushes and seals; one that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors kept for files and the host's own use.
const RESERVED_DESCRIPTORS: usize = 128;
/// Pauses before a crashed enclave is started again: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// An enclave that has served so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(300);

/// What the main thread waits for.
enum News {
    Signal(i32),
    Enclave(Event),
}

pub(crate) fn run(args: &Args) -> Result<(), HostError> {
    let Chosen { launch: platform, why } = launch::choose(args)?;
    let log = Log::to_stderr(args.log_format.into()).map_err(system("starting the log"))?;
    let data_dir = DataDir::open(&args.data_dir, platform.name(), platform.mrenclave())?;
    let listener = Listener::bind(address(args, &*platform))?;
    let address = listener.address().map_err(system("asking for the port"))?;
    let services = Arc::new(Services {
        storage: storage::open(data_dir.path())?,
        quoting: platform.quoting(args, &data_dir, &log)?,
        log: log.clone(),
        resolver: Resolver::start(args.resolve.clone()).map_err(system("starting the resolver"))?,
        control: Control::new(raise_descriptor_limit().saturating_sub(RESERVED_DESCRIPTORS).max(1)),
    });
    let (told, news) = mpsc::channel();
    watch_signals(told.clone())?;
    announce(&*platform, why.as_deref(), address, &log);
    let keeper = Keeper {
        platform: &*platform,
        restart: (!args.no_restart).then_some(FIRST_PAUSE..LAST_PAUSE),
        told,
        news,
        log: &log,
        address,
    };
    let ended = keeper.keep(|events| {
        services.control.resume();
        let (services, listener) = (services.clone(), listener.clone());
        platform.launch(Setup { data_dir: &data_dir, workers: args.workers, services, listener, events })
    });
    log.flush();
    ended
}

/// Keeps an enclave running.
struct Keeper<'a> {
    platform: &'a dyn Launch,
    /// The first and the longest pause before a crashed enclave is started again; None: it is not.
    restart: Option<Range<Duration>>,
    told: Sender<News>,
    news: Receiver<News>,
    log: &'a Log,
    address: SocketAddr,
}

impl Keeper<'_> {
    /// Starts an enclave, and another when it stops though nobody asked it to.
    fn keep(
        &self,
        mut launch: impl FnMut(Events) -> Result<Box<dyn Running>, HostError>,
    ) -> Result<(), HostError> {
        let mut pause = Duration::ZERO;
        loop {
            let started = Instant::now();
            let told = self.told.clone();
            let running = launch(Box::new(move |event| drop(told.send(News::Enclave(event)))))?;
            let ready = format!(
                "ready: listening on {}, platform {}, MRENCLAVE {}",
                self.address,
                self.platform.name(),
                hex(&running.mrenclave())
            );
            let (asked, ended) = attend(running, &self.news, &ready, self.log);
            let Err(HostError::Stopped(reason)) = &ended else { return ended };
            let Some(pauses) = self.restart.as_ref().filter(|_| self.platform.can_start_again()) else {
                return ended;
            };
            if asked {
                return ended;
            }
            pause = if started.elapsed() > STEADY { pauses.start } else { (pause * 2).max(pauses.start) };
            pause = pause.min(pauses.end);
            let text = format!("the enclave stopped: {reason}; starting it again in {pause:?}");
            self.log.host(LogLevel::Error, &text);
            if signalled_within(pause, &self.news) {
                self.log.host(LogLevel::Info, "stopped");
                return Ok(());
            }
        }
    }
}

/// Whether somebody wants the host to stop within this time, while there is no enclave.
fn signalled_within(pause: Duration, news: &Receiver<News>) -> bool {
    let until = Instant::now() + pause;
    loop {
        match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(News::Signal(_)) => return true,
            Ok(News::Enclave(_)) => {}
            Err(_) => return false,
        }
    }
}

/// Waits until every thread of the enclave has ended, and says whether somebody asked it to, and how it went.
fn attend(
    running: Box<dyn Running>,
    news: &Receiver<News>,
    ready: &str,
    log: &Log,
) -> (bool, Result<(), HostError>) {
    let mut asked = false;
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
                asked = true;
                stop(&mut stopping);
            }
            Ok(News::Enclave(Event::Serving)) => {
                serving = true;
                say(ready);
            }
            Ok(News::Enclave(Event::StationStopped { thread, error })) => {
                let error = error.to_string();
                log.host(LogLevel::Error, &format!("enclave thread {thread}: {error}"));
                failure.get_or_insert(error);
                stop(&mut stopping);
            }
            Ok(News::Enclave(Event::Ended { result, .. })) => {
                left -= 1;
                if let Err(error) = result {
                    failure.get_or_insert(error);
                }
                // The enclave is its threads: when one has gone, the others are asked to go.
                stop(&mut stopping);
            }
            Err(_) => return (asked, Err(HostError::Stuck)),
        }
    }
    if let Some(exits) = running.exits() {
        log.host(LogLevel::Info, &format!("exits from the enclave: {exits}"));
    }
    running.join();
    let ended = match failure {
        Some(reason) if serving => Err(HostError::Stopped(reason)),
        Some(reason) => Err(HostError::Refused(reason)),
        None => {
            log.host(LogLevel::Info, "stopped");
            Ok(())
        }
    };
    (asked, ended)
}

fn announce(platform: &dyn Launch, why: Option<&str>, address: SocketAddr, log: &Log) {
    if let Some(why) = why {
        log.host(LogLevel::Info, why);
    }
    if let Some(warning) = platform.warning() {
        log.host(LogLevel::Warn, warning);
    }
    if platform.development() {
        let text = format!("development policy: whoever reaches {address} may load code, no token asked");
        log.host(LogLevel::Warn, &text);
    } else if let Some(text) = platform.without_policy() {
        log.host(LogLevel::Info, text);
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

fn address(args: &Args, platform: &dyn Launch) -> SocketAddr {
    let default = if platform.development() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    SocketAddr::new(args.listen.unwrap_or(IpAddr::V4(default)), args.port)
}

/// For whoever waits for it; a closed standard output is no reason to stop serving.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap_or_default();
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap_or_default();
        out
    })
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError::System { doing, source }
}

#[cfg(test)]
mod tests;
