//! The host's half of one enclave thread.
//!
//! A station owns the host's ends of the thread's channel, an epoll instance and the sockets of the thread's
//! connections. It runs only while its thread is outside the enclave ([`Station::turn`]), so it never races
//! with the enclave for the channel and needs no thread of its own. What may take long is done elsewhere and
//! announced by the doorbell: names are resolved by the host's resolver, and questions to the quoting enclave
//! are answered by a thread that the first of them starts.
//!
//! One turn: take every frame that the enclave sent and act on it; push what is owed to the enclave; receive
//! from readable sockets straight into the ring, one portion per connection in turn, until the ring is full or
//! nothing is readable; ask epoll for news. A turn that waits ends when there is something for the enclave,
//! when the doorbell rings, or when the enclave's next timer is due.
//!
//! # What is bounded
//!
//! A connection holds what the enclave sent and the peer has not taken, at most
//! [`frame::MAX_CREDIT`](boundary_wire::frame::MAX_CREDIT) bytes; nothing is read from a socket that
//! does not fit into the ring and the enclave's credit. Sockets are watched for edges, so one that may not be
//! read now costs nothing. No connection is accepted that the enclave has not asked for, and none while the
//! process is out of descriptors. Replies that the ring does not take stop the station from taking requests.
//! Few questions wait for the quoting enclave; one more is answered `Busy`.

mod accept;
mod connection;
mod control;
mod dial;
mod error;
mod feed;
mod inward;
mod poller;
mod questions;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};

use boundary_ring::host::{Channel, Consumer, Producer};
use boundary_wire::frame::{ConnId, DialFailure};

use crate::clock;
use crate::network::{Listener, Resolved};
use accept::Listening;
use connection::{Connection, Phase};
pub use control::{Control, Services};
pub use error::{StationError, Violation};
pub use poller::Doorbell;
use poller::{LISTENER, Poller, Ready};
use requests::Requests;

/// Time for a peer to end a connection that the enclave has ended, so that nothing on its way is lost.
const LINGER_NS: u64 = 2_000_000_000;
/// Time for a peer to take what is pending on such a connection.
const LINGER_PENDING_NS: u64 = 30_000_000_000;
/// An enclave that polls a station that has stopped is slowed down to this.
const REST_NS: u64 = 10_000_000;

/// What the enclave thread wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Move bytes and come back at once.
    Poll,
    /// Come back when there is something for the enclave, or at this moment of [`clock::monotonic_ns`].
    Wait {
        /// The next timer of the enclave.
        until_ns: Option<u64>,
    },
}

/// The host's half of one enclave thread.
pub struct Station {
    thread: u16,
    services: Arc<Services>,
    ring: Producer,
    from_enclave: Consumer,
    requests: Requests,
    poller: Poller,
    listener: Option<Listener>,
    listening: Listening,
    accept_credit: u32,
    /// Accept credit has come: the enclave serves.
    invited: bool,
    last_accepted: ConnId,
    last_dialed: ConnId,
    connections: HashMap<u64, Connection>,
    /// Connections that owe the enclave a frame, and that may be read; each at most once.
    owing: VecDeque<u64>,
    readable: VecDeque<u64>,
    /// Deadlines, which come in order because all of a kind last equally long.
    dials: VecDeque<(u64, u64, SocketAddr)>,
    lingering: VecDeque<(u64, u64)>,
    resolved: (Sender<Resolved>, Receiver<Resolved>),
    drain_owed: Option<u32>,
    drained: bool,
    stopped: bool,
    /// Frames pushed, ever: a turn that pushed some does not wait.
    pushed: u64,
    ready: Vec<Ready>,
}

impl Station {
    /// The station of enclave thread `thread`, over the host's ends of its channel. Without a listener (the
    /// control thread) it accepts nothing.
    ///
    /// # Errors
    /// [`StationError::System`] when epoll is not to be had.
    pub fn new(
        thread: u16,
        channel: Channel,
        services: Arc<Services>,
        listener: Option<Listener>,
    ) -> Result<Station, StationError> {
        let poller = Poller::new().map_err(system("making an epoll instance"))?;
        Ok(Station {
            thread,
            services,
            ring: channel.to_enclave,
            from_enclave: channel.to_host,
            requests: Requests::new(),
            poller,
            listener,
            listening: Listening::Off,
            accept_credit: 0,
            invited: false,
            last_accepted: ConnId::LISTENER,
            last_dialed: ConnId::dialed(0),
            connections: HashMap::new(),
            owing: VecDeque::new(),
            readable: VecDeque::new(),
            dials: VecDeque::new(),
            lingering: VecDeque::new(),
            resolved: mpsc::channel(),
            drain_owed: None,
            drained: false,
            stopped: false,
            pushed: 0,
            ready: Vec::new(),
        })
    }

    /// What ends this station's wait.
    pub fn doorbell(&self) -> Doorbell {
        self.poller.doorbell().clone()
    }

    /// Whether the enclave has asked for connections.
    pub fn is_invited(&self) -> bool {
        self.invited
    }

