//! The loop of one enclave thread.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_executor::Executor;
use boundary_ring::{ChannelMemory, Consumer, Producer};
use boundary_wire::frame::{FIRST_CREDIT, MAX_FRAME, ToEnclave};
use enclave_platform::clock::{Clock, Monotonic};
use enclave_platform::{Notified, Notify, Platform, ThreadIndex};

use crate::error::{HostMisbehaved, WorkerError};
use crate::handle::{Handle, Shared};
use crate::reactor::{Reactor, Share};
use crate::roll::Roll;
use crate::timer::Timers;
use crate::turns::{Turns, WHOLE_TURN};
use crate::wake::ThreadBell;

/// Time that open work may take when the host asks to stop without saying how long.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Tasks run between two visits outside, at most.
const QUANTUM_TASKS: u32 = 256;
/// Time between two visits outside, as far as the tasks themselves yield.
const QUANTUM: Duration = Duration::from_millis(2);
/// Guests that have a turn where tasks alone took the whole quantum.
const GUESTS_BESIDE_TASKS: u32 = 4;
/// How many tasks run between two looks at the clock.
const CLOCK_EVERY: u32 = 16;
/// Turns of guests between two visits outside, at most: four whole ones.
const GUEST_UNITS: u32 = 4 * WHOLE_TURN;
/// Time from one visit outside to the next while guests run, as far as their turns end.
const GUEST_QUANTUM: Duration = Duration::from_micros(200);
/// Frames taken between two runs of the tasks. A ring holds fewer large ones.
const MAX_FRAMES: u32 = 1024;
/// Rounds of work without a visit outside.
const MAX_ROUNDS: u32 = 8;

/// What the connections of one enclave may take. Its threads have equal shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Connections, dialed ones included. Each takes memory of its own too: TLS, an unfinished request.
    pub connections: usize,
    /// Bytes received and not yet read. Never less than what every connection gets at first.
    pub receive: usize,
}

impl Room {
    /// Connections that a thread can have however many threads there are.
    const FEWEST: usize = 64;

    fn share(self, threads: usize) -> Share {
        let threads = threads.max(1);
        let connections = (self.connections / threads).max(Self::FEWEST);
        let first = connections.saturating_mul(FIRST_CREDIT as usize);
        Share { connections, spare: (self.receive / threads).saturating_sub(first) }
    }
}

/// What the threads of one enclave share: their bells, and who of them still comes by.
pub struct Workers {
    platform: Arc<dyn Platform>,
    clock: Arc<Clock>,
    room: Room,
    bells: Vec<Arc<ThreadBell>>,
    roll: Arc<Roll>,
    started: Mutex<Started>,
}

#[derive(Default)]
struct Started {
    workers: Vec<Weak<Shared>>,
    draining: Option<Duration>,
}

impl Workers {
    /// An enclave of `threads` threads, the control thread included.
    pub fn new(platform: Arc<dyn Platform>, clock: Arc<Clock>, threads: u16, room: Room) -> Arc<Self> {
        let bells: Vec<_> = (0..threads).map(|i| ThreadBell::new(platform.clone(), ThreadIndex(i))).collect();
        let roll = Roll::new(&bells);
        Arc::new(Workers { platform, clock, room, bells, roll, started: Mutex::default() })
    }

    /// Asks all workers, those that start later too, to stop within `grace`: see [`Handle::draining`].
    pub fn shutdown(&self, grace: Duration) {
        let workers = {
            let mut started = self.started();
            started.draining.get_or_insert(grace);
            std::mem::take(&mut started.workers)
        };
        for worker in workers.iter().filter_map(Weak::upgrade) {
            worker.with(|reactor, wakes| reactor.drain(grace, wakes));
        }
    }

    fn started(&self) -> std::sync::MutexGuard<'_, Started> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its main future is done.
    Done,
    /// Its main future is done, and the channel had failed before.
    HostMisbehaved(HostMisbehaved),
}

/// One enclave thread: its tasks and its channel.
pub struct Worker {
    shared: Arc<Shared>,
    executor: Arc<Executor<'static>>,
    input: Consumer,
    /// The one copy of a frame out of shared memory.
    frame: Vec<u8>,
    visit: Cell<Visit>,
    /// Whether those who take long have waited for an answer to go out since the last turn.
    deferred: Cell<bool>,
}

