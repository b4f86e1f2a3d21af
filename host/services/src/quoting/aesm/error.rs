//! What AESM says when it does not, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::quoting::QuotingError;

/// AESM made no quote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AesmError {
    #[error(
        "AESM does not listen at {socket} ({source}): install sgx-aesm-service and libsgx-aesm-quote-ex-plugin, start \
         aesmd, and give it access to /dev/sgx_enclave and /dev/sgx_provision"
    )]
    Connect { socket: PathBuf, source: io::Error },
    #[error("AESM broke off or took too long ({0}): see the journal of aesmd")]
    Talk(#[source] io::Error),
    #[error("AESM gave an answer that cannot be: {0}; see whether its packages are of one version")]
    Answer(&'static str),
    #[error(
        "AESM does not know the requests of DCAP quotes: install libsgx-aesm-quote-ex-plugin, 2.7 or later"
    )]
    TooOld,
    #[error(
        "AESM has no key for ECDSA quotes: install libsgx-aesm-ecdsa-plugin and libsgx-aesm-quote-ex-plugin, and start \
         aesmd again"
    )]
    NoEcdsa,
    #[error("AESM refused with error {0}: {advice}", advice = advice(*.0))]
    Code(u32),
}

impl From<AesmError> for QuotingError {
    fn from(error: AesmError) -> Self {
        match error {
            AesmError::Code(3 | 45 | 47) => Self::Refused(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// What to do about an aesm_error_t.
fn advice(code: u32) -> &'static str {
    match code {
        2 | 24 | 25 | 31 => {
            "the platform has no SGX that aesmd can use; see `enclave-os-host --check-platform`"
        }
        3 | 45 | 47 => "the REPORT was not made for this quoting enclave; ask for the target info again",
        12 | 13 | 19 => {
            "aesmd does not reach its PCCS; look at pccs_url in /etc/sgx_default_qcnl.conf and at the proxy of aesmd"
        }
        17 | 27 | 30 => {
            "the service behind it is stopping or not installed; start aesmd again and see its journal"
        }
        18 => "it is busy; this is tried again",
        21 | 29 => {
            "there is no memory, or no EPC, for the quoting enclave; stop another enclave or give SGX more memory"
        }
        32 | 35 | 37 | 38 | 42 => {
            "its attestation key does not fit; remove /var/opt/aesmd/data and start aesmd again to have a new one made"
        }
        41 | 43 | 44 => {
            "there is no PCK certificate for this platform; register it (PCKIDRetrievalTool, or the multi-package agent) \
             with the PCCS that /etc/sgx_default_qcnl.conf names, and install libsgx-dcap-default-qpl"
        }
        46 | 48 | 49 | 50 => {
            "its quoting enclave does not run; see that aesmd may use /dev/sgx_enclave and /dev/sgx_provision (group \
             sgx_prv)"
        }
        _ => "see the journal of aesmd",
    }
}
