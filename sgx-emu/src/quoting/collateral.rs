//! TCB info, QE identity, CRLs and their chains: what a verifier needs beside a quote.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::authorities::{Authorities, BACKDATED};
use super::options::{PkiOptions, TcbLevel, TcbStatus};
use super::pki::PkiError;
use super::platform::PlatformFacts;
use super::{identity, pem, rfc3339};
use crate::secrets::hex;

/// The collateral document: texts are exactly what was signed, and binary parts are hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

impl Collateral {
    pub(super) fn issue(
        authorities: &Authorities,
        facts: &PlatformFacts,
        now: OffsetDateTime,
        options: &PkiOptions,
    ) -> Result<Self, PkiError> {
        let tcb_info = to_json(&tcb_info(facts, now, options))?;
        let qe_identity = to_json(&qe_identity(now, options))?;
        let root = authorities.root.certificate.as_slice();
        let signing_chain = pem::certificates([&authorities.tcb_signing.certificate, root]);
        let sign = |text: &str| authorities.tcb_signing.key.sign_raw(&[text.as_bytes()]);
        Ok(Self {
            pck_crl_issuer_chain: pem::certificates([&authorities.pck_ca.certificate, root]),
            root_ca_crl: hex(&authorities.root_ca_crl(now, options)?),
            pck_crl: hex(&authorities.pck_crl(now, options)?),
            tcb_info_issuer_chain: signing_chain.clone(),
            tcb_info_signature: hex(&sign(&tcb_info)?),
            tcb_info,
            qe_identity_issuer_chain: signing_chain,
            qe_identity_signature: hex(&sign(&qe_identity)?),
            qe_identity,
        })
    }

    /// The document, as it is served.
    pub(super) fn to_json(&self) -> Result<String, PkiError> {
        to_json(self)
    }

    /// Whether these authorities signed it.
    pub(super) fn is_of(&self, authorities: &Authorities) -> bool {
        let root = authorities.root.certificate.as_slice();
        self.pck_crl_issuer_chain == pem::certificates([&authorities.pck_ca.certificate, root])
            && self.tcb_info_issuer_chain == pem::certificates([&authorities.tcb_signing.certificate, root])
    }

    /// The later issueDate of the two signed texts, with which the CRLs were made; `None` if they have none.
    pub(super) fn issued(&self) -> Option<OffsetDateTime> {
        Some(dates(&self.tcb_info)?.0.max(dates(&self.qe_identity)?.0))
    }

    /// The earlier nextUpdate of the two.
    pub(super) fn next_update(&self) -> Option<OffsetDateTime> {
        Some(dates(&self.tcb_info)?.1.min(dates(&self.qe_identity)?.1))
    }
}

/// issueDate and nextUpdate of a signed text.
fn dates(text: &str) -> Option<(OffsetDateTime, OffsetDateTime)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Dated {
        issue_date: String,
        next_update: String,
    }
    let dated: Dated = serde_json::from_str(text).ok()?;
    Some((rfc3339::parse(&dated.issue_date)?, rfc3339::parse(&dated.next_update)?))
}

fn to_json(value: &impl Serialize) -> Result<String, PkiError> {
    serde_json::to_string(value).map_err(PkiError::Json)
}

/// TCB info v3 (PCS API v4, "Get TCB Info"). The order of members is Intel's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u8,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<Level<PlatformTcb>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Level<T> {
    tcb: T,
    tcb_date: &'static str,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    advisory_ids: Vec<String>,
}

#[derive(Serialize)]
struct PlatformTcb {
    sgxtcbcomponents: Vec<Component>,
    pcesvn: u16,
}

#[derive(Serialize)]
struct Component {
    svn: u8,
}

/// QE identity v2 (PCS API v4, "Get Quoting Enclave Identity").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: String,
    miscselect_mask: String,
    attributes: String,
    attributes_mask: String,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<Level<EnclaveTcb>>,
}

#[derive(Serialize)]
struct EnclaveTcb {
    isvsvn: u16,
}

/// When the levels were made; none of them ever changes.
const TCB_DATE: &str = "2026-01-01T00:00:00Z";

fn tcb_info(facts: &PlatformFacts, now: OffsetDateTime, options: &PkiOptions) -> TcbInfo {
    let level = |level: &TcbLevel| Level {
        tcb: PlatformTcb {
            sgxtcbcomponents: level.components.unwrap_or(facts.cpu_svn).map(|svn| Component { svn }).into(),
            pcesvn: facts.pce_svn,
        },
        tcb_date: TCB_DATE,
        tcb_status: level.status,
        advisory_ids: level.advisories.clone(),
    };
    TcbInfo {
        id: "SGX",
        version: 3,
        issue_date: rfc3339::format(now - BACKDATED),
        next_update: rfc3339::format(now + options.lifetimes.tcb_info),
        fmspc: upper_hex(&options.tcb_info_fmspc.unwrap_or(facts.fmspc)),
        pce_id: upper_hex(&options.tcb_info_pce_id.unwrap_or(facts.pce_id)),
        tcb_type: 0,
        tcb_evaluation_data_number: options.evaluation_number,
        tcb_levels: options.tcb_levels.iter().map(level).collect(),
    }
}

fn qe_identity(now: OffsetDateTime, options: &PkiOptions) -> QeIdentity {
    let sixteen = |flags: u64| upper_hex(&crate::attributes(flags, 0));
    QeIdentity {
        id: "QE",
        version: 2,
        issue_date: rfc3339::format(now - BACKDATED),
        next_update: rfc3339::format(now + options.lifetimes.qe_identity),
        tcb_evaluation_data_number: options.evaluation_number,
        miscselect: upper_hex(&[0; 4]),
        miscselect_mask: upper_hex(&[0xff; 4]),
        attributes: sixteen(identity::FLAGS),
        attributes_mask: sixteen(identity::FLAGS_MASK),
        mrsigner: upper_hex(&identity::SIGNER),
        isvprodid: identity::PRODUCT,
        tcb_levels: vec![Level {
            tcb: EnclaveTcb { isvsvn: identity::VERSION },
            tcb_date: TCB_DATE,
            tcb_status: options.quoting_enclave_status,
            advisory_ids: options.quoting_enclave_advisories.clone(),
        }],
    }
}

/// The PCS writes capitals.
fn upper_hex(bytes: &[u8]) -> String {
    hex(bytes).to_ascii_uppercase()
}
