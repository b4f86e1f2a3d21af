//! What tasks use of their worker.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_executor::{Executor, Task};
use boundary_wire::rpc::{LogLevel, Request, Response};
use enclave_platform::clock::{Clock, Monotonic};
use enclave_platform::{Platform, ThreadIndex};

use crate::calls::Reply;
use crate::connection::Connection;
use crate::error::{DialError, RpcError};
use crate::reactor::Reactor;
use crate::roll::Roll;
use crate::timer::{Sleep, Timers};
use crate::turns::{Account, Turn, Turns};
use crate::wait_list::Place;
use crate::wake::ThreadBell;

/// What a worker, its handles and its connections share. Only the worker's own thread uses it as a rule, so
/// the locks are uncontended.
pub(crate) struct Shared {
    pub(crate) index: ThreadIndex,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) bell: Arc<ThreadBell>,
    pub(crate) timers: Arc<Timers>,
    /// Weak, because the executor's tasks hold handles.
    pub(crate) executor: Weak<Executor<'static>>,
    pub(crate) reactor: Mutex<Reactor>,
    pub(crate) roll: Arc<Roll>,
    pub(crate) turns: Arc<Turns>,
}

impl Shared {
    /// Acts on the channel's state. The worker is told that there may be something to send.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Reactor, &mut Vec<Waker>) -> R) -> R {
        let result = self.with_quietly(act);
        self.bell.ring();
        result
    }

    /// [`Shared::with`] for the worker itself.
    pub(crate) fn with_quietly<R>(&self, act: impl FnOnce(&mut Reactor, &mut Vec<Waker>) -> R) -> R {
        let mut wakes = Vec::new();
        let result = act(&mut self.reactor.lock().unwrap_or_else(PoisonError::into_inner), &mut wakes);
        for waker in wakes {
            waker.wake();
        }
        result
    }
}

/// A worker, as its tasks and other threads see it. Cheap to clone.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

impl Handle {
    /// Starts a task on the worker. Dropping the [`Task`] cancels it; `detach` lets it run on its own.
    ///
    /// A task given to a worker that has ended never runs.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        static NOWHERE: OnceLock<Executor<'static>> = OnceLock::new();
        match self.0.executor.upgrade() {
            Some(executor) => executor.spawn(future),
            None => NOWHERE.get_or_init(Executor::new).spawn(future),
        }
    }

    /// A guest's way to its turns on the worker, on this account.
    pub fn turn(&self, account: &Account) -> Turn {
        self.0.turns.turn(account)
    }

    /// The next connection. `None`: no more will come, because the worker drains or the host misbehaved.
    ///
    /// The host accepts connections from the first call on, and only as many as are then taken.
    pub async fn accept(&self) -> Option<Connection> {
        let mut waiting = Waiting::new(&self.0, |reactor, place, wakes| reactor.leave_accept(place, wakes));
        let id = poll_fn(|cx| waiting.poll(|reactor, place| reactor.poll_accept(place, cx))).await?;
        let peer = self.0.with_quietly(|reactor, _| reactor.peer(id));
        Some(Connection::new(self.0.clone(), id, peer))
    }

    /// Resolves when the worker is asked to stop, with the time that open work may still take.
    pub fn draining(&self) -> Draining {
        Draining { shared: self.0.clone(), place: Place::default() }
    }

    /// Whether the worker was asked to stop.
    pub fn is_draining(&self) -> bool {
        self.0.with_quietly(|reactor, _| reactor.is_draining())
    }

    /// Connections that the worker may have at a time, dialed ones included.
    pub fn most_connections(&self) -> usize {
        self.0.with_quietly(|reactor, _| reactor.most_connections())
    }

    /// Connects through the host to a name or address, which the host resolves as it likes: what answers there
    /// is for TLS to say.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, host: &str, port: u16) -> Result<Connection, DialError> {
        let id = self.0.with(|reactor, _| reactor.start_dial(host, port))?;
        // From here on dropped means given up.
        let connection = Connection::new(self.0.clone(), id, None);
        poll_fn(|cx| self.0.with_quietly(|reactor, _| reactor.poll_dial(id, cx))).await?;
        Ok(connection)
    }

    /// Resolves after `duration`.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.deadline(self.monotonic().after(duration))
    }

    /// Resolves at `at`.
    pub fn deadline(&self, at: Monotonic) -> Sleep {
        Sleep::new(self.0.timers.clone(), at)
    }

    /// Now, on the monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        self.0.clock.monotonic()
    }

    /// The enclave's clocks.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.0.clock
    }

    /// The CPU.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.0.platform
    }

    /// Which thread this worker is.
    pub fn index(&self) -> ThreadIndex {
        self.0.index
    }

    /// Asks the host for something. Waits while too many requests are under way. A request whose future is
    /// dropped may or may not have been carried out.
    ///
    /// # Errors
    /// [`RpcError`]; a `Response::Failed` is one.
    pub async fn call(&self, request: Request) -> Result<Response, RpcError> {
        let mut bytes = request.encode().map_err(RpcError::BadRequest)?;
        let reply: Reply = {
            let mut waiting =
                Waiting::new(&self.0, |reactor, place, wakes| reactor.calls.leave(place, wakes));
            poll_fn(|cx| waiting.poll(|reactor, place| reactor.calls.poll_submit(&mut bytes, place, cx)))
                .await?
        };
        reply.await.unwrap_or(Err(RpcError::Stopping))
    }

    /// Writes a line to the host's log. Never waits: what does not fit is lost and counted. What is too long
    /// is cut off.
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        self.0.with(|reactor, _| reactor.log.push(level, target, message));
    }

    /// Lets other tasks of the worker run.
    pub fn yield_now() -> impl Future<Output = ()> + Send {
        futures_lite::future::yield_now()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("index", &self.0.index).finish_non_exhaustive()
    }
}

/// A place in one of the reactor's waiting lists, given up when dropped.
struct Waiting<'a, L: Fn(&mut Reactor, &mut Place, &mut Vec<Waker>)> {
    shared: &'a Shared,
    place: Place,
    leave: L,
}

impl<'a, L: Fn(&mut Reactor, &mut Place, &mut Vec<Waker>)> Waiting<'a, L> {
    fn new(shared: &'a Shared, leave: L) -> Self {
        Waiting { shared, place: Place::default(), leave }
    }

    fn poll<T>(&mut self, poll: impl FnOnce(&mut Reactor, &mut Place) -> T) -> T {
        let place = &mut self.place;
        self.shared.with(|reactor, _| poll(reactor, place))
    }
}

impl<L: Fn(&mut Reactor, &mut Place, &mut Vec<Waker>)> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        let (place, leave) = (&mut self.place, &self.leave);
        self.shared.with_quietly(|reactor, wakes| leave(reactor, place, wakes));
    }
}

/// Resolves when the worker is asked to stop. Made by [`Handle::draining`].
#[must_use = "a future does nothing unless awaited"]
pub struct Draining {
    shared: Arc<Shared>,
    place: Place,
}

impl Future for Draining {
    type Output = Duration;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Duration> {
        let Draining { shared, place } = self.get_mut();
        shared.with_quietly(|reactor, _| reactor.poll_drained(place, cx))
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let place = &mut self.place;
        self.shared.with_quietly(|reactor, _| reactor.leave_drain(place));
    }
}
