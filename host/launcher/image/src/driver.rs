//! The threads of an enclave: one thread of the host for each TCS in use.
//!
//! A thread enters, serves the call that it comes out with ([`crate::usercalls`]), and enters again, until its
//! part of the program is over. No call moves to another thread. The first thread runs the image's `main`;
//! the image asks for the others. When `main` ends, or anything crashes, the enclave is over: nobody enters
//! any more, everybody who waits outside comes back, and each seat is told how it ended, once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use boundary_wire::start::{Channel, StartBlock, StartBlockError};
use host_services::seats::Seats;

use crate::cpu::Cpu;
use crate::enter::{Registers, Visit, enter};
use crate::exits::{Counters, Exits};
use crate::memory::UserMemory;
use crate::park::Parking;
use crate::time::{Ticker, TimePage};
use crate::usercalls::Visitor;

/// Time for peers to take what is pending when a thread has ended in order.
const LINGER: Duration = Duration::from_secs(2);

/// Answers calls of the enclave in place of the launcher. For tests of what an image does with a host that lies.
pub trait Intercept: Send + Sync {
    /// The results of the call with number RDI that came from the TCS of index `tcs`; None: the launcher serves
    /// it.
    fn call(&self, tcs: usize, call: &Registers) -> Option<(u64, u64)>;
}

/// Why an enclave that was loaded did not get its first thread.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// More seats than a start block holds.
    #[error(transparent)]
    StartBlock(#[from] StartBlockError),
    /// Too few TCS for the workers.
    #[error(
        "the image has {threads} enclave threads, and {workers} workers need {needed}: start with --workers {most} \
         or fewer, or make an image with more `threads`"
    )]
    Threads {
        /// In the image.
        threads: usize,
        /// Asked for.
        workers: u16,
        /// What that takes.
        needed: usize,
        /// The most workers for this image.
        most: usize,
    },
    /// No thread.
    #[error("no thread for the enclave: {0}")]
    Thread(#[from] io::Error),
}

/// One enclave and all that serves it.
pub(crate) struct Driver {
    pub(crate) cpu: Box<dyn Cpu>,
    pub(crate) seats: Seats,
    pub(crate) slots: Arc<[Slot]>,
    pub(crate) memory: UserMemory,
    pub(crate) time: Arc<TimePage>,
    /// The start block, which the enclave reads.
    pub(crate) start: Box<[u64]>,
    pub(crate) intercept: Option<Box<dyn Intercept>>,
    ticker: Ticker,
    over: AtomicBool,
    state: Mutex<State>,
}

/// What belongs to one TCS. On cache lines of its own, as each thread writes to its own all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    taken: AtomicBool,
    inside: AtomicBool,
    pub(crate) exits: Counters,
    pub(crate) parking: Parking,
}

#[derive(Debug, Default)]
struct State {
    /// Threads of the host that may be in the enclave.
    live: usize,
    threads: Vec<JoinHandle<()>>,
    /// By seat: whether a thread has it, whether it has ended, and why it gave up if it said so.
    seats: Vec<SeatState>,
    /// Why the enclave as a whole ended early.
    failure: Option<String>,
    /// Usercalls that were refused, each logged once.
    refused: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct SeatState {
    claimed: bool,
    ended: bool,
    failure: Option<String>,
}

/// Why a thread does not enter again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its part of the program is over.
    Returned,
    /// The program is over.
    Exit,
    /// The enclave is beyond use.
    Crashed(String),
    /// Another thread ended the enclave.
    Over,
}

