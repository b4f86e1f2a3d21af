//! The host: it starts the enclave, serves it, lies to it by its schedule, and stops it.

mod answers;
mod network;
mod seat;
mod visits;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use attestation::image_policy::ImagePolicy;
use boundary_ring::host;
use boundary_wire::frame::ToEnclave;
use enclave_image::{Enclave, StartConfig};
use enclave_platform::{Notified, ThreadIndex};
use sgx_emu::SoftwareCpu;

use crate::clock::{Claim, Time};
use crate::platform::FaultyPlatform;
use crate::rng::Rng;
use crate::schedule::{Fault, Lie, Point, Schedule};
use crate::storage::Storage;
use crate::threads::{State, Turns};
use crate::witness::Witness;
use network::Connection;
use seat::Seat;

pub use network::{ClientId, End};

/// Bytes of each ring.
const RING: usize = 512 * 1024;
/// Threads that serve clients.
const WORKERS: u16 = 2;
/// For the enclave to end, once it is asked to and nobody lies: ten seconds for its connections, a minute for an
/// answer of the storage that does not come, twice, and what its clock may be ahead.
pub const STOP_TIME: Duration = Duration::from_secs(400);

/// What outlives an enclave: the machine and its disk.
#[derive(Clone)]
pub struct Machine {
    cpu: Arc<SoftwareCpu>,
    /// The records.
    pub storage: Storage,
}

impl Machine {
    /// A machine with an empty disk.
    #[allow(clippy::new_without_default, reason = "no two machines are alike")]
    pub fn new() -> Machine {
        Machine { cpu: Arc::new(SoftwareCpu::ephemeral()), storage: Storage::default() }
    }
}

/// The enclave did what it must never do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// It does not leave.
    #[error("thread {0} went in and did not leave")]
    Inside(usize),
    /// It leaves and enters without an end.
    #[error("{0} visits, and nothing came of them")]
    Spinning(u32),
    /// It does not end.
    #[error("asked to stop, the enclave did not end within {STOP_TIME:?}: {0:?}")]
    NotEnding(Vec<State>),
    /// It neither serves nor ends.
    #[error("started, the enclave does not serve within {STOP_TIME:?}: {0:?}")]
    NotServing(Vec<State>),
    /// It panicked.
    #[error("thread {0} panicked: {1}")]
    Panicked(usize, String),
    /// No thread, no ring: the test's own machine.
    #[error("the test itself: {0}")]
    Test(String),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A thread ran, or time passed.
    Went,
    /// It is as late as was asked for.
    Late,
}

/// A host with an enclave in it, or none at the moment.
pub struct Host {
    machine: Machine,
    policy_page: Vec<u8>,
    time: Arc<Time>,
    rng: Rng,
    turns: Arc<Turns>,
    enclave: Option<Arc<Enclave>>,
    threads: Vec<JoinHandle<()>>,
    seats: Vec<Seat>,
    connections: Vec<Connection>,
    witness: Witness,
    log: Vec<String>,
    faults: Vec<Fault>,
    counted: HashMap<Point, u32>,
    told: Vec<Fault>,
    honest: bool,
    /// Batches that cannot be written yet, and why.
    refusing: (u64, Lie),
    /// Visits for which the clock stands still yet.
    still: u64,
    visits: u32,
    rolled_back: bool,
    /// A batch was said to be stored and was not: the store is an earlier one, whole until the next batch.
    unstored: bool,
    /// The store before the host changed it while the enclave was away.
    tampered: Option<Storage>,
}

impl Host {
    /// A host on `machine` that lies by `schedule`. Its enclave has a development policy.
    ///
    /// # Errors
    /// [`Stuck::Test`].
    pub fn new(machine: Machine, schedule: &Schedule) -> Result<Host, Stuck> {
        let policy = ImagePolicy { development: true, ..ImagePolicy::default() };
        let policy_page = policy.to_page().map_err(|error| Stuck::Test(error.to_string()))?;
        Ok(Host {
            machine,
            policy_page,
            time: Arc::default(),
            rng: Rng::new(schedule.seed),
            turns: Turns::new(0),
            enclave: None,
            threads: Vec::new(),
            seats: Vec::new(),
            connections: Vec::new(),
            witness: Witness::default(),
            log: Vec::new(),
            faults: schedule.faults.clone(),
            counted: HashMap::new(),
            told: Vec::new(),
            honest: false,
            refusing: (0, Lie::Full),
            still: 0,
            visits: 0,
            rolled_back: false,
            unstored: false,
            tampered: None,
        })
    }

