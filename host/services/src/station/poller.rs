//! epoll and the doorbell.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// Events taken at once.
const EVENTS: usize = 256;

/// What a socket of a connection is watched for: edges, so that one that cannot be served now (no credit, ring
/// full) costs nothing until it can.
const CONNECTION: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What happened. Connections are named by their id; no connection has these two.
pub(super) const LISTENER: u64 = u64::MAX;
const DOORBELL: u64 = u64::MAX - 1;

/// Ends the wait of one station, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// Makes the station come back from its wait, now or as soon as it waits.
    pub fn ring(&self) {
        // The counter can only be full if it is rung already.
        let rung = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        debug_assert!(matches!(rung, Ok(8) | Err(Errno::AGAIN)), "{rung:?}");
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
    doorbell: Doorbell,
}

/// One event of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) id: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer sends no more, or the socket is broken: a read says which.
    pub(super) hung_up: bool,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &doorbell, EventData::new_u64(DOORBELL), EventFlags::IN)?;
        Ok(Poller { epoll, doorbell: Doorbell(Arc::new(doorbell)) })
    }

    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    pub(super) fn watch(&self, socket: impl AsFd, id: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(id), CONNECTION)?)
    }

    /// Watches the listener that stations share: one of them is woken per connection.
    pub(super) fn watch_listener(&self, listener: impl AsFd) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.epoll, listener, EventData::new_u64(LISTENER), flags)?)
    }

    pub(super) fn forget_listener(&self, listener: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, listener)?)
    }

    /// Waits at most `timeout_ns` (without end if `None`) and puts what is ready into `ready`. Returns whether
    /// the doorbell rang.
    pub(super) fn wait(&self, timeout_ns: Option<u64>, ready: &mut Vec<Ready>) -> io::Result<bool> {
        // Whole milliseconds, rounded up: epoll_wait takes no finer ones, and too early is a wasted round.
        let timeout = timeout_ns.map(|ns| {
            let millis = i64::try_from(ns.div_ceil(1_000_000)).unwrap_or(i64::MAX).min(MAX_WAIT_MS);
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        let mut space = [MaybeUninit::<Event>::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut space[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut rung = false;
        for event in events {
            let (id, flags) = (event.data.u64(), event.flags);
            if id == DOORBELL {
                rung = true;
                continue;
            }
            let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            ready.push(Ready {
                id,
                readable: flags.contains(EventFlags::IN) || broken,
                writable: flags.contains(EventFlags::OUT) || broken,
                hung_up: flags.contains(EventFlags::RDHUP) || broken,
            });
        }
        if rung {
            match rustix::io::read(&self.doorbell.0, &mut [0u8; 8]) {
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rung)
    }
}

/// epoll_wait's limit is about 24 days.
const MAX_WAIT_MS: i64 = 24 * 3600 * 1000;
