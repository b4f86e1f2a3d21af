//! The host's half of one enclave thread.
//!
//! A station owns the host's ends of the thread's channel, an epoll instance and the sockets of the thread's
//! connections. It runs only while its thread is outside the enclave ([`Station::turn`]), so it never races
//! with the enclave for the channel and needs no thread of its own.
//!
//! One turn: take every frame that the enclave sent and act on it; push what is owed to the enclave; receive
//! from readable sockets straight into the ring, one portion per connection in turn, until the ring is full or
//! nothing is readable; ask epoll for news. A turn that waits ends when there is something for the enclave,
//! when the doorbell rings, or when the enclave's next timer is due.
//!
//! # What is bounded
//!
//! A connection holds what the enclave sent and the peer has not taken, at most
//! [`frame::INITIAL_CREDIT`](boundary_wire::frame::INITIAL_CREDIT) bytes; nothing is read from a socket that
//! does not fit into the ring and the enclave's credit. Sockets are watched for edges, so one that may not be
//! read now costs nothing. No connection is accepted that the enclave has not asked for, and none while the
//! process is out of descriptors. Replies that the ring does not take stop the station from taking requests.

mod connection;
mod poller;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use boundary_ring::RingError;
use boundary_ring::host::{Channel, Consumer, Producer};
use boundary_wire::frame::{ConnId, DialFailure, FrameError, ToEnclave, ToHost};
use boundary_wire::rpc::{LogLevel, ReassemblyError, RpcError};

use crate::clock;
use crate::log::Log;
use crate::network::{self, AcceptError, Listener, Resolved, Resolver};
use crate::quoting::Quoting;
use crate::storage::Engine;
use connection::{Connection, Moved, Phase};
pub use poller::Doorbell;
use poller::{LISTENER, Poller, Ready};
use requests::Requests;

/// Connections accepted in one turn, so that stations share a burst.
const ACCEPT_AT_ONCE: u32 = 16;
/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;
/// Time for one address to answer.
const DIAL_NS: u64 = 5_000_000_000;
/// Time for a peer to end a connection that the enclave has ended, so that nothing on its way is lost.
const LINGER_NS: u64 = 2_000_000_000;
/// Time for a peer to take what is pending on such a connection.
const LINGER_PENDING_NS: u64 = 30_000_000_000;
/// An enclave that polls a station that has stopped is slowed down to this.
const REST_NS: u64 = 10_000_000;
/// Frames taken from the enclave in one turn.
const MAX_FRAMES: u32 = 4096;
/// Reads in one turn.
const MAX_READS: u32 = 1024;

/// What all stations of a host use.
pub struct Services {
    /// The enclave's records.
    pub storage: Arc<dyn Engine>,
    /// The quoting enclave, if this host has one.
    pub quoting: Option<Arc<dyn Quoting>>,
    /// Where log lines go.
    pub log: Log,
    /// Names to addresses.
    pub resolver: Resolver,
    /// What the host has to say to all its stations.
    pub control: Control,
}

/// Shared by the stations of a host and whoever watches them.
#[derive(Debug, Default)]
pub struct Control {
    /// Milliseconds of grace plus one, once the host wants the enclave to stop.
    draining: AtomicU64,
    connections: AtomicUsize,
    pending_bytes: AtomicUsize,
    most_connections: AtomicUsize,
}

impl Control {
    /// For at most `most_connections` connections on all stations together.
    pub fn new(most_connections: usize) -> Self {
        Control { most_connections: AtomicUsize::new(most_connections), ..Control::default() }
    }

    /// Asks the enclave to stop within `grace`. Ring every station's doorbell afterwards.
    pub fn drain(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        self.draining.store(millis + 1, Ordering::Release);
    }

    /// The grace in milliseconds, once the host wants the enclave to stop.
    pub fn draining(&self) -> Option<u32> {
        let millis = self.draining.load(Ordering::Acquire).checked_sub(1)?;
        Some(u32::try_from(millis).unwrap_or(u32::MAX))
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes that wait for peers to take them.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.connections() < self.most_connections.load(Ordering::Relaxed)
    }
}

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

