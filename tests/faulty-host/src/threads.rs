//! The threads of the enclave, one at a time.
//!
//! An enclave thread runs until it leaves by `notify`; then the host, which is the thread of the test, has its turn
//! and says who goes on. Nothing else runs meanwhile, so a run depends on its schedule alone (but for the keys
//! and nonces of TLS, whose bytes are random and whose lengths are not, give or take two bytes of a signature).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use enclave_image::{Enclave, EnclaveError};
use enclave_platform::{Notified, Notify, ThreadIndex};

/// Real time for a thread to leave the enclave. A call runs for a fraction of a second before it yields.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an enclave thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has left only to let bytes move, or was not in yet.
    Ready,
    /// It has nothing to do before something comes, or the monotonic clock says this.
    Waiting(Option<u64>),
    /// It has left for good.
    Ended(Result<(), String>),
    /// It panicked.
    Panicked(String),
}

impl State {
    /// Whether it will never run again.
    pub fn is_over(&self) -> bool {
        matches!(self, State::Ended(_) | State::Panicked(_))
    }
}

/// Whose turn it is.
pub(crate) struct Turns {
    baton: Mutex<Baton>,
    passed: Condvar,
}

struct Baton {
    /// `None`: the host.
    holder: Option<usize>,
    threads: Vec<Thread>,
    killed: bool,
}

struct Thread {
    state: State,
    woken: bool,
    told: Notified,
}

/// What ends a thread that is killed.
struct Killed;

impl Turns {
    pub(crate) fn new(threads: usize) -> Arc<Turns> {
        let thread = || Thread { state: State::Ready, woken: false, told: Notified::Continue };
        let baton = Baton { holder: None, threads: (0..threads).map(|_| thread()).collect(), killed: false };
        Arc::new(Turns { baton: Mutex::new(baton), passed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Baton> {
        self.baton.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one enclave thread, which waits for its turn.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        enclave: &Arc<Enclave>,
        index: usize,
    ) -> std::io::Result<JoinHandle<()>> {
        let (turns, enclave) = (self.clone(), enclave.clone());
        Builder::new().name(format!("enclave-{index}")).spawn(move || {
            let run = || {
                turns.wait_for_turn(index);
                enclave.run(ThreadIndex(index as u16))
            };
            let state = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(result) => State::Ended(result.map_err(|error: EnclaveError| error.to_string())),
                Err(payload) if payload.is::<Killed>() => State::Ended(Err("killed".to_owned())),
                Err(payload) => {
                    let text = payload.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    State::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
                }
            };
            drop(enclave);
            turns.give(index, state);
        })
    }

    /// An enclave thread leaves, and comes back when it is its turn.
    pub(crate) fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified {
        let index = usize::from(thread.0);
        let state = match notify {
            Notify::Wake { thread } => {
                if let Some(other) = self.lock().threads.get_mut(usize::from(thread.0)) {
                    other.woken = true;
                }
                return Notified::Continue;
            }
            Notify::Poll => State::Ready,
            Notify::Wait { until_ns } => State::Waiting(until_ns),
        };
        if std::thread::panicking() {
            return Notified::Continue;
        }
        self.give(index, state);
        self.wait_for_turn(index)
    }

    fn give(&self, index: usize, state: State) {
        let mut baton = self.lock();
        if let Some(thread) = baton.threads.get_mut(index) {
            thread.state = state;
        }
        baton.holder = None;
        self.passed.notify_all();
    }

    fn wait_for_turn(&self, index: usize) -> Notified {
        let baton = self.lock();
        let mut baton = self
            .passed
            .wait_while(baton, |baton| baton.holder != Some(index))
            .unwrap_or_else(PoisonError::into_inner);
        if baton.killed {
            drop(baton);
            resume_unwind(Box::new(Killed));
        }
        match baton.threads.get_mut(index) {
            Some(thread) => {
                thread.woken = false;
                thread.told
            }
            None => Notified::Shutdown,
        }
    }

    /// Lets a thread run until it leaves. `false`: it did not, however long the host waited.
    pub(crate) fn run(&self, index: usize) -> bool {
        let mut baton = self.lock();
        baton.holder = Some(index);
        self.passed.notify_all();
        let (_baton, late) = self
            .passed
            .wait_timeout_while(baton, PATIENCE, |baton| baton.holder.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        !late.timed_out()
    }

    /// What this thread is told when it comes back.
    pub(crate) fn tell(&self, index: usize, told: Notified) {
        if let Some(thread) = self.lock().threads.get_mut(index) {
            thread.told = told;
        }
    }

    /// Wakes every thread.
    pub(crate) fn wake_all(&self) {
        self.lock().threads.iter_mut().for_each(|thread| thread.woken = true);
    }

    /// Where all threads are, and who of them was woken.
    pub(crate) fn states(&self) -> Vec<(State, bool)> {
        self.lock().threads.iter().map(|thread| (thread.state.clone(), thread.woken)).collect()
    }

    /// Ends every thread where it is, as the end of its process would. `false`: one did not come back.
    pub(crate) fn kill(&self) -> bool {
        self.lock().killed = true;
        let over: Vec<bool> = self.states().iter().map(|(state, _)| state.is_over()).collect();
        over.iter().enumerate().all(|(index, over)| *over || self.run(index))
    }
}
