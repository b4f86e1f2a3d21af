//! A machine: a software CPU with a quoting enclave, and the PKI that vouches for it.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use serde_json::Value;
use sgx_emu::quoting::{DevelopmentPki, PkiOptions, PlatformFacts, QuotingEnclave};
use sgx_emu::{EnclaveState, SoftwareCpu};
use time::OffsetDateTime;

pub(crate) struct Machine {
    cpu: Arc<SoftwareCpu>,
    pub(crate) pki: DevelopmentPki,
    quoting: QuotingEnclave,
}

impl Machine {
    pub(crate) fn new(issued: OffsetDateTime) -> Result<Self> {
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        let pki = DevelopmentPki::generate(&PlatformFacts::development(), issued)?;
        let quoting = QuotingEnclave::new(Arc::clone(&cpu), &pki)?;
        Ok(Machine { cpu, pki, quoting })
    }

    /// A quote about that enclave.
    pub(crate) fn quote(&self, enclave: &EnclaveState, data: &[u8; 64]) -> Result<Vec<u8>> {
        quote_from(&self.quoting, &self.cpu, enclave, data)
    }

    /// A quote of a quoting enclave that anybody can look into.
    pub(crate) fn quote_of_debug_quoting_enclave(
        &self,
        enclave: &EnclaveState,
        data: &[u8; 64],
    ) -> Result<Vec<u8>> {
        let mut state = QuotingEnclave::state();
        state.attributes[0] |= 0x02;
        let quoting = QuotingEnclave::with_state(Arc::clone(&self.cpu), &self.pki, state)?;
        quote_from(&quoting, &self.cpu, enclave, data)
    }

    /// Collateral of the same platform that says something else.
    pub(crate) fn collateral(&self, issued: OffsetDateTime, options: &PkiOptions) -> Result<Value> {
        Ok(serde_json::from_str(&self.pki.renewed(issued, options)?.collateral_json())?)
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        self.pki.root_fingerprint()
    }

    pub(crate) fn ppid(&self) -> [u8; 16] {
        self.pki.facts().ppid
    }
}

fn quote_from(
    quoting: &QuotingEnclave,
    cpu: &SoftwareCpu,
    enclave: &EnclaveState,
    data: &[u8; 64],
) -> Result<Vec<u8>> {
    let report = cpu.ereport(enclave, &quoting.target_info(), data);
    quoting.quote(&report).map_err(|error| anyhow!("no quote: {error}"))
}