    /// One visit of the enclave thread.
    ///
    /// # Errors
    /// [`StationError`], once: the station has closed its connections then, and later turns only wait.
    pub fn turn(&mut self, turn: Turn) -> Result<(), StationError> {
        if self.stopped {
            return self.rest(turn);
        }
        self.work(turn).inspect_err(|_| self.stop())
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.listener = None;
        self.requests.stop();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.forget(id);
        }
    }

    fn rest(&mut self, turn: Turn) -> Result<(), StationError> {
        let timeout = match turn {
            Turn::Poll => Some(REST_NS),
            Turn::Wait { until_ns } => until_ns.map(|at| at.saturating_sub(clock::monotonic_ns())),
        };
        let rested = self.poller.wait(timeout, &mut self.ready).map_err(system("waiting in epoll"));
        self.ready.clear();
        rested.map(drop)
    }

    fn work(&mut self, turn: Turn) -> Result<(), StationError> {
        let (pushed, invited) = (self.pushed, self.invited);
        let (mut polled, mut rung) = (false, false);
        loop {
            let more_frames = self.take_frames()?;
            self.drain_if_asked();
            self.expire();
            self.update_listener()?;
            self.feed()?;
            let now = clock::monotonic_ns();
            let news = rung
                || self.pushed != pushed
                || self.invited != invited
                || !self.readable.is_empty()
                || self.requests.is_blocked();
            let done = match turn {
                Turn::Poll => true,
                Turn::Wait { until_ns } => news || until_ns.is_some_and(|at| at <= now),
            };
            if done && polled {
                return Ok(());
            }
            let timeout = match turn {
                Turn::Wait { until_ns } if !done && !more_frames => self.until(until_ns, now),
                _ => Some(0),
            };
            rung |= self.poll(timeout)?;
            polled = true;
        }
    }

    /// After the enclave thread has ended: lets peers take what is pending and end, until `until_ns` at the
    /// latest.
    pub fn linger(&mut self, until_ns: u64) {
        // What fails now has nobody to be told.
        while self.take_frames().is_ok()
            && self.feed().is_ok()
            && self.connections.values().any(|c| c.pending() > 0 || c.is_lingering())
            && clock::monotonic_ns() < until_ns
        {
            let wait = until_ns.saturating_sub(clock::monotonic_ns());
            if self.poll(Some(wait.min(LINGER_NS))).is_err() {
                break;
            }
        }
        self.stop();
    }

    fn insert(&mut self, connection: Connection) {
        self.connections.insert(connection.id.0, connection);
        self.services.control.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&mut self, id: u64) {
        if let Some(mut connection) = self.connections.remove(&id) {
            let (_, reported) = connection.pending_since_last();
            let control = &self.services.control;
            control.connections.fetch_sub(1, Ordering::Relaxed);
            control.pending_bytes.fetch_sub(reported, Ordering::Relaxed);
        }
    }

    /// Keeps the gauge of pending bytes.
    fn report(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let (pending, reported) = connection.pending_since_last();
            let gauge = &self.services.control.pending_bytes;
            gauge.fetch_add(pending, Ordering::Relaxed);
            gauge.fetch_sub(reported, Ordering::Relaxed);
        }
    }

    // ---- time and the kernel ----

    fn drain_if_asked(&mut self) {
        if !self.drained
            && let Some(grace_ms) = self.services.control.draining()
        {
            self.drained = true;
            self.drain_owed = Some(grace_ms);
        }
    }

    /// Ends what has taken too long.
    fn expire(&mut self) {
        if self.dials.is_empty() && self.lingering.is_empty() {
            return;
        }
        let now = clock::monotonic_ns();
        while let Some(&(_, id, address)) = self.dials.front().filter(|(at, ..)| *at <= now) {
            self.dials.pop_front();
            let connecting = self.connections.get(&id).is_some_and(|c| c.is_connecting_to(address));
            if connecting {
                self.next_address(id, DialFailure::TimedOut);
            }
        }
        while let Some(&(_, id)) = self.lingering.front().filter(|(at, _)| *at <= now) {
            self.lingering.pop_front();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let Phase::Lingering { since_ns } = connection.phase else { continue };
            if connection.pending() > 0 && now < since_ns.saturating_add(LINGER_PENDING_NS) {
                self.lingering.push_back((now.saturating_add(LINGER_NS), id));
            } else {
                self.forget(id);
            }
        }
    }

    /// Nanoseconds until the enclave or the station has something to do by the clock.
    fn until(&self, enclave: Option<u64>, now: u64) -> Option<u64> {
        let paused = match self.listening {
            Listening::PausedUntil(at) => Some(at),
            Listening::Off | Listening::On => None,
        };
        let dial = self.dials.front().map(|(at, ..)| *at);
        let linger = self.lingering.front().map(|(at, _)| *at);
        [enclave, paused, dial, linger].into_iter().flatten().min().map(|at| at.saturating_sub(now).max(1))
    }

    /// Asks the kernel for news. Returns whether the doorbell rang.
    fn poll(&mut self, timeout_ns: Option<u64>) -> Result<bool, StationError> {
        let mut ready = std::mem::take(&mut self.ready);
        let rung = self.poller.wait(timeout_ns, &mut ready).map_err(system("waiting in epoll"))?;
        for event in ready.drain(..) {
            if event.id == LISTENER {
                self.accept()?;
            } else {
                self.on_ready(event);
            }
        }
        self.ready = ready;
        if rung {
            while let Ok(resolved) = self.resolved.1.try_recv() {
                self.on_resolved(resolved);
            }
            self.requests.take_answers()?;
        }
        Ok(rung)
    }

    fn on_ready(&mut self, event: Ready) {
        let Some(connection) = self.connections.get_mut(&event.id) else { return };
        if matches!(connection.phase, Phase::Connecting { .. }) {
            if event.writable {
                connection.on_ready(event.readable, event.writable, event.hung_up);
                self.on_connected(event.id);
            }
            return;
        }
        connection.on_ready(event.readable, event.writable, event.hung_up);
        let moved = connection.flush();
        self.after_write(event.id, moved);
        self.queue_read(event.id);
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> StationError {
    move |source| StationError::System { doing, source }
}
