//! The development quoting enclave.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::identity;
use super::key::Key;
use super::pki::{DevelopmentPki, PkiError};
use super::quote::{AUTHENTICATION_DATA_LEN, Certification, REPORT_BODY_LEN, signed_part};
use crate::keys::field;
use crate::secrets::random;
use crate::{
    EnclaveState, KeyName, KeyPolicy, KeyRequest, REPORT_LEN, SoftwareCpu, TARGET_INFO_LEN,
    report_is_authentic, target_info,
};

/// What Intel's quoting enclave is to hardware: on one CPU, with an attestation key that the platform's PCK
/// vouches for. It signs what that CPU reported to it, and nothing else.
pub struct QuotingEnclave {
    cpu: Arc<SoftwareCpu>,
    state: EnclaveState,
    attestation_key: Key,
    certification: Certification,
    pce_svn: u16,
}

/// There is no quoting enclave.
#[derive(Debug, thiserror::Error)]
pub enum QuotingEnclaveError {
    /// The PCK certificate is for another state of the CPU.
    #[error(
        "the development PKI vouches for a CPU at CPUSVN {certified}, and this one is at {actual}; delete the \
         PKI's folder to have one made for it, and name its new root in policies"
    )]
    CpuSvn {
        /// What the PCK certificate says.
        certified: String,
        /// What the CPU is at.
        actual: String,
    },
    /// No key, or no signature.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// There is no quote for this report.
#[derive(Debug, thiserror::Error)]
pub enum QuoteRefused {
    /// The MAC is wrong.
    #[error(
        "the REPORT was not made by this CPU for this quoting enclave: its MAC does not hold. Ask for the \
         target info again and make a new REPORT"
    )]
    NotAuthentic,
    /// No signature.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// Where a REPORT has KEYID.
const KEY_ID: usize = 384;

impl QuotingEnclave {
    /// Starts on a CPU that the PKI's PCK certificate is for.
    ///
    /// # Errors
    /// [`QuotingEnclaveError`].
    pub fn new(cpu: Arc<SoftwareCpu>, pki: &DevelopmentPki) -> Result<Self, QuotingEnclaveError> {
        Self::with_state(cpu, pki, identity::state())
    }

    /// The state that [`QuotingEnclave::new`] runs with, and that the QE identity describes.
    pub fn state() -> EnclaveState {
        identity::state()
    }

    /// Another enclave in its place (a debug one, another signer's, an older one): verifiers must refuse it.
    ///
    /// # Errors
    /// [`QuotingEnclaveError`].
    pub fn with_state(
        cpu: Arc<SoftwareCpu>,
        pki: &DevelopmentPki,
        state: EnclaveState,
    ) -> Result<Self, QuotingEnclaveError> {
        let facts = pki.facts();
        if facts.cpu_svn != cpu.cpu_svn() {
            let hex = crate::secrets::hex;
            return Err(QuotingEnclaveError::CpuSvn {
                certified: hex(&facts.cpu_svn),
                actual: hex(&cpu.cpu_svn()),
            });
        }
        let attestation_key = Key::generate()?;
        let public: [u8; 64] = field(attestation_key.point(), 1);
        let authentication_data: [u8; AUTHENTICATION_DATA_LEN] = random();
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(
            &Sha256::new().chain_update(public).chain_update(authentication_data).finalize(),
        );
        // Hardware reports to the provisioning certification enclave, which signs; here the PKI does.
        let report = cpu.ereport(&state, &target_info(&state), &report_data);
        let qe_report: [u8; REPORT_BODY_LEN] = field(&report, 0);
        let certification = Certification {
            attestation_key: public,
            qe_report_signature: pki.certify(&qe_report)?,
            qe_report,
            authentication_data,
            pck_chain_pem: pki.pck_chain_pem(),
        };
        Ok(Self { cpu, state, attestation_key, certification, pce_svn: facts.pce_svn })
    }

    /// The TARGETINFO that a REPORT must be made for.
    pub fn target_info(&self) -> [u8; TARGET_INFO_LEN] {
        target_info(&self.state)
    }

    /// A quote over a REPORT that the CPU made for this enclave.
    ///
    /// # Errors
    /// [`QuoteRefused`].
    pub fn quote(&self, report: &[u8; REPORT_LEN]) -> Result<Vec<u8>, QuoteRefused> {
        let request = KeyRequest {
            name: KeyName::REPORT,
            policy: KeyPolicy::default(),
            isv_svn: 0,
            cpu_svn: [0; 16],
            attribute_mask: [0; 16],
            key_id: field(report, KEY_ID),
            misc_mask: 0,
        };
        let key = self.cpu.egetkey(&self.state, &request).map_err(|_| QuoteRefused::NotAuthentic)?;
        if !report_is_authentic(&key, report) {
            return Err(QuoteRefused::NotAuthentic);
        }
        let signed = signed_part(self.state.isv_svn, self.pce_svn, &report[..REPORT_BODY_LEN]);
        let signature = self.attestation_key.sign_raw(&[&signed])?;
        Ok(self.certification.quote(signed, &signature))
    }
}

impl fmt::Debug for QuotingEnclave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotingEnclave").field("state", &self.state).finish_non_exhaustive()
    }
}