impl Driver {
    /// Starts the enclave's first thread.
    pub(crate) fn start(
        cpu: Box<dyn Cpu>,
        seats: Seats,
        intercept: Option<Box<dyn Intercept>>,
    ) -> Result<Arc<Driver>, DriverError> {
        let (threads, workers) = (cpu.tcs().len(), seats.workers());
        // One per worker; control runs in the image's main thread.
        let needed = usize::from(workers) + 1;
        if threads < needed {
            let most = threads.saturating_sub(1);
            return Err(DriverError::Threads { threads, workers, needed, most });
        }
        let time = Arc::new(TimePage::default());
        let start = start_block(&*cpu, &seats, &time)?;
        let slots: Arc<[Slot]> = (0..threads).map(|_| Slot::default()).collect();
        let ticked = slots.clone();
        let inside = move || ticked.iter().any(|slot| slot.inside.load(Ordering::SeqCst));
        let ticker = Ticker::start(time.clone(), inside)?;
        let seat_states = vec![SeatState::default(); usize::from(workers) + 1];
        let driver = Arc::new(Driver {
            cpu,
            seats,
            slots,
            memory: UserMemory::default(),
            time,
            start,
            intercept,
            ticker,
            over: AtomicBool::new(false),
            state: Mutex::new(State { seats: seat_states, ..State::default() }),
        });
        driver.spawn(0)?;
        Ok(driver)
    }

    /// Gives the enclave one more thread. None: every TCS is in use, or no thread is to be had.
    pub(crate) fn launch_thread(self: &Arc<Self>) -> Option<()> {
        let free = |slot: &Slot| !slot.taken.load(Ordering::Relaxed);
        let slot = (1..self.slots.len()).find(|&slot| free(&self.slots[slot]) && self.take(slot))?;
        self.spawn_taken(slot).ok()
    }

    fn take(&self, slot: usize) -> bool {
        !self.slots[slot].taken.swap(true, Ordering::Acquire)
    }

    fn spawn(self: &Arc<Self>, slot: usize) -> io::Result<()> {
        self.slots[slot].taken.store(true, Ordering::Relaxed);
        self.spawn_taken(slot)
    }

