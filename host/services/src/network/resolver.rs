//! Names to addresses, on threads of their own because the system's resolver blocks.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use boundary_wire::frame::{ConnId, DialFailure};

use super::Route;
use crate::station::Doorbell;

/// Names resolved at the same time.
const THREADS: usize = 2;
/// Names that may wait; more are refused.
const WAITING: usize = 256;

/// Resolves names for all stations. Idle threads cost nothing.
pub struct Resolver {
    routes: Vec<Route>,
    jobs: SyncSender<Job>,
}

/// What became of a name.
#[derive(Debug)]
pub struct Resolved {
    /// The dial that asked.
    pub conn: ConnId,
    /// At least one address, or why there is none.
    pub addresses: Result<Vec<SocketAddr>, DialFailure>,
}

struct Job {
    conn: ConnId,
    host: String,
    port: u16,
    reply: Sender<Resolved>,
    doorbell: Doorbell,
}

impl Resolver {
    /// A resolver that asks `routes` first.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn start(routes: Vec<Route>) -> std::io::Result<Resolver> {
        let (jobs, waiting) = mpsc::sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let waiting = waiting.clone();
            std::thread::Builder::new().name("resolver".into()).spawn(move || run(&waiting))?;
        }
        Ok(Resolver { routes, jobs })
    }

    /// Addresses that need no asking, or `None` when the answer will come through `reply`, announced by the
    /// doorbell.
    pub(crate) fn resolve(
        &self,
        conn: ConnId,
        host: &str,
        port: u16,
        reply: &Sender<Resolved>,
        doorbell: &Doorbell,
    ) -> Option<Result<Vec<SocketAddr>, DialFailure>> {
        if let Some(route) = self.routes.iter().find(|route| route.matches(host, port)) {
            return Some(Ok(vec![route.to]));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Ok(vec![SocketAddr::new(address, port)]));
        }
        let job = Job { conn, host: host.to_owned(), port, reply: reply.clone(), doorbell: doorbell.clone() };
        self.jobs.try_send(job).err().map(|_| Err(DialFailure::Other))
    }
}

fn run(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { conn, host, port, reply, doorbell }) = job else { return };
        let addresses = match (host.as_str(), port).to_socket_addrs() {
            Ok(found) => Ok(found.collect::<Vec<_>>()),
            Err(_) => Err(DialFailure::NameNotFound),
        };
        let addresses = addresses
            .and_then(|found| if found.is_empty() { Err(DialFailure::NameNotFound) } else { Ok(found) });
        if reply.send(Resolved { conn, addresses }).is_ok() {
            doorbell.ring();
        }
    }
}