/// Why a station stopped: the enclave broke the protocol, or the operating system failed.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A ring's cursor or message cannot be.
    #[error("the enclave's channel is broken: {0}")]
    Ring(#[from] RingError),
    /// A message that is no frame.
    #[error("the enclave sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame that must not come now.
    #[error("the enclave broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A request that cannot be put together.
    #[error("the enclave sent a request in pieces that do not fit: {0}")]
    Fragment(#[from] ReassemblyError),
    /// A request that does not parse, or a reply that cannot be sent.
    #[error("a request of the enclave is malformed: {0}")]
    Request(#[from] RpcError),
    /// epoll or a descriptor failed.
    #[error("{doing} failed: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A frame of the enclave that must not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Data beyond the credit it had.
    #[error("more data on connection {id} than it had credit for")]
    CreditExceeded {
        /// The connection.
        id: ConnId,
    },
    /// Credit for bytes that were never sent.
    #[error("credit on connection {id} for what was never sent")]
    CreditNeverSpent {
        /// The connection.
        id: ConnId,
    },
    /// Data or a second end after the end.
    #[error("connection {id} went on after its end")]
    AfterEnd {
        /// The connection.
        id: ConnId,
    },
    /// A frame for a connection that never was.
    #[error("connection {id} never was")]
    Unknown {
        /// The connection.
        id: ConnId,
    },
    /// A dial with an id that is not new.
    #[error("connection {id} was dialed before")]
    Reused {
        /// The connection.
        id: ConnId,
    },
    /// A frame that only an open connection may get.
    #[error("connection {id} is not open")]
    NotOpen {
        /// The connection.
        id: ConnId,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    /// Not watched: no credit, no room, or no listener.
    Off,
    On,
    PausedUntil(u64),
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

    // ---- from the enclave ----

    /// Acts on what the enclave sent. `true`: there may be more.
    fn take_frames(&mut self) -> Result<bool, StationError> {
        for _ in 0..MAX_FRAMES {
            if self.requests.is_blocked() {
                self.requests.push(&mut self.ring, &mut self.pushed)?;
                if self.requests.is_blocked() {
                    return Ok(false);
                }
            }
            // The consumer is borrowed by the message, the rest of the station by what acts on it.
            let Station { from_enclave, connections, .. } = self;
            let Some(message) = from_enclave.peek()? else { return Ok(false) };
            let news = match ToHost::decode(message.host_slice())? {
                ToHost::Data { conn, bytes } => match connections.get_mut(&conn.0) {
                    // Sent from the ring itself.
                    Some(connection) => News::Data(conn, connection.on_data_if_open(bytes)?),
                    None => News::Late(conn),
                },
                ToHost::Request { id, last, bytes } => {
                    self.requests.take(id, last, bytes, self.thread, &self.services)?;
                    News::Nothing
                }
                ToHost::Dial { conn, port, host } => News::Dial(conn, host.to_owned(), port),
                ToHost::Credit { conn: ConnId::LISTENER, bytes } => News::Invited(bytes),
                ToHost::Credit { conn, bytes } => News::Credit(conn, bytes),
                ToHost::Eof { conn } => News::Eof(conn),
                ToHost::Reset { conn } => News::Reset(conn),
                ToHost::Closed { conn } => News::Closed(conn),
            };
            message.consume();
            self.act(news)?;
        }
        Ok(true)
    }

    fn act(&mut self, news: News) -> Result<(), StationError> {
        match news {
            News::Nothing => {}
            News::Late(conn) => self.check_late(conn)?,
            News::Data(conn, moved) => self.after_write(conn.0, moved),
            News::Dial(conn, host, port) => self.dial(conn, &host, port)?,
            News::Invited(count) => {
                self.invited = true;
                self.accept_credit = self.accept_credit.saturating_add(count);
            }
            News::Credit(conn, bytes) => {
                if let Some(connection) = self.open(conn)? {
                    connection.on_credit(bytes)?;
                    self.queue_read(conn.0);
                }
            }
            News::Eof(conn) => {
                if let Some(connection) = self.open(conn)? {
                    connection.on_eof()?;
                }
            }
            News::Reset(conn) => {
                self.check_late(conn)?;
                if let Some(connection) = self.connections.get_mut(&conn.0) {
                    connection.abort();
                    self.forget(conn.0);
                }
            }
            News::Closed(conn) => {
                let now = clock::monotonic_ns();
                if let Some(connection) = self.open(conn)? {
                    if connection.on_closed(now) {
                        self.forget(conn.0);
                    } else {
                        self.lingering.push_back((now.saturating_add(LINGER_NS), conn.0));
                        self.queue_read(conn.0);
                    }
                }
            }
        }
        Ok(())
    }

    /// An open connection; `None` for one that was open and has been forgotten.
    fn open(&mut self, conn: ConnId) -> Result<Option<&mut Connection>, StationError> {
        self.check_late(conn)?;
        match self.connections.get_mut(&conn.0) {
            Some(c) if matches!(c.phase, Phase::Open) => Ok(Some(c)),
            Some(_) => Err(Violation::NotOpen { id: conn }.into()),
            None => Ok(None),
        }
    }

    /// Frames may cross with the `Reset` that forgot their connection; only one that never was is a violation.
    fn check_late(&self, conn: ConnId) -> Result<(), StationError> {
        let last = if conn.is_dialed() { self.last_dialed } else { self.last_accepted };
        let first = if conn.is_dialed() { ConnId::dialed(1) } else { ConnId::accepted(1) };
        if (first..=last).contains(&conn) { Ok(()) } else { Err(Violation::Unknown { id: conn }.into()) }
    }

    // ---- connections out ----

    fn dial(&mut self, conn: ConnId, host: &str, port: u16) -> Result<(), StationError> {
        if conn <= self.last_dialed {
            return Err(Violation::Reused { id: conn }.into());
        }
        self.last_dialed = conn;
        self.insert(Connection::resolving(conn));
        let doorbell = self.poller.doorbell();
        let known = self.services.resolver.resolve(conn, host, port, &self.resolved.0, doorbell);
        if let Some(addresses) = known {
            self.on_resolved(Resolved { conn, addresses });
        }
        Ok(())
    }

    fn on_resolved(&mut self, Resolved { conn, addresses }: Resolved) {
        match addresses {
            Ok(addresses) => self.try_addresses(conn.0, addresses.into(), DialFailure::NameNotFound),
            Err(failure) => self.dialed(conn.0, Err(failure)),
        }
    }

    /// Tries one address after the other.
    fn try_addresses(&mut self, id: u64, mut addresses: VecDeque<SocketAddr>, mut failure: DialFailure) {
        while let Some(address) = addresses.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let tried = network::connect(address).and_then(|socket| {
                self.poller.watch(&socket, id)?;
                Ok(socket)
            });
            match tried {
                Ok(socket) => {
                    connection.socket = Some(socket);
                    connection.phase = Phase::Connecting { to: address, others: addresses };
                    self.dials.push_back((clock::monotonic_ns().saturating_add(DIAL_NS), id, address));
                    return;
                }
                Err(error) => failure = network::dial_failure(&error),
            }
        }
        self.dialed(id, Err(failure));
    }

    /// A socket that was connecting has news.
    fn on_connected(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(socket) = &connection.socket else { return };
        match network::connected(socket) {
            Ok(()) => {
                connection.phase = Phase::Open;
                self.dialed(id, Ok(()));
            }
            Err(error) => self.next_address(id, network::dial_failure(&error)),
        }
    }

    fn next_address(&mut self, id: u64, failure: DialFailure) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Phase::Connecting { others, .. } = &mut connection.phase {
            let others = std::mem::take(others);
            connection.socket = None;
            self.try_addresses(id, others, failure);
        }
    }

    fn dialed(&mut self, id: u64, result: Result<(), DialFailure>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.owed.dialed = Some(result);
            self.queue_owed(id);
        }
    }

    // ---- connections in ----

    fn update_listener(&mut self) -> Result<(), StationError> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let wanted = self.accept_credit > 0 && !self.drained && self.services.control.has_room();
        match self.listening {
            Listening::On if !wanted => {
                self.poller.forget_listener(listener).map_err(system("leaving the listener"))?;
                self.listening = Listening::Off;
            }
            Listening::Off if wanted => {
                self.poller.watch_listener(listener).map_err(system("watching the listener"))?;
                self.listening = Listening::On;
            }
            Listening::PausedUntil(at) if at <= clock::monotonic_ns() => {
                self.listening = Listening::Off;
                return self.update_listener();
            }
            _ => {}
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), StationError> {
        let Some(listener) = self.listener.clone() else { return Ok(()) };
        for _ in 0..ACCEPT_AT_ONCE.min(self.accept_credit) {
            if self.drained || !self.services.control.has_room() {
                break;
            }
            match listener.accept() {
                Ok((socket, peer)) => {
                    let id = ConnId::accepted(self.last_accepted.0 + 1);
                    if self.poller.watch(&socket, id.0).is_err() {
                        continue;
                    }
                    self.last_accepted = id;
                    self.accept_credit -= 1;
                    self.insert(Connection::accepted(id, socket, peer));
                    self.queue_owed(id.0);
                    self.queue_read(id.0);
                }
                Err(AcceptError::Empty) => break,
                Err(AcceptError::Retry) => {}
                Err(AcceptError::Exhausted) => {
                    let text = "out of file descriptors or memory: no new connections for a moment \
                                (raise the limit with `ulimit -n`)";
                    self.services.log.host(LogLevel::Warn, text);
                    self.poller.forget_listener(&listener).map_err(system("leaving the listener"))?;
                    let until = clock::monotonic_ns().saturating_add(ACCEPT_PAUSE_NS);
                    self.listening = Listening::PausedUntil(until);
                    break;
                }
            }
        }
        Ok(())
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

    // ---- to the enclave ----

    /// Pushes what the ring takes: what is owed, replies, then data.
    fn feed(&mut self) -> Result<(), StationError> {
        if let Some(grace_ms) = self.drain_owed {
            if !push(&mut self.ring, &ToEnclave::Drain { grace_ms })? {
                return Ok(());
            }
            self.drain_owed = None;
            self.pushed += 1;
        }
        if !self.pay_all()? || !self.requests.push(&mut self.ring, &mut self.pushed)? {
            return Ok(());
        }
        for _ in 0..MAX_READS {
            let Some(id) = self.readable.pop_front() else { break };
            if !self.read(id)? {
                return Ok(());
            }
        }
        // Ends that were found by reading go out behind the data.
        self.pay_all()?;
        Ok(())
    }

    /// Pays what connections owe. `false`: the ring is full.
    fn pay_all(&mut self) -> Result<bool, StationError> {
        while let Some(&id) = self.owing.front() {
            if !self.pay(id)? {
                return Ok(false);
            }
            self.owing.pop_front();
        }
        Ok(true)
    }

    /// Pays what one connection owes. `false`: the ring is full.
    fn pay(&mut self, id: u64) -> Result<bool, StationError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        let failed_dial = matches!(connection.owed.dialed, Some(Err(_)));
        let over = connection.owed.reset || failed_dial;
        let owes = connection.owes();
        let paid = connection.pay(&mut self.ring)?;
        self.pushed += u64::from(owes);
        if paid {
            connection.owed.queued = false;
            if over {
                self.forget(id);
            } else {
                self.queue_read(id);
            }
        }
        Ok(paid)
    }

    /// Reads one connection once. `false`: the ring is full.
    fn read(&mut self, id: u64) -> Result<bool, StationError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        connection.in_turn = false;
        if !connection.can_read() {
            return Ok(true);
        }
        let lingering = connection.is_lingering();
        let moved = if lingering { connection.discard() } else { connection.receive(&mut self.ring)? };
        self.pushed += u64::from(!lingering && moved == Moved::Some);
        match moved {
            Moved::Broken => self.broken(id),
            Moved::RingFull => {
                connection.in_turn = true;
                self.readable.push_front(id);
                return Ok(false);
            }
            Moved::Some | Moved::Nothing if connection.is_over() => self.forget(id),
            Moved::Some => self.queue_read(id),
            Moved::Nothing => {
                if connection.owes() {
                    self.queue_owed(id);
                }
            }
        }
        Ok(true)
    }

    /// The socket is of no further use: the enclave is told, unless it has let go.
    fn broken(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.is_lingering() {
            self.forget(id);
            return;
        }
        connection.abort();
        connection.owed.reset = true;
        self.report(id);
        self.queue_owed(id);
    }

    fn after_write(&mut self, id: u64, moved: Moved) {
        self.report(id);
        if moved == Moved::Broken {
            self.broken(id);
            return;
        }
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.is_over() {
            self.forget(id);
        } else if connection.owes() {
            self.queue_owed(id);
        }
    }

    fn queue_owed(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.owed.queued, true)
        {
            self.owing.push_back(id);
        }
    }

    fn queue_read(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.can_read()
            && !std::mem::replace(&mut connection.in_turn, true)
        {
            self.readable.push_back(id);
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

/// What a frame asks of the station, once the message it came in is consumed.
enum News {
    Nothing,
    Late(ConnId),
    Data(ConnId, Moved),
    Dial(ConnId, String, u16),
    Invited(u32),
    Credit(ConnId, u32),
    Eof(ConnId),
    Reset(ConnId),
    Closed(ConnId),
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> StationError {
    move |source| StationError::System { doing, source }
}

/// Pushes one frame. `false`: the ring is full.
fn push(ring: &mut Producer, frame: &ToEnclave<'_>) -> Result<bool, StationError> {
    Ok(ring.push(&frame.encode()?.parts())?)
}