    /// Starts the enclave, which must not run.
    ///
    /// # Errors
    /// [`Stuck::Test`].
    pub fn start(&mut self) -> Result<(), Stuck> {
        // A store that was tampered with and refused is put back as it was: nothing was written to it.
        if let Some(before) =
            self.tampered.take().filter(|tampered| tampered.batches() == self.machine.storage.batches())
        {
            self.machine.storage = before;
        }
        self.rolled_back |= self.unstored;
        if let Some((lie, by)) = self.fault(Point::Restart) {
            let before = self.machine.storage.clone();
            self.tampered = self.machine.storage.tamper(lie, by).then_some(before);
        }
        let test = |error: &dyn std::fmt::Display| Stuck::Test(error.to_string());
        let turns = Turns::new(usize::from(WORKERS) + 1);
        let (cpu, page) = (self.machine.cpu.clone(), self.policy_page.clone());
        let platform = FaultyPlatform::new(cpu, page, self.time.clone(), turns.clone());
        let config = StartConfig { workers: WORKERS };
        let enclave = Arc::new(Enclave::new(Arc::new(platform), config).map_err(|error| test(&error))?);
        self.seats.clear();
        for index in 0..=WORKERS {
            let (here, there) = host::channel(RING).map_err(|error| test(&error))?;
            enclave.init_channel(ThreadIndex(index), there).map_err(|error| test(&error))?;
            self.seats.push(Seat::new(here));
            let thread = turns.spawn(&enclave, usize::from(index)).map_err(|error| test(&error))?;
            self.threads.push(thread);
        }
        self.turns = turns;
        self.enclave = Some(enclave);
        // A thread that was never in when the enclave is asked to stop is not let in any more.
        (0..self.seats.len()).try_for_each(|index| self.enter(index))
    }

    /// Lets threads go on until the enclave serves clients, or has ended.
    ///
    /// # Errors
    /// [`Stuck`].
    pub fn wait_until_it_serves(&mut self) -> Result<(), Stuck> {
        self.visits = 0;
        let until = self.time.now() + u64::try_from(STOP_TIME.as_nanos()).unwrap_or(u64::MAX);
        let workers = usize::from(WORKERS);
        while !self.is_over() && !self.seats.iter().take(workers).all(|seat| seat.accept_credit > 0) {
            if self.step(until)? == Step::Late {
                return Err(Stuck::NotServing(self.states()));
            }
        }
        Ok(())
    }

    /// Lets one thread go on, or time pass up to `until` of [`Host::now`] if none can.
    ///
    /// # Errors
    /// [`Stuck`].
    pub fn step(&mut self, until: u64) -> Result<Step, Stuck> {
        self.serve()?;
        let (now, states) = (self.time.now(), self.turns.states());
        let mut ready = Vec::new();
        let mut next = until;
        for (index, ((state, woken), seat)) in states.iter().zip(&self.seats).enumerate() {
            if seat.starved_until > now {
                next = next.min(seat.starved_until);
                continue;
            }
            let due = match state {
                State::Ended(_) => continue,
                State::Panicked(why) => return Err(Stuck::Panicked(index, why.clone())),
                State::Ready => Some(0),
                State::Waiting(_) if *woken || seat.has_news => Some(0),
                State::Waiting(until) => until.and_then(|at| self.time.until(at)),
            };
            match due {
                Some(0) => ready.push(index),
                Some(due) => next = next.min(now.saturating_add(due)),
                None => {}
            }
        }
        if !ready.is_empty() {
            let index = *self.rng.pick(&ready);
            self.visit(index)?;
            return Ok(if self.time.now() >= until { Step::Late } else { Step::Went });
        }
        if self.release_held() {
            return Ok(Step::Went);
        }
        let dues = self.connections.iter().flat_map(Connection::dues);
        for due in self.seats.iter().flat_map(Seat::dues).chain(dues) {
            next = next.min(due.max(now + 1));
        }
        self.time.pass_ns(next.saturating_sub(now));
        Ok(if next >= until { Step::Late } else { Step::Went })
    }

