//! What the enclave takes for its CPU.

use std::io;
use std::sync::Arc;

use boundary_ring::ChannelMemory;
use enclave_image::EnclaveError;
use enclave_platform::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
};
use host_services::clock;
use host_services::network::Listener;
use host_services::seats::{Events, Seats, SeatsError, Told};
use host_services::station::{Services, Turn};
use rustix::rand::{GetRandomFlags, getrandom};
use sgx_emu::{EnclaveState, KeyName, KeyPolicy, KeyRequest, SoftwareCpu};
use zeroize::Zeroizing;

/// Why the enclave could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No channel or no station for a thread.
    #[error(transparent)]
    Seats(#[from] SeatsError),
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
    seats: Seats,
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
        let (seats, channels) = Seats::new(workers, services, &listener, events)?;
        let state = EnclaveState::development();
        let identity = Identity {
            mrenclave: state.mrenclave,
            mrsigner: state.mrsigner,
            isv_prod_id: state.isv_prod_id,
            isv_svn: state.isv_svn,
            debug: state.debug(),
        };
        Ok((Arc::new(NativePlatform { cpu, state, identity, policy_page, seats }), channels))
    }

    /// What the enclave's threads find outside.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    fn turn(&self, thread: ThreadIndex, turn: Turn) -> Notified {
        match self.seats.turn(thread.0, turn) {
            Told::Continue => Notified::Continue,
            Told::Shutdown => Notified::Shutdown,
        }
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
                self.seats.wake(other.0);
                Notified::Continue
            }
        }
    }
}
