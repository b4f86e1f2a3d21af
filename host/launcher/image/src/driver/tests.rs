//! Enclaves that are played: what they may ask for, what they may not, and how they end.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};

use boundary_wire::start::{self, StartBlock, failed, notify, restrict};
use fortanix_sgx_abi::{EV_UNPARK, Error, WAIT_INDEFINITE};
use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver};
use host_services::seats::Event;
use host_services::station::{Control, Services};
use host_services::storage;

use super::*;
use crate::cpu::RestrictError;
use crate::enter::play::Play;
use crate::enter::{Entry, Exception};
use crate::exits::Kind;

/// Numbers of usercalls as `fortanix-sgx-abi` orders them.
mod std_call {
    pub(super) const READ: u64 = 1;
    pub(super) const WRITE: u64 = 3;
    pub(super) const CLOSE: u64 = 5;
    pub(super) const BIND: u64 = 6;
    pub(super) const LAUNCH: u64 = 9;
    pub(super) const EXIT: u64 = 10;
    pub(super) const WAIT: u64 = 11;
    pub(super) const SEND: u64 = 12;
    pub(super) const TIME: u64 = 13;
    pub(super) const ALLOC: u64 = 14;
    pub(super) const FREE: u64 = 15;
}

struct Played {
    play: Play,
    tcs: Vec<usize>,
    sgx2: bool,
}

impl Cpu for Played {
    fn kind(&self) -> start::Cpu {
        start::Cpu::Emulated
    }

    fn range(&self) -> Range<usize> {
        0x1000..0x2000
    }

    fn tcs(&self) -> &[usize] {
        &self.tcs
    }

    fn entry(&self) -> Entry {
        self.play.entry()
    }

    fn has_sgx2(&self) -> bool {
        self.sgx2
    }

    fn restrict(&self, offset: u64, _: u64, _: u8) -> Result<(), RestrictError> {
        if offset == 0x1000 { Ok(()) } else { Err(RestrictError("no such page".to_owned())) }
    }
}

/// A played enclave that runs, and what it told.
struct Stage {
    driver: Arc<Driver>,
    events: Receiver<Event>,
    log: Receiver<Vec<u8>>,
    _data: tempfile::TempDir,
}

struct LogPipe(std::sync::mpsc::Sender<Vec<u8>>);

