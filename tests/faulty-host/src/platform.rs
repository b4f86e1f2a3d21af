//! What the enclave takes for its CPU: keys of a software CPU, time as the host says, `notify` as a turn.

use std::sync::Arc;

use enclave_platform::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
};
use sgx_emu::{EnclaveState, KeyName, KeyPolicy, KeyRequest, SoftwareCpu};
use zeroize::Zeroizing;

use crate::clock::Time;
use crate::threads::Turns;

pub(crate) struct FaultyPlatform {
    pub(crate) cpu: Arc<SoftwareCpu>,
    pub(crate) state: EnclaveState,
    pub(crate) identity: Identity,
    pub(crate) policy_page: Vec<u8>,
    pub(crate) time: Arc<Time>,
    pub(crate) turns: Arc<Turns>,
}

impl FaultyPlatform {
    pub(crate) fn new(
        cpu: Arc<SoftwareCpu>,
        policy_page: Vec<u8>,
        time: Arc<Time>,
        turns: Arc<Turns>,
    ) -> Self {
        let state = EnclaveState::development();
        let identity = Identity {
            mrenclave: state.mrenclave,
            mrsigner: state.mrsigner,
            isv_prod_id: state.isv_prod_id,
            isv_svn: state.isv_svn,
            debug: state.debug(),
        };
        FaultyPlatform { cpu, state, identity, policy_page, time, turns }
    }
}

impl Platform for FaultyPlatform {
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
        let request = KeyRequest {
            name: KeyName::SEAL,
            policy: KeyPolicy { mrenclave: true, mrsigner: false },
            isv_svn: request.isv_svn,
            cpu_svn: request.cpu_svn,
            attribute_mask: [0xff; 16],
            key_id: request.key_id,
            misc_mask: u32::MAX,
        };
        self.cpu.egetkey(&self.state, &request).map(Zeroizing::new).map_err(KeyError)
    }

    fn report(&self, target: &[u8; 512], data: &[u8; 64]) -> [u8; 432] {
        self.cpu.ereport(&self.state, target, data)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), RandomError> {
        rustls_graviola::default_provider().secure_random.fill(out).map_err(|_| RandomError)
    }

    fn host_time(&self) -> HostTime {
        self.time.claimed()
    }

    fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified {
        self.turns.notify(thread, notify)
    }
}