    /// Asks the enclave to stop and waits until it has. How each thread ended.
    ///
    /// # Errors
    /// [`Stuck`].
    pub fn stop(&mut self) -> Result<Vec<Result<(), String>>, Stuck> {
        self.ask_to_stop();
        let until = self.time.now() + u64::try_from(STOP_TIME.as_nanos()).unwrap_or(u64::MAX);
        self.visits = 0;
        while !self.is_over() {
            if self.step(until)? == Step::Late {
                return Err(Stuck::NotEnding(self.states()));
            }
        }
        self.serve()?;
        Ok(self.gone())
    }

    fn ask_to_stop(&mut self) {
        if let Some(enclave) = &self.enclave {
            enclave.shutdown();
        }
        for (index, seat) in self.seats.iter_mut().enumerate() {
            self.turns.tell(index, Notified::Shutdown);
            seat.push(&ToEnclave::Drain { grace_ms: 10_000 });
        }
    }

    /// Ends the enclave as the end of its process would.
    ///
    /// # Errors
    /// [`Stuck::Inside`].
    pub fn kill(&mut self) -> Result<(), Stuck> {
        if !self.turns.kill() {
            return Err(Stuck::Inside(usize::MAX));
        }
        self.gone();
        Ok(())
    }

    /// The enclave is away: its connections are, too.
    fn gone(&mut self) -> Vec<Result<(), String>> {
        for thread in self.threads.drain(..) {
            // Its state says how it ended.
            drop(thread.join());
        }
        self.enclave = None;
        self.seats.clear();
        self.connections.iter_mut().for_each(Connection::broke);
        let states = self.turns.states();
        let ended = |(state, _)| match state {
            State::Ended(result) => result,
            other => Err(format!("{other:?}")),
        };
        states.into_iter().map(ended).collect()
    }

    /// Whether no thread of the enclave will run again.
    pub fn is_over(&self) -> bool {
        self.turns.states().iter().all(|(state, _)| state.is_over())
    }

    /// How the threads are.
    pub fn states(&self) -> Vec<State> {
        self.turns.states().into_iter().map(|(state, _)| state).collect()
    }

    /// From now on the host tells the truth, and what it kept back it gives.
    pub fn repent(&mut self) {
        self.honest = true;
        self.refusing.0 = 0;
        self.still = 0;
        self.time.claim(Claim::Off(0), Claim::Off(0));
        for (index, seat) in self.seats.iter_mut().enumerate() {
            seat.starved_until = 0;
            self.turns.tell(index, Notified::Continue);
        }
    }

    /// The lie that is due at this event.
    fn fault(&mut self, point: Point) -> Option<(Lie, u64)> {
        if self.honest {
            return None;
        }
        let counted = self.counted.entry(point).or_default();
        let nth = *counted;
        *counted += 1;
        let fault = self.faults.iter().find(|fault| fault.point == point && fault.nth == nth)?;
        self.told.push(*fault);
        Some((fault.lie, fault.by))
    }

    /// The next event of this kind gets this lie.
    pub fn lie_next(&mut self, point: Point, lie: Lie, by: u64) {
        self.lie_after(0, point, lie, by);
    }

    /// As [`Host::lie_next`], behind the next `skip` events.
    pub fn lie_after(&mut self, skip: u32, point: Point, lie: Lie, by: u64) {
        let nth = self.counted.get(&point).copied().unwrap_or(0) + skip;
        self.faults.push(Fault { point, nth, lie, by });
    }

    /// Whatever happens to this thread from now on is the host's doing.
    fn touch(&mut self, index: usize) {
        if let Some(seat) = self.seats.get_mut(index) {
            seat.touched = true;
        }
    }

    /// Nanoseconds since the test began, in the time of the test.
    pub fn now(&self) -> u64 {
        self.time.now()
    }

    /// The clock.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// What the host saw.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// What the enclave had logged.
    pub fn log(&self) -> &[String] {
        &self.log
    }

    /// The lies that were told so far.
    pub fn told(&self) -> &[Fault] {
        &self.told
    }

    /// Whether the enclave was shown an earlier state of the whole store when it started: what it cannot know
    /// (DESIGN D12).
    pub fn rolled_back(&self) -> bool {
        self.rolled_back
    }

    /// What is left when the host is gone.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Another thing is waited for from here on.
    pub fn begin(&mut self) {
        self.visits = 0;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A thread that is stuck inside stays there; the test has failed and says so.
        if !self.threads.is_empty() && self.turns.kill() {
            self.gone();
        }
    }
}
