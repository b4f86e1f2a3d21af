//! The seats of an enclave: one station per enclave thread, and what all of them tell.
//!
//! A launcher gives every enclave thread its seat. When the thread leaves the enclave by `notify`, it takes its
//! turn here ([`Seats::turn`]); when it has left for good, the launcher says so ([`Seats::ended`]). Who runs the
//! enclave hears of what matters through [`Events`].

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boundary_ring::{ChannelMemory, GeometryError, host};

use crate::clock;
use crate::network::Listener;
use crate::station::{Doorbell, Services, Station, StationError, Turn};

/// Bytes of each ring: room for several of the longest frames, and small enough to stay in a core's cache.
const RING: usize = 512 * 1024;

/// What happens in a running enclave, told by its threads.
#[derive(Debug)]
pub enum Event {
    /// Every worker has asked for connections.
    Serving,
    /// A thread has left the enclave for good. `Err`: why it gave up.
    Ended {
        /// The thread.
        thread: u16,
        /// How it ended.
        result: Result<(), String>,
    },
    /// A thread's station has stopped. The thread is asked to end.
    StationStopped {
        /// The thread.
        thread: u16,
        /// Why.
        error: StationError,
    },
}

/// Who is told.
pub type Events = Box<dyn Fn(Event) + Send + Sync>;

/// Why there are no seats for an enclave.
#[derive(Debug, thiserror::Error)]
pub enum SeatsError {
    /// No memory for a channel.
    #[error("no channel for an enclave thread: {0}")]
    Channel(#[from] GeometryError),
    /// No epoll for a thread.
    #[error("no station for an enclave thread: {0}")]
    Station(#[from] StationError),
}

/// What an enclave thread is told after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Go on.
    Continue,
    /// End: the host is stopping, or can do nothing more for this thread.
    Shutdown,
}

/// The addresses of a thread's channel, for an enclave that is told them: bytes from, bytes to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The ring whose messages the enclave takes.
    pub to_enclave: std::ops::Range<usize>,
    /// The ring whose messages the host takes.
    pub to_host: std::ops::Range<usize>,
}

/// The seats of one enclave: workers `0..workers`, then the control thread.
pub struct Seats {
    services: Arc<Services>,
    seats: Vec<Seat>,
    workers: u16,
    invited: AtomicU16,
    events: Events,
}

/// What one enclave thread finds outside.
struct Seat {
    doorbell: Doorbell,
    /// Only its own thread uses it, so the lock is never contended.
    station: Mutex<Station>,
    addresses: Addresses,
    invited: AtomicBool,
    stopped: AtomicBool,
}

impl Seats {
    /// Seats for `workers` workers, which share `listener`, and a control thread; and the enclave's ends of
    /// their channels in the same order.
    ///
    /// # Errors
    /// [`SeatsError`].
    pub fn new(
        workers: u16,
        services: Arc<Services>,
        listener: &Listener,
        events: Events,
    ) -> Result<(Seats, Vec<ChannelMemory>), SeatsError> {
        let (mut seats, mut channels) = (Vec::new(), Vec::new());
        for thread in 0..=workers {
            let (here, there) = host::channel(RING)?;
            let addresses = Addresses { to_enclave: here.to_enclave.range(), to_host: here.to_host.range() };
            let listener = (thread < workers).then(|| listener.clone());
            let station = Station::new(thread, here, services.clone(), listener)?;
            channels.push(there);
            seats.push(Seat {
                doorbell: station.doorbell(),
                station: Mutex::new(station),
                addresses,
                invited: AtomicBool::new(false),
                stopped: AtomicBool::new(false),
            });
        }
        Ok((Seats { services, seats, workers, invited: AtomicU16::new(0), events }, channels))
    }

    /// Threads that serve clients. One more has a seat: control.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Where the channels lie, in the order of threads.
    pub fn addresses(&self) -> impl Iterator<Item = &Addresses> {
        self.seats.iter().map(|seat| &seat.addresses)
    }

    /// What the stations use.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The visit of enclave thread `thread`: bytes move, then it is told what to do. A thread that has no seat
    /// is told to end.
    pub fn turn(&self, thread: u16, turn: Turn) -> Told {
        let Some(seat) = self.seats.get(usize::from(thread)) else { return Told::Shutdown };
        let mut station = seat.station.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = station.turn(turn)
            && !seat.stopped.swap(true, Ordering::Relaxed)
        {
            (self.events)(Event::StationStopped { thread, error });
        }
        if station.is_invited()
            && !seat.invited.swap(true, Ordering::Relaxed)
            && self.invited.fetch_add(1, Ordering::Relaxed) + 1 == self.workers
        {
            (self.events)(Event::Serving);
        }
        let stop = seat.stopped.load(Ordering::Relaxed) || self.services.control.draining().is_some();
        if stop { Told::Shutdown } else { Told::Continue }
    }

    /// Makes a thread come back from its wait. One that has no seat is nobody.
    pub fn wake(&self, thread: u16) {
        if let Some(seat) = self.seats.get(usize::from(thread)) {
            seat.doorbell.ring();
        }
    }

    /// Makes every thread come back from its wait.
    pub fn wake_all(&self) {
        self.seats.iter().for_each(|seat| seat.doorbell.ring());
    }

    /// Asks every thread of the enclave to end within `grace`.
    pub fn drain(&self, grace: Duration) {
        self.services.control.drain(grace);
        self.wake_all();
    }

    /// An enclave thread has left for good: what is pending is sent within `linger`, the rest is dropped.
    pub fn ended(&self, thread: u16, result: Result<(), String>, linger: Duration) {
        if let Some(seat) = self.seats.get(usize::from(thread)) {
            let linger = u64::try_from(linger.as_nanos()).unwrap_or(u64::MAX);
            let until = clock::monotonic_ns().saturating_add(linger);
            seat.station.lock().unwrap_or_else(PoisonError::into_inner).linger(until);
        }
        (self.events)(Event::Ended { thread, result });
    }
}