    fn spawn_taken(self: &Arc<Self>, slot: usize) -> io::Result<()> {
        let mut state = self.state();
        let driver = self.clone();
        let spawned = Builder::new().name(format!("enclave-{slot}")).spawn(move || driver.run(slot));
        match spawned {
            Ok(thread) => {
                state.live += 1;
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                Ok(())
            }
            Err(error) => {
                self.slots[slot].taken.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// A thread of the host, from its first entry to its last exit.
    fn run(self: Arc<Self>, slot: usize) {
        let mut visitor = Visitor::new(&self, slot);
        let end = self.visit(slot, &mut visitor);
        visitor.flush();
        let seat = visitor.seat();
        let told = visitor.last_words();
        drop(visitor);
        match end {
            End::Returned => self.leave(seat, LINGER),
            End::Over => self.leave(seat, Duration::ZERO),
            End::Exit => {
                // Peers of this thread are served to the end; the others had their time before `main` ended.
                self.leave(seat, LINGER);
                self.end(None);
            }
            End::Crashed(how) => {
                let reason = if told.is_empty() { how } else { format!("{how}: {told}") };
                self.end(Some(reason));
                self.leave(seat, Duration::ZERO);
            }
        }
        self.slots[slot].taken.store(false, Ordering::Release);
        let last = {
            let mut state = self.state();
            state.live -= 1;
            state.live == 0
        };
        if last {
            self.end(None);
            for seat in 0..=self.seats.workers() {
                self.leave(Some(seat), Duration::ZERO);
            }
        }
    }

    fn visit(self: &Arc<Self>, slot: usize, visitor: &mut Visitor<'_>) -> End {
        let (entry, Some(&tcs)) = (self.cpu.entry(), self.cpu.tcs().get(slot)) else { return End::Over };
        let here = &self.slots[slot];
        let mut registers = Registers::default();
        loop {
            if self.is_over() {
                return End::Over;
            }
            here.inside.store(true, Ordering::SeqCst);
            self.ticker.entered();
            // SAFETY: `cpu` says that this is a TCS of an enclave that lives as long as it, and this thread has
            // it alone: `taken` is set until `run` ends.
            let visit = unsafe { enter(entry, tcs, registers) };
            here.inside.store(false, Ordering::SeqCst);
            let results = match visit {
                Visit::Left(call) => match visitor.serve(&call) {
                    Ok(results) => results,
                    Err(end) => return end,
                },
                Visit::Exception(exception) => {
                    return End::Crashed(format!("it crashed: {}", self.cpu.explain(&exception)));
                }
                Visit::Refused(number) => {
                    let error = io::Error::from_raw_os_error(number.wrapping_neg());
                    return End::Crashed(format!("it could not be entered: {error}"));
                }
            };
            self.time.update();
            registers = Registers { rsi: results.0, rdx: results.1, ..Registers::default() };
        }
    }

    /// The enclave is over, for this reason unless there was one before.
    fn end(&self, failure: Option<String>) {
        {
            let mut state = self.state();
            if !self.over.swap(true, Ordering::SeqCst) && state.failure.is_none() {
                state.failure = failure;
            }
        }
        self.seats.wake_all();
        self.slots.iter().for_each(|slot| slot.parking.end());
    }

    /// The thread of a seat has left for good.
    fn leave(&self, seat: Option<u16>, linger: Duration) {
        let Some(seat) = seat else { return };
        let result = {
            let mut state = self.state();
            let whole = if self.is_over() { state.failure.clone() } else { None };
            let Some(of_seat) = state.seats.get_mut(usize::from(seat)) else { return };
            if std::mem::replace(&mut of_seat.ended, true) {
                return;
            }
            of_seat.failure.take().or(whole).map_or(Ok(()), Err)
        };
        self.seats.ended(seat, result, linger);
    }

    /// Whether this thread of the host may use the seat: the first that asks has it for good.
    pub(crate) fn claim(&self, seat: u16) -> bool {
        match self.state().seats.get_mut(usize::from(seat)) {
            Some(seat) => !std::mem::replace(&mut seat.claimed, true),
            None => false,
        }
    }

    /// A thread, or the enclave as a whole, says that it gives up.
    pub(crate) fn gave_up(&self, seat: Option<u16>, reason: String) {
        let mut state = self.state();
        match seat {
            None => drop(state.failure.get_or_insert(reason)),
            Some(seat) => {
                if let Some(seat) = state.seats.get_mut(usize::from(seat)) {
                    seat.failure.get_or_insert(reason);
                }
            }
        }
    }

    /// Whether this number is refused for the first time.
    pub(crate) fn is_news(&self, refused: u64) -> bool {
        const LOGGED: usize = 16;
        let numbers = &mut self.state().refused;
        let news = numbers.len() < LOGGED && !numbers.contains(&refused);
        if news {
            numbers.push(refused);
        }
        news
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// All exits so far.
    pub(crate) fn exits(&self) -> Exits {
        self.slots.iter().fold(Exits::default(), |mut sum, slot| {
            sum += slot.exits.read();
            sum
        })
    }

    /// Waits until every thread has left.
    pub(crate) fn join(&self) {
        loop {
            let Some(thread) = self.state().threads.pop() else { return };
            // A panic of the launcher's own has been written to standard error by then.
            drop(thread.join());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_block(cpu: &dyn Cpu, seats: &Seats, time: &TimePage) -> Result<Box<[u64]>, StartBlockError> {
    let channels = seats
        .addresses()
        .map(|ring| Channel {
            to_enclave: ring.to_enclave.start as u64,
            to_enclave_bytes: ring.to_enclave.len() as u64,
            to_host: ring.to_host.start as u64,
            to_host_bytes: ring.to_host.len() as u64,
        })
        .collect();
    let block = StartBlock { cpu: cpu.kind(), time_page: time.address(), sgx2: cpu.has_sgx2(), channels };
    Ok(block.encode()?.into())
}

#[cfg(test)]
mod tests;
