//! What a development PKI can be asked to say, so that verifiers can be shown every case.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

/// What PKI and collateral say. The default is a platform with nothing wrong.
///
/// ```
/// use sgx_emu::quoting::{PkiOptions, TcbLevel, TcbStatus};
///
/// let out_of_date = PkiOptions {
///     tcb_levels: vec![TcbLevel::of(TcbStatus::OutOfDate, &["INTEL-SA-00615"])],
///     ..PkiOptions::default()
/// };
/// ```
#[derive(Clone, Debug)]
pub struct PkiOptions {
    /// The levels of the TCB info, highest first.
    pub tcb_levels: Vec<TcbLevel>,
    /// FMSPC of the TCB info, where it is not the platform's.
    pub tcb_info_fmspc: Option<[u8; 6]>,
    /// PCEID of the TCB info, where it is not the platform's.
    pub tcb_info_pce_id: Option<[u8; 2]>,
    /// thisUpdate of the CRLs, where it is not the time of issue.
    pub revocations_from: Option<OffsetDateTime>,
    /// Status of the quoting enclave's own version.
    pub quoting_enclave_status: TcbStatus,
    /// Advisories that the quoting enclave's own version has.
    pub quoting_enclave_advisories: Vec<String>,
    /// tcbEvaluationDataNumber of TCB info and QE identity.
    pub evaluation_number: u32,
    /// Which certificates the CRLs list.
    pub revoked: Vec<Revoked>,
    /// How long from the time of issue until nextUpdate.
    pub lifetimes: Lifetimes,
    /// notAfter of PCK certificate, PCK CA and TCB signing certificate, where it is not the root's. It holds
    /// for certificates that are made, not for those that a renewal keeps.
    pub certificates_until: Option<OffsetDateTime>,
}

impl Default for PkiOptions {
    fn default() -> Self {
        Self {
            tcb_levels: vec![TcbLevel::of(TcbStatus::UpToDate, &[])],
            tcb_info_fmspc: None,
            tcb_info_pce_id: None,
            revocations_from: None,
            quoting_enclave_status: TcbStatus::UpToDate,
            quoting_enclave_advisories: Vec::new(),
            evaluation_number: 1,
            revoked: Vec::new(),
            lifetimes: Lifetimes::default(),
            certificates_until: None,
        }
    }
}

/// One of tcbLevels in a TCB info.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbLevel {
    /// The components that a platform needs to be at this level; the platform's own if `None`.
    pub components: Option<[u8; 16]>,
    /// What Intel would say of platforms at this level.
    pub status: TcbStatus,
    /// Its advisories ("INTEL-SA-00334").
    pub advisories: Vec<String>,
}

impl TcbLevel {
    /// The level that the platform is at.
    pub fn of(status: TcbStatus, advisories: &[&str]) -> Self {
        let advisories = advisories.iter().map(|&id| id.to_owned()).collect();
        Self { components: None, status, advisories }
    }
}

/// tcbStatus, as the PCS API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TcbStatus {
    /// Nothing is known against it.
    UpToDate,
    /// Software must be hardened.
    SWHardeningNeeded,
    /// The platform must be configured otherwise.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSWHardeningNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates are missing, and the platform must be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// Its keys are not to be trusted any more.
    Revoked,
}

/// A certificate that a CRL can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The PCK certificate, in the PCK CA's CRL.
    Pck,
    /// The PCK CA, in the root's CRL.
    PckCa,
    /// The TCB signing certificate, in the root's CRL.
    TcbSigning,
}

/// How long each part of the collateral is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The root's CRL.
    pub root_ca_crl: Duration,
    /// The PCK CA's CRL.
    pub pck_crl: Duration,
    /// The TCB info.
    pub tcb_info: Duration,
    /// The QE identity.
    pub qe_identity: Duration,
}

impl Lifetimes {
    /// All parts alike.
    pub fn all(lifetime: Duration) -> Self {
        Self { root_ca_crl: lifetime, pck_crl: lifetime, tcb_info: lifetime, qe_identity: lifetime }
    }
}

impl Default for Lifetimes {
    /// Thirty days, as Intel's.
    fn default() -> Self {
        Self::all(Duration::days(30))
    }
}