/// The last visit outside.
#[derive(Clone, Copy, Default)]
struct Visit {
    at: Monotonic,
    /// How far the ring was filled.
    sent_to: u64,
}

impl Worker {
    /// The worker for thread `index`, over the channel that the host gave for it.
    ///
    /// # Errors
    /// [`WorkerError`] when the channel cannot be used.
    pub fn new(
        workers: &Arc<Workers>,
        index: ThreadIndex,
        channel: ChannelMemory,
    ) -> Result<Worker, WorkerError> {
        let Some(bell) = workers.bells.get(usize::from(index.0)).cloned() else {
            let threads = u16::try_from(workers.bells.len()).unwrap_or(u16::MAX);
            return Err(WorkerError::NoSuchThread { index: index.0, threads });
        };
        let (input, output) = (Consumer::new(channel.to_enclave)?, Producer::new(channel.to_host)?);
        if output.max_message() < MAX_FRAME {
            return Err(WorkerError::ChannelTooSmall { got: output.max_message(), needed: MAX_FRAME });
        }
        let executor = Arc::new(Executor::new());
        let turns = Turns::new(workers.clock.clone(), bell.clone());
        let shared = Arc::new(Shared {
            index,
            platform: workers.platform.clone(),
            clock: workers.clock.clone(),
            bell: bell.clone(),
            timers: Timers::new(workers.clock.clone(), bell),
            executor: Arc::downgrade(&executor),
            reactor: Mutex::new(Reactor::new(output, workers.room.share(workers.bells.len()))),
            roll: workers.roll.clone(),
            turns,
        });
        let mut started = workers.started();
        match started.draining {
            Some(grace) => shared.with_quietly(|reactor, wakes| reactor.drain(grace, wakes)),
            None => started.workers.push(Arc::downgrade(&shared)),
        }
        drop(started);
        Ok(Worker {
            shared,
            executor,
            input,
            frame: Vec::new(),
            visit: Cell::default(),
            deferred: Cell::default(),
        })
    }

    /// What the worker's tasks use.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Runs until `main` is done. Tasks that are left then are dropped, and their connections reset.
    pub fn run<F: Future<Output = ()> + Send>(mut self, main: F) -> Ended {
        let mut main = pin!(main);
        let woken = Arc::new(MainWaker { woken: AtomicBool::new(true), bell: self.shared.bell.clone() });
        let main_waker = Waker::from(woken.clone());
        let (mut rounds, mut asked_to_stop) = (0, false);
        loop {
            self.shared.bell.bell.take();
            self.shared.roll.here(self.shared.index);
            self.receive();
            if asked_to_stop {
                // Behind the frames, because a `Drain` among them says how long.
                self.shared.with_quietly(|reactor, wakes| reactor.drain(DEFAULT_GRACE, wakes));
            }
            self.wake_timers();
            let more_tasks = self.run_tasks();
            let main_ran = woken.woken.swap(false, Ordering::AcqRel);
            if main_ran && main.as_mut().poll(&mut Context::from_waker(&main_waker)).is_ready() {
                break;
            }
            let blocked = self.flush();
            rounds += 1;
            let notified = if more_tasks || blocked || rounds >= MAX_ROUNDS {
                Some(self.leave(Notify::Poll))
            } else if main_ran {
                None
            } else {
                self.wait()
            };
            if let Some(notified) = notified {
                rounds = 0;
                asked_to_stop |= notified == Notified::Shutdown;
            }
        }
        self.end()
    }

