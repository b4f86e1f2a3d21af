//! Played enclaves: which ends are followed by another start.

use std::cell::RefCell;

use host_services::log::Format;
use host_services::quoting::Quoting;

use super::*;

struct Played;

impl Launch for Played {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn mrenclave(&self) -> Option<[u8; 32]> {
        Some([0; 32])
    }

    fn warning(&self) -> Option<&'static str> {
        None
    }

    fn development(&self) -> bool {
        true
    }

    fn quoting(&self, _: &Args, _: &DataDir, _: &Log) -> Result<Option<Arc<dyn Quoting>>, HostError> {
        Ok(None)
    }

    fn can_start_again(&self) -> bool {
        true
    }

    fn launch(&self, _: Setup<'_>) -> Result<Box<dyn Running>, HostError> {
        Err(HostError::Stuck)
    }
}

/// One thread, which has said all that it will.
struct Ended;

impl Running for Ended {
    fn mrenclave(&self) -> [u8; 32] {
        [0; 32]
    }

    fn threads(&self) -> usize {
        1
    }

    fn shutdown(&self, _: Duration) {}

    fn join(self: Box<Self>) {}
}

type Script = Vec<Vec<News>>;

fn serving() -> News {
    News::Enclave(Event::Serving)
}

fn ended(result: Result<(), &str>) -> News {
    News::Enclave(Event::Ended { thread: 0, result: result.map_err(str::to_owned) })
}

/// Plays one enclave after the other; gives how it ended and how many there were.
fn keep(restart: bool, enclaves: Script) -> (Result<(), HostError>, usize) {
    let (told, news) = mpsc::channel();
    let pause = Duration::from_millis(1);
    let keeper = Keeper {
        platform: &Played,
        restart: restart.then_some(pause..pause * 4),
        told,
        news,
        log: &Log::to(io::sink(), Format::Text).unwrap(),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let script = RefCell::new(enclaves.into_iter());
    let mut starts = 0;
    let result = keeper.keep(|_| {
        starts += 1;
        for news in script.borrow_mut().next().unwrap() {
            keeper.told.send(news).unwrap();
        }
        Ok(Box::new(Ended))
    });
    (result, starts)
}

#[test]
fn a_crashed_enclave_is_started_again_until_it_ends_in_order() {
    let crashed = || vec![serving(), ended(Err("it crashed"))];
    let in_order = vec![serving(), News::Signal(SIGTERM), ended(Ok(()))];
    let (result, starts) = keep(true, vec![crashed(), crashed(), crashed(), in_order]);
    assert!(result.is_ok() && starts == 4, "{result:?} after {starts}");
}

#[test]
fn without_restarts_the_crash_is_the_end() {
    let (result, starts) = keep(false, vec![vec![serving(), ended(Err("it crashed"))]]);
    assert!(matches!(&result, Err(HostError::Stopped(why)) if why == "it crashed"), "{result:?}");
    assert_eq!(starts, 1);
}

#[test]
fn an_enclave_that_refuses_to_start_or_fails_while_it_stops_is_not_started_again() {
    let (result, starts) = keep(true, vec![vec![ended(Err("no such store"))]]);
    assert!(matches!(result, Err(HostError::Refused(_))) && starts == 1, "{result:?} after {starts}");
    let failing = vec![serving(), News::Signal(SIGTERM), ended(Err("not flushed"))];
    let (result, starts) = keep(true, vec![failing]);
    assert!(matches!(result, Err(HostError::Stopped(_))) && starts == 1, "{result:?} after {starts}");
}

#[test]
fn a_signal_between_two_starts_is_the_end() {
    let crashed = vec![serving(), ended(Err("it crashed")), News::Signal(SIGTERM)];
    let (result, starts) = keep(true, vec![crashed]);
    assert!(result.is_ok() && starts == 1, "{result:?} after {starts}");
}