impl std::io::Write for LogPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.send(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage {
    fn new(
        threads: usize,
        workers: u16,
        act: impl Fn(usize, Registers) -> Visit + Send + Sync + 'static,
    ) -> Stage {
        Self::try_new(threads, workers, act).unwrap()
    }

    fn try_new(
        threads: usize,
        workers: u16,
        act: impl Fn(usize, Registers) -> Visit + Send + Sync + 'static,
    ) -> Result<Stage, DriverError> {
        let data = tempfile::tempdir().unwrap();
        let (pipe, log) = channel();
        let services = Arc::new(Services {
            storage: storage::open(data.path()).unwrap(),
            quoting: None,
            log: Log::to(LogPipe(pipe), Format::Text).unwrap(),
            resolver: Resolver::start(Vec::new()).unwrap(),
            control: Control::new(100),
        });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (told, events) = channel();
        let tell = Box::new(move |event| drop(told.send(event)));
        let (seats, _) = Seats::new(workers, services, &listener, tell).unwrap();
        let play = Play::with_threads(threads, act);
        let cpu = Played { tcs: play.all_tcs(), play, sgx2: true };
        let driver = Driver::start(Box::new(cpu), seats, None)?;
        Ok(Stage { driver, events, log, _data: data })
    }

    /// How each seat ended, by number, once all threads have left.
    fn ends(&self) -> Vec<(u16, Result<(), String>)> {
        self.driver.join();
        let mut ends: Vec<_> = self
            .events
            .try_iter()
            .filter_map(|event| match event {
                Event::Ended { thread, result } => Some((thread, result)),
                _ => None,
            })
            .collect();
        ends.sort();
        ends
    }

    fn logged(&self) -> String {
        self.driver.seats.services().log.flush();
        String::from_utf8(self.log.try_iter().flatten().collect()).unwrap()
    }
}

fn call(rdi: u64, parameters: [u64; 4]) -> Registers {
    let [rsi, rdx, r8, r9] = parameters;
    Registers { rdi, rsi, rdx, r8, r9 }
}

fn exit(panicked: bool) -> Registers {
    call(std_call::EXIT, [u64::from(panicked), 0, 0, 0])
}

/// Plays calls one after the other in one thread, then ends; gives what came back for each.
fn script(calls: impl IntoIterator<Item = Registers>) -> (Stage, Vec<(u64, u64)>) {
    let mut calls: VecDeque<_> = calls.into_iter().collect();
    calls.push_back(exit(false));
    let (told, results) = channel();
    let state = Mutex::new((calls, true));
    let stage = Stage::new(2, 1, move |_, registers| {
        let mut state = state.lock().unwrap();
        if !std::mem::take(&mut state.1) {
            told.send((registers.rsi, registers.rdx)).unwrap();
        }
        Visit::Left(state.0.pop_front().unwrap_or(exit(true)))
    });
    stage.driver.join();
    let results = results.try_iter().collect();
    (stage, results)
}

fn code(error: Error) -> (u64, u64) {
    (u64::from((error as i32).cast_unsigned()), 0)
}

#[test]
fn the_start_block_is_what_the_seats_are() {
    let (stage, results) = script([call(start::START, [0; 4])]);
    let (address, words) = results[0];
    let given = &stage.driver.start;
    assert_eq!((address, words), (given.as_ptr().addr() as u64, given.len() as u64));
    let block = StartBlock::decode(given).unwrap();
    assert_eq!((block.workers(), block.cpu, block.sgx2), (1, start::Cpu::Emulated, true));
    assert_eq!(block.time_page, stage.driver.time.address());
    assert!(block.channels.iter().all(|c| c.to_enclave % 64 == 0 && c.to_host % 64 == 0));
    assert_eq!(stage.ends(), [(0, Ok(())), (1, Ok(()))]);
    let exits = stage.driver.exits();
    assert_eq!((exits.of(Kind::Start), exits.of(Kind::Exit), exits.total()), (1, 1, 2));
}

#[test]
fn what_std_needs_is_served() {
    let (stage, results) = script([
        call(std_call::ALLOC, [64, 8, 0, 0]),
        call(std_call::READ, [0, 0x1000, 10, 0]),
        call(std_call::TIME, [0; 4]),
        call(std_call::SEND, [EV_UNPARK, 0, 0, 0]),
        call(std_call::WAIT, [EV_UNPARK, WAIT_INDEFINITE, 0, 0]),
        call(std_call::WAIT, [EV_UNPARK, 0, 0, 0]),
        call(std_call::WAIT, [EV_UNPARK, 1, 0, 0]),
    ]);
    assert!(results[0].0 == 0 && results[0].1 % 8 == 0 && results[0].1 != 0, "{results:x?}");
    assert_eq!(results[1], (0, 0), "end of input");
    assert!(results[2].0 > 1_700_000_000_000_000_000 && results[2].1 == 0);
    assert_eq!(results[3..5], [(0, 0), (0, EV_UNPARK)]);
    assert_eq!(results[5..7], [code(Error::WouldBlock), code(Error::TimedOut)]);
    assert_eq!(stage.driver.exits().of(Kind::Refused), 0);
}

#[test]
fn text_reaches_the_log_line_by_line_and_cannot_name_other_memory() {
    let secret = Box::new(*b"of the host's own");
    let own = secret.as_ptr().expose_provenance() as u64;
    // The text has to be put where the enclave's memory is, which only the played thread knows.
    let state = Mutex::new((0, 0u64));
    let (told, results) = channel();
    let stage = Stage::new(2, 1, move |_, registers| {
        let mut state = state.lock().unwrap();
        state.0 += 1;
        Visit::Left(match state.0 {
            1 => call(std_call::ALLOC, [16, 1, 0, 0]),
            2 => {
                state.1 = registers.rdx;
                let text = std::ptr::with_exposed_provenance_mut::<[u8; 16]>(state.1 as usize);
                // SAFETY: 16 bytes that were given for this.
                unsafe { text.write(*b"one\ntwo\nend\x1b[1m!") };
                call(std_call::WRITE, [2, state.1, 16, 0])
            }
            3..=7 => {
                told.send((registers.rsi, registers.rdx)).unwrap();
                match state.0 {
                    3 => call(std_call::WRITE, [2, state.1, 17, 0]),
                    4 => call(std_call::WRITE, [1, own, 16, 0]),
                    5 => call(std_call::WRITE, [1, 0x1000, u64::MAX, 0]),
                    6 => call(std_call::WRITE, [3, state.1, 16, 0]),
                    _ => exit(false),
                }
            }
            _ => exit(true),
        })
    });
    stage.driver.join();
    let invalid = code(Error::InvalidInput);
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [(0, 16), invalid, invalid, invalid, invalid]);
    let log = stage.logged();
    assert!(log.contains("error enclave: one\n") && log.contains("enclave: end\\u001b[1m!\n"), "{log}");
    assert!(!log.contains("the host's own"), "{log}");
    drop(secret);
}

