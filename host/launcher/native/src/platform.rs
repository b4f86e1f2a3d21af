//! What the enclave takes for its CPU.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boundary_ring::{ChannelMemory, GeometryError, host};
use enclave_image::EnclaveError;
use enclave_platform::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
};
use host_services::clock;
use host_services::network::Listener;
use host_services::station::{Doorbell, Services, Station, StationError, Turn};
use rustix::rand::{GetRandomFlags, getrandom};
use sgx_emu::{EnclaveState, KeyName, KeyPolicy, KeyRequest, SoftwareCpu};
use zeroize::Zeroizing;

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
        thread: ThreadIndex,
        /// How it ended.
        result: Result<(), String>,
    },
    /// A thread's station has stopped. The thread is asked to end.
    StationStopped {
        /// The thread.
        thread: ThreadIndex,
        /// Why.
        error: StationError,
    },
}

/// Who is told.
pub type Events = Box<dyn Fn(Event) + Send + Sync>;

/// Why the enclave could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No memory for a channel.
    #[error("no channel for an enclave thread: {0}")]
    Channel(#[from] GeometryError),
    /// No epoll for a thread.
    #[error("no station for an enclave thread: {0}")]
    Station(#[from] StationError),
    /// No thread.
    #[error("no thread for the enclave: {0}")]
    Thread(io::Error),
    /// The enclave refuses its settings.
    #[error(transparent)]
    Enclave(#[from] EnclaveError),
}

/// The platform of an enclave that runs in this process. Protects nothing.
pub struct NativePlatform {
    cpu: SoftwareCpu,
    state: EnclaveState,
    identity: Identity,
    policy_page: Vec<u8>,
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
    invited: AtomicBool,
    stopped: AtomicBool,
}

impl NativePlatform {
    /// The platform for `workers` workers and a control thread, and the enclave's side of their channels in
    /// the order of [`ThreadIndex`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        cpu: SoftwareCpu,
        policy_page: Vec<u8>,
        workers: u16,
        services: Arc<Services>,
        listener: Listener,
        events: Events,
    ) -> Result<(Arc<Self>, Vec<ChannelMemory>), StartError> {
        let (mut seats, mut channels) = (Vec::new(), Vec::new());
        for thread in 0..=workers {
            let (here, there) = host::channel(RING)?;
            let listener = (thread < workers).then(|| listener.clone());
            let station = Station::new(thread, here, services.clone(), listener)?;
            channels.push(there);
            seats.push(Seat {
                doorbell: station.doorbell(),
                station: Mutex::new(station),
                invited: AtomicBool::new(false),
                stopped: AtomicBool::new(false),
            });
        }
        let state = EnclaveState::development();
        let identity = Identity {
            mrenclave: state.mrenclave,
            mrsigner: state.mrsigner,
            isv_prod_id: state.isv_prod_id,
            isv_svn: state.isv_svn,
            debug: state.debug(),
        };
        let invited = AtomicU16::new(0);
        let platform =
            NativePlatform { cpu, state, identity, policy_page, services, seats, workers, invited, events };
        Ok((Arc::new(platform), channels))
    }

    /// Asks every thread of the enclave to end within `grace`.
    pub fn drain(&self, grace: Duration) {
        self.services.control.drain(grace);
        for seat in &self.seats {
            seat.doorbell.ring();
        }
    }

    /// An enclave thread has left for good: what is pending is sent within `linger`, the rest is dropped.
    pub fn ended(&self, thread: ThreadIndex, result: Result<(), String>, linger: Duration) {
        if let Some(seat) = self.seats.get(usize::from(thread.0)) {
            let linger = u64::try_from(linger.as_nanos()).unwrap_or(u64::MAX);
            let until = clock::monotonic_ns().saturating_add(linger);
            seat.station.lock().unwrap_or_else(PoisonError::into_inner).linger(until);
        }
        (self.events)(Event::Ended { thread, result });
    }

    fn turn(&self, thread: ThreadIndex, turn: Turn) -> Notified {
        let Some(seat) = self.seats.get(usize::from(thread.0)) else { return Notified::Shutdown };
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
        if stop { Notified::Shutdown } else { Notified::Continue }
    }

    fn key_request(request: &SealKeyRequest) -> KeyRequest {
        KeyRequest {
            name: KeyName::SEAL,
            policy: KeyPolicy { mrenclave: true, mrsigner: false },
            isv_svn: request.isv_svn,
            cpu_svn: request.cpu_svn,
            attribute_mask: [0xff; 16],
            key_id: request.key_id,
            misc_mask: u32::MAX,
        }
    }
}

impl Platform for NativePlatform {
    fn kind(&self) -> Kind {
        Kind::Native
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn policy_page(&self) -> &[u8] {
        &self.policy_page
    }

    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
        let mut key_id = [0; 32];
        self.random(&mut key_id)?;
        Ok(SealKeyRequest { key_id, cpu_svn: self.cpu.cpu_svn(), isv_svn: self.identity.isv_svn })
    }

    fn seal_key(&self, request: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
        let key = self.cpu.egetkey(&self.state, &Self::key_request(request)).map_err(KeyError)?;
        Ok(Zeroizing::new(key))
    }

    fn report(&self, target: &[u8; 512], data: &[u8; 64]) -> [u8; 432] {
        self.cpu.ereport(&self.state, target, data)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), RandomError> {
        let mut rest = out;
        while !rest.is_empty() {
            let n = match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return Err(RandomError),
            };
            rest = rest.get_mut(n..).unwrap_or_default();
        }
        Ok(())
    }

    fn host_time(&self) -> HostTime {
        let clock::Time { unix_ns, monotonic_ns } = clock::now();
        HostTime { unix_ns, monotonic_ns }
    }

    fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified {
        match notify {
            Notify::Poll => self.turn(thread, Turn::Poll),
            Notify::Wait { until_ns } => self.turn(thread, Turn::Wait { until_ns }),
            Notify::Wake { thread: other } => {
                if let Some(seat) = self.seats.get(usize::from(other.0)) {
                    seat.doorbell.ring();
                }
                Notified::Continue
            }
        }
    }
}