    /// Takes what the host has put into the ring.
    fn receive(&mut self) {
        let Worker { shared, input, frame, .. } = self;
        shared.with_quietly(|reactor, wakes| {
            for _ in 0..MAX_FRAMES {
                if reactor.failure().is_some() {
                    return;
                }
                match receive_one(input, frame, reactor, wakes) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(lie) => reactor.fail(lie, wakes),
                }
            }
            // The rest comes after the tasks have run.
            shared.bell.ring();
        });
    }

    fn wake_timers(&self) {
        let mut due = Vec::new();
        self.shared.timers.take_due(&mut due);
        for waker in due {
            waker.wake();
        }
    }

    /// Runs tasks, and a guest whenever no task is ready. `true`: there is more, and it is time to look outside.
    fn run_tasks(&self) -> bool {
        let (mut end, mut ran, mut guests) = (None, 0, false);
        loop {
            while self.executor.try_tick() {
                ran += 1;
                if ran % CLOCK_EVERY == 0 || ran == 1 {
                    let now = self.shared.clock.monotonic();
                    let end = *end.get_or_insert(now.after(QUANTUM));
                    if now >= end || ran >= QUANTUM_TASKS {
                        // Tasks without end do not keep guests from running.
                        if !guests {
                            (0..GUESTS_BESIDE_TASKS).for_each(|_| self.grant());
                        }
                        return true;
                    }
                }
            }
            let Some(fresh) = self.shared.turns.next_is_fresh() else { return false };
            if self.is_time_to_look(fresh) {
                return true;
            }
            self.grant();
            guests = true;
        }
    }

    /// Whether to look outside before the next guest runs; `fresh`: its call is new.
    fn is_time_to_look(&self, fresh: bool) -> bool {
        let Visit { at, sent_to } = self.visit.get();
        let spent = self.shared.turns.spent();
        let answered = || self.shared.with_quietly(|reactor, _| reactor.sent_to()) != sent_to;
        spent >= GUEST_UNITS
            // Answers go out before those go on who take long, who wait for that once between two turns.
            || !fresh && answered() && !self.deferred.replace(true)
            || spent > 0 && self.shared.clock.monotonic().since(at) >= GUEST_QUANTUM
    }

    fn grant(&self) {
        self.deferred.set(false);
        if let Some(waker) = self.shared.turns.grant() {
            waker.wake();
        }
    }

    /// Sends what is owed. `true`: the ring was too full for it.
    fn flush(&self) -> bool {
        self.shared.with_quietly(|reactor, wakes| {
            reactor.flush(wakes);
            reactor.is_blocked()
        })
    }

    /// Leaves until there is something to do. `None`: there is already.
    fn wait(&self) -> Option<Notified> {
        // Registered with the executor while asleep: a task that is woken rings the bell.
        let bell_waker = Waker::from(self.shared.bell.clone());
        let mut tick = pin!(self.executor.tick());
        if tick.as_mut().poll(&mut Context::from_waker(&bell_waker)).is_ready() {
            return None;
        }
        if !self.shared.bell.bell.sleep() {
            return None;
        }
        let until_ns = self.shared.timers.next().map(|at| at.as_nanos());
        let notified = self.leave(Notify::Wait { until_ns });
        self.shared.bell.bell.awake();
        Some(notified)
    }

    fn leave(&self, notify: Notify) -> Notified {
        let sent_to = self.shared.with_quietly(|reactor, _| reactor.sent_to());
        let notified = self.shared.platform.notify(self.shared.index, notify);
        self.shared.turns.restart();
        self.visit.set(Visit { at: self.shared.clock.monotonic(), sent_to });
        notified
    }

    fn end(self) -> Ended {
        let Worker { shared, executor, .. } = self;
        drop(executor);
        shared.roll.over(shared.index);
        // Resets of the connections that the tasks held, as far as the ring takes them.
        let failure = shared.with_quietly(|reactor, wakes| {
            reactor.flush(wakes);
            reactor.stop(wakes);
            reactor.failure().cloned()
        });
        shared.platform.notify(shared.index, Notify::Poll);
        failure.map_or(Ended::Done, Ended::HostMisbehaved)
    }
}

/// Takes one frame. `false`: there is none.
fn receive_one(
    input: &mut Consumer,
    frame: &mut Vec<u8>,
    reactor: &mut Reactor,
    wakes: &mut Vec<Waker>,
) -> Result<bool, HostMisbehaved> {
    let Some(message) = input.peek()? else { return Ok(false) };
    message.copy_to(frame);
    message.consume();
    reactor.on_frame(ToEnclave::decode(frame)?, wakes)?;
    Ok(true)
}

/// Says whether the main future was woken.
struct MainWaker {
    woken: AtomicBool,
    bell: Arc<ThreadBell>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.bell.ring();
    }
}