#[test]
fn lies_and_unknown_calls_are_refused_counted_and_logged_once() {
    let (stage, results) = script([
        call(std_call::BIND, [1, 2, 3, 4]),
        call(std_call::BIND, [1, 2, 3, 4]),
        call(0x1234_5678, [0; 4]),
        call(start::FAILED + 1, [0; 4]),
        call(u64::MAX, [u64::MAX; 4]),
        call(std_call::CLOSE, [2, 0, 0, 0]),
        call(std_call::FREE, [0x1000, 8, 8, 0]),
        call(std_call::SEND, [1, 0x1000, 0, 0]),
        call(std_call::WAIT, [0, WAIT_INDEFINITE, 0, 0]),
        call(std_call::ALLOC, [u64::MAX, 8, 0, 0]),
        call(start::NOTIFY, [3, 0, 0, 0]),
        call(start::RESTRICT, [0x1000, 4096, 8, 0]),
    ]);
    let invalid = code(Error::InvalidInput);
    for (n, result) in results.iter().enumerate() {
        let wanted = match n {
            5 | 6 => (0, 0),
            9 => code(Error::Other),
            _ => invalid,
        };
        assert_eq!(*result, wanted, "call {n}");
    }
    assert_eq!(results.len(), 12);
    assert_eq!(stage.driver.exits().of(Kind::Refused), 9);
    let log = stage.logged();
    assert_eq!(log.matches("usercall 0x6 of the enclave is refused").count(), 1, "{log}");
    assert!(log.contains("usercall 0xffffffffffffffff"), "{log}");
    assert_eq!(stage.ends(), [(0, Ok(())), (1, Ok(()))]);
}

#[test]
fn pages_are_restricted_by_the_cpu() {
    let (stage, results) = script([
        call(start::RESTRICT, [0x1000, 4096, restrict::READ, 0]),
        call(start::RESTRICT, [0x9000, 4096, restrict::READ, 0]),
    ]);
    assert_eq!(results, [(restrict::DONE, 0), code(Error::Other)]);
    assert!(stage.logged().contains("were not restricted: no such page"));
}

#[test]
fn a_seat_belongs_to_the_thread_that_asked_first() {
    let poll = |seat| call(start::NOTIFY, [notify::POLL, 0, seat, 0]);
    let (stage, results) = script([poll(1), poll(0), poll(1), poll(9), poll(u64::MAX)]);
    let (go, stop) = ((notify::CONTINUE, 0), (notify::SHUTDOWN, 0));
    assert_eq!(results, [go, stop, go, stop, stop]);
    assert_eq!(stage.ends(), [(0, Ok(())), (1, Ok(()))]);
}

#[test]
fn shutdown_reaches_a_thread_that_waits() {
    let waits = call(start::NOTIFY, [notify::WAIT, notify::NO_TIMER, 0, 0]);
    let stage = Stage::new(2, 1, move |_, registers| {
        Visit::Left(if registers.rsi == notify::SHUTDOWN { exit(false) } else { waits })
    });
    while stage.driver.exits().of(Kind::Wait) == 0 {
        std::thread::yield_now();
    }
    stage.driver.seats.drain(Duration::from_secs(1));
    assert_eq!(stage.ends(), [(0, Ok(())), (1, Ok(()))]);
}

