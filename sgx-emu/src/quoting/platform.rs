//! What a PCK certificate says about a platform.

use serde::{Deserialize, Serialize};

use super::der;
use crate::secrets::random;

/// Intel's arc for SGX in certificates.
pub(super) const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];

/// The platform as its PCK certificate describes it (extension 1.2.840.113741.1.13.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformFacts {
    /// `.1`: PPID, the identity of the processor package.
    pub ppid: [u8; 16],
    /// `.2.1` to `.2.16` and `.2.18`: CPUSVN, and its sixteen components.
    pub cpu_svn: [u8; 16],
    /// `.2.17`: security version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// `.3`: PCE-ID.
    pub pce_id: [u8; 2],
    /// `.4`: FMSPC, the family of platforms.
    pub fmspc: [u8; 6],
    /// `.5`: how memory is protected.
    pub sgx_type: SgxType,
    /// `.6`: identity of the platform, however many packages it has.
    pub platform_instance_id: [u8; 16],
}

/// How the memory of a platform is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SgxType {
    /// 0: encrypted, with integrity and protection against replay.
    Standard,
    /// 1: encrypted only, and large.
    Scalable,
    /// 2: encrypted with integrity, and large.
    ScalableWithIntegrity,
}

impl PlatformFacts {
    /// A machine that nobody has met before: random identities, the CPUSVN that software CPUs have.
    ///
    /// # Panics
    /// When the operating system has no randomness, which does not happen after boot.
    pub fn development() -> Self {
        Self {
            ppid: random(),
            cpu_svn: crate::secrets::CPU_SVN,
            pce_svn: 13,
            pce_id: [0; 2],
            fmspc: DEVELOPMENT_FMSPC,
            sgx_type: SgxType::Standard,
            platform_instance_id: random(),
        }
    }

    /// The content of the extension.
    pub(super) fn sgx_extension(&self) -> Vec<u8> {
        let mut tcb = Vec::with_capacity(18);
        for (number, svn) in (1..).zip(self.cpu_svn) {
            tcb.push(field(&[2, number], der::integer(u16::from(svn))));
        }
        tcb.push(field(&[2, 17], der::integer(self.pce_svn)));
        tcb.push(field(&[2, 18], der::octet_string(&self.cpu_svn)));
        // Dynamic platform, cached keys, SMT: none of them, there is no package to add and no thread to share.
        let configuration: Vec<Vec<u8>> =
            (1..=3).map(|flag| field(&[7, flag], der::boolean(false))).collect();
        der::sequence(&[
            field(&[1], der::octet_string(&self.ppid)),
            field(&[2], der::sequence(&tcb)),
            field(&[3], der::octet_string(&self.pce_id)),
            field(&[4], der::octet_string(&self.fmspc)),
            field(&[5], der::enumerated(self.sgx_type as u8)),
            field(&[6], der::octet_string(&self.platform_instance_id)),
            field(&[7], der::sequence(&configuration)),
        ])
    }
}

/// No family of Intel's: "SWSGX".
const DEVELOPMENT_FMSPC: [u8; 6] = *b"\0SWSGX";

/// `SEQUENCE { OID below the SGX extension's, value }`.
fn field(below: &[u32], value: Vec<u8>) -> Vec<u8> {
    let mut arcs = vec![1, 2, 840, 113_741, 1, 13, 1];
    arcs.extend_from_slice(below);
    der::sequence(&[der::oid(&arcs), value])
}
