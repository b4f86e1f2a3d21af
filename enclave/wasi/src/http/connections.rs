//! Connections of one application to others, kept for its next requests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enclave_platform::ThreadIndex;
use enclave_worker::{Handle, HyperIo, Task};
use hyper::client::conn::http1::{self, SendRequest};

use super::ErrorCode;
use super::outgoing_handler::{protocol, unreachable};
use super::pipe::Reader;
use crate::egress::{self, Destination, EgressPolicy};

/// Connections at a time, those that are kept included.
const MOST: u32 = 32;
/// Connections that are kept.
const MOST_KEPT: usize = 8;
/// How long one is kept: less than most servers do, so that few requests meet a connection that is just closing.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// The head of a response.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// One per application. A connection belongs to the worker that opened it.
#[derive(Default)]
pub struct Connections {
    open: Arc<AtomicU32>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    next: u64,
    idle: Vec<Idle>,
}

struct Idle {
    id: u64,
    worker: ThreadIndex,
    to: (String, u16),
    connection: Connection,
    /// Ends it after its time.
    _timer: Task<()>,
}

/// One connection: it ends when this is dropped.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Reader>,
    _driver: Task<()>,
    _place: Place,
}

/// A place among the connections that an application may have.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Result<Place, ErrorCode> {
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < MOST).then_some(open + 1));
        if taken.is_err() {
            // One that is only kept makes room.
            let kept = self.lock().idle.pop();
            if kept.is_none() {
                return Err(ErrorCode::ConnectionLimitReached);
            }
            drop(kept);
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Place(Arc::clone(&self.open)))
    }

    /// One that was kept and can take a request.
    pub(super) fn reuse(&self, host: &Handle, to: &Destination) -> Option<Connection> {
        let mut dead = Vec::new();
        let mut kept = self.lock();
        let fits = |idle: &Idle| idle.worker == host.index() && idle.to.0 == to.host && idle.to.1 == to.port;
        let found = loop {
            let Some(at) = kept.idle.iter().rposition(|idle| fits(idle) && idle.connection.sender.is_ready())
            else {
                break None;
            };
            let idle = kept.idle.swap_remove(at);
            if idle.connection.sender.is_closed() {
                dead.push(idle);
            } else {
                break Some(idle.connection);
            }
        };
        drop(kept);
        drop(dead);
        found
    }

    /// A new one.
    pub(super) async fn open(
        &self,
        host: &Handle,
        egress: &EgressPolicy,
        to: &Destination,
        limit: Duration,
    ) -> Result<Connection, ErrorCode> {
        let place = self.place()?;
        let stream = egress::connect(host, egress, to, limit).await.map_err(|error| unreachable(&error))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(HyperIo(stream))
            .await
            .map_err(|error| protocol(&error))?;
        let driver = host.spawn(async move {
            // Its error reaches the request as well.
            if connection.await.is_err() {}
        });
        Ok(Connection { sender, _driver: driver, _place: place })
    }

    /// Keeps one whose exchange is over for the next request.
    pub(super) fn keep(self: &Arc<Self>, host: &Handle, to: &Destination, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let oldest = {
            let mut kept = self.lock();
            let id = kept.next;
            kept.next += 1;
            let (pool, timer) = (Arc::downgrade(self), host.sleep(KEPT_FOR));
            let timer = host.spawn(async move {
                timer.await;
                let Some(pool) = pool.upgrade() else { return };
                let over = {
                    let mut kept = pool.lock();
                    let at = kept.idle.iter().position(|idle| idle.id == id);
                    at.map(|at| kept.idle.swap_remove(at))
                };
                if let Some(Idle { connection, _timer: timer, .. }) = over {
                    drop(connection);
                    // This task itself.
                    timer.detach();
                }
            });
            let to = (to.host.clone(), to.port);
            let oldest = (kept.idle.len() >= MOST_KEPT).then(|| {
                let at = (0..kept.idle.len()).min_by_key(|at| kept.idle.get(*at).map(|idle| idle.id));
                kept.idle.swap_remove(at.unwrap_or(0))
            });
            kept.idle.push(Idle { id, worker: host.index(), to, connection, _timer: timer });
            oldest
        };
        drop(oldest);
    }
}