/// `main` starts a worker; what each then does is the test's.
fn two_threads(
    main: impl Fn(Registers) -> Visit + Send + Sync + 'static,
    worker: impl Fn(Registers) -> Visit + Send + Sync + 'static,
) -> Stage {
    let launched = AtomicBool::new(false);
    Stage::new(2, 1, move |tcs, registers| match tcs {
        0 if !launched.swap(true, Ordering::SeqCst) => Visit::Left(call(std_call::LAUNCH, [0; 4])),
        0 => main(registers),
        _ => worker(registers),
    })
}

fn parked(_: Registers) -> Visit {
    Visit::Left(call(std_call::WAIT, [EV_UNPARK, WAIT_INDEFINITE, 0, 0]))
}

/// Takes its seat once, then goes on as said.
fn seated(seat: u64, then: Visit) -> impl Fn(Registers) -> Visit + Send + Sync {
    let sits = AtomicBool::new(false);
    move |_| match sits.swap(true, Ordering::SeqCst) {
        false => Visit::Left(call(start::NOTIFY, [notify::POLL, 0, seat, 0])),
        true => then,
    }
}

#[test]
fn a_crash_ends_everybody_and_says_where() {
    let fault = Exception { on_entry: false, vector: 14, error_code: 6, address: 0x7000 };
    let stage = two_threads(parked, seated(0, Visit::Exception(fault)));
    let ends = stage.ends();
    let why = "it crashed: page fault (#PF), vector 14, error code 0x6, address 0x7000";
    assert_eq!(ends, [(0, Err(why.to_owned())), (1, Err(why.to_owned()))]);
}

#[test]
fn a_panic_ends_a_thread_that_waits_for_the_host_forever() {
    let waits = Visit::Left(call(start::NOTIFY, [notify::WAIT, notify::NO_TIMER, 1, 0]));
    let stage = two_threads(move |_| waits, seated(0, Visit::Left(exit(true))));
    let ends = stage.ends();
    assert!(ends.iter().all(|(_, end)| end.as_ref().is_err_and(|why| why == "it ended itself")), "{ends:?}");
}

#[test]
fn an_enclave_that_cannot_be_entered_is_named() {
    let stage = Stage::new(2, 1, |_, _| Visit::Refused(-14));
    let ends = stage.ends();
    assert!(ends[0].1.as_ref().unwrap_err().contains("could not be entered: Bad address"), "{ends:?}");
}

#[test]
fn a_thread_that_gives_up_is_named_and_the_rest_goes_on() {
    let gives_up = call(start::FAILED, [0, failed::STOPPED, 0, 0]);
    let step = std::sync::atomic::AtomicU32::new(0);
    let stage = two_threads(
        |r| {
            Visit::Left(if r.rsi == notify::SHUTDOWN {
                exit(false)
            } else {
                call(start::NOTIFY, [notify::WAIT, notify::NO_TIMER, 1, 0])
            })
        },
        move |_| {
            Visit::Left(match step.fetch_add(1, Ordering::SeqCst) {
                0 => call(start::NOTIFY, [notify::POLL, 0, 0, 0]),
                1 => gives_up,
                _ => Registers::default(),
            })
        },
    );
    let first = stage.events.recv().unwrap();
    let Event::Ended { thread: 0, result: Err(why) } = first else { panic!("{first:?}") };
    assert_eq!(why, "it gave up and did not say why");
    assert!(!stage.driver.is_over());
    stage.driver.seats.drain(Duration::from_secs(1));
    assert_eq!(stage.ends(), [(1, Ok(()))]);
}

#[test]
fn threads_end_at_the_images_tcs() {
    let (stage, results) = script([call(std_call::LAUNCH, [0; 4])]);
    assert_eq!(results, [(0, 0)]);
    drop(stage);
    let launches = Mutex::new(Vec::new());
    let stage = Stage::new(2, 1, move |tcs, registers| {
        let mut launches = launches.lock().unwrap();
        launches.push(registers.rsi);
        if tcs == 1 {
            drop(launches);
            return parked(registers);
        }
        Visit::Left(match launches.len() {
            ..4 => call(std_call::LAUNCH, [0; 4]),
            _ => exit(launches.contains(&code(Error::WouldBlock).0)),
        })
    });
    let ends = stage.ends();
    assert!(ends[0].1.is_err(), "no TCS was left for the second: {ends:?}");
    let few = Stage::try_new(2, 2, |_, _| Visit::Refused(-1)).err().unwrap().to_string();
    assert!(few.contains("--workers 1 or fewer"), "{few}");
}
