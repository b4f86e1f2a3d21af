//! What came out, for people and for programs (`docs/formats/verdict.md`).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::policy::{PolicyError, Tier};
use crate::{evidence::EvidenceError, hex};

/// Names of the checks, the same in all languages. A check marked structural ends the evaluation when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckId {
    /// Structural: the policy parses.
    Policy,
    /// Structural, evidence documents only: the document parses.
    EvidenceFormat,
    /// Structural: the leaf is a certificate of this system.
    CertificateFormat,
    /// Structural: each certificate is signed by the next.
    CertificateChain,
    /// The leaf is valid now.
    CertificateTime,
    /// The leaf is for the name that was asked for.
    ServerName,
    /// Structural: there is an SGX quote.
    QuoteFormat,
    /// Structural: the quote leads to an accepted root.
    Root,
    /// Structural: the quote verifies under that root.
    Quote,
    /// The quote is about this key, certificate, nonce and connection.
    ReportData,
    /// The enclave is not a debug enclave.
    Debug,
    /// The enclave is an accepted one.
    Measurement,
    /// The platform's TCB status is accepted.
    TcbStatus,
    /// The platform's advisories are accepted.
    Advisories,
    /// The evidence is of a tier that is enough.
    Tier,
    /// The certificate is not too old.
    Age,
    /// The certificate is for the app.
    App,
    /// The app's code is accepted.
    CodeHash,
    /// The app's data key comes from where it should.
    KeySource,
    /// The configuration is accepted.
    Configuration,
    /// The machine is accepted.
    Platform,
    /// The operator is accepted.
    OperatorCa,
}

impl CheckId {
    /// All checks in their order.
    pub const ALL: [CheckId; 22] = [
        CheckId::Policy,
        CheckId::EvidenceFormat,
        CheckId::CertificateFormat,
        CheckId::CertificateChain,
        CheckId::CertificateTime,
        CheckId::ServerName,
        CheckId::QuoteFormat,
        CheckId::Root,
        CheckId::Quote,
        CheckId::ReportData,
        CheckId::Debug,
        CheckId::Measurement,
        CheckId::TcbStatus,
        CheckId::Advisories,
        CheckId::Tier,
        CheckId::Age,
        CheckId::App,
        CheckId::CodeHash,
        CheckId::KeySource,
        CheckId::Configuration,
        CheckId::Platform,
        CheckId::OperatorCa,
    ];

    /// As verdicts and vectors spell it.
    pub const fn name(self) -> &'static str {
        match self {
            CheckId::Policy => "policy",
            CheckId::EvidenceFormat => "evidence-format",
            CheckId::CertificateFormat => "certificate-format",
            CheckId::CertificateChain => "certificate-chain",
            CheckId::CertificateTime => "certificate-time",
            CheckId::ServerName => "server-name",
            CheckId::QuoteFormat => "quote-format",
            CheckId::Root => "root",
            CheckId::Quote => "quote",
            CheckId::ReportData => "report-data",
            CheckId::Debug => "debug",
            CheckId::Measurement => "measurement",
            CheckId::TcbStatus => "tcb-status",
            CheckId::Advisories => "advisories",
            CheckId::Tier => "tier",
            CheckId::Age => "age",
            CheckId::App => "app",
            CheckId::CodeHash => "code-hash",
            CheckId::KeySource => "key-source",
            CheckId::Configuration => "configuration",
            CheckId::Platform => "platform",
            CheckId::OperatorCa => "operator-ca",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for CheckId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Which.
    pub check: CheckId,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub found: String,
    /// What is accepted, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Of a failed check: what it means and how to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The enclave of a verified quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields of crate::quote::ReportBody")]
#[non_exhaustive]
pub struct EnclaveFacts {
    #[serde(with = "hex::bytes_32")]
    pub mrenclave: [u8; 32],
    #[serde(with = "hex::bytes_32")]
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub debug: bool,
    #[serde(serialize_with = "hex::bytes::serialize")]
    pub cpu_svn: [u8; 16],
}

/// The platform of a verified quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TcbFacts {
    /// Intel's name for the state of the platform.
    pub status: String,
    /// Advisories of the matched TCB level.
    pub advisories: Vec<String>,
    /// Kind of platform.
    #[serde(serialize_with = "hex::bytes::serialize")]
    pub fmspc: Vec<u8>,
    /// Which platform.
    #[serde(serialize_with = "hex::bytes::serialize")]
    pub ppid: Vec<u8>,
    /// SHA-256 of the root certificate (DER).
    #[serde(with = "hex::bytes_32")]
    pub root: [u8; 32],
}

/// An app as the leaf names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AppFacts {
    /// Its name.
    pub name: String,
    /// Where its routes begin.
    pub route_prefix: String,
    /// SHA-256 of what was loaded.
    #[serde(with = "hex::bytes_32")]
    pub code_hash: [u8; 32],
    /// In the app's own leaf only: root of its configuration tree.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_32")]
    pub configuration_root: Option<[u8; 32]>,
    /// In the app's own leaf only: where its data key comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_source: Option<String>,
}

/// The outcome. What it says beside the checks is of what was presented, and worth as much as the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub(super) accepted: bool,
    pub(super) tier: Option<Tier>,
    pub(super) checks: Vec<Check>,
    pub(super) enclave: Option<EnclaveFacts>,
    pub(super) tcb: Option<TcbFacts>,
    pub(super) apps: Vec<AppFacts>,
    #[serde(serialize_with = "optional_32")]
    pub(super) configuration_root: Option<[u8; 32]>,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
}

impl Verdict {
    pub(super) fn new(tier: Option<Tier>) -> Self {
        Verdict {
            accepted: false,
            tier,
            checks: Vec::new(),
            enclave: None,
            tcb: None,
            apps: Vec::new(),
            configuration_root: None,
            not_before: None,
            not_after: None,
        }
    }

    /// The verdict when there is no policy to judge by.
    pub fn of_bad_policy(error: &PolicyError) -> Self {
        Self::refused(CheckId::Policy, &[], error.to_string())
    }

    /// The verdict on what is no evidence document.
    pub fn of_bad_evidence(error: &EvidenceError) -> Self {
        let policy = Check {
            check: CheckId::Policy,
            passed: true,
            found: "format 1".to_owned(),
            wanted: None,
            message: None,
        };
        Self::refused(CheckId::EvidenceFormat, &[policy], error.to_string())
    }

    fn refused(check: CheckId, before: &[Check], message: String) -> Self {
        let mut verdict = Verdict::new(None);
        verdict.checks.extend_from_slice(before);
        verdict.checks.push(Check {
            check,
            passed: false,
            found: "unreadable".to_owned(),
            wanted: None,
            message: Some(message),
        });
        verdict
    }

    /// Whether every check that was made holds, and all that had to be made were.
    pub fn accepted(&self) -> bool {
        self.accepted
    }

    /// The tier of what was presented; none for a quote alone.
    pub fn tier(&self) -> Option<Tier> {
        self.tier
    }

    /// Every check that was made, in order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Those that do not hold, in order.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }

    /// The enclave, once its quote verifies.
    pub fn enclave(&self) -> Option<&EnclaveFacts> {
        self.enclave.as_ref()
    }

    /// The platform, once the quote verifies.
    pub fn tcb(&self) -> Option<&TcbFacts> {
        self.tcb.as_ref()
    }

    /// The apps of the leaf.
    pub fn apps(&self) -> &[AppFacts] {
        &self.apps
    }

    /// Root of the configuration tree in the leaf.
    pub fn configuration_root(&self) -> Option<&[u8; 32]> {
        self.configuration_root.as_ref()
    }

    /// Start and end of the leaf's validity (RFC 3339).
    pub fn validity(&self) -> Option<(&str, &str)> {
        self.not_before.as_deref().zip(self.not_after.as_deref())
    }

    /// The proof that a policy held.
    ///
    /// # Errors
    /// The verdict itself when it did not, or when it is about a quote alone.
    pub fn into_verified(self) -> Result<Verified, Box<Verdict>> {
        match self.tier {
            Some(tier) if self.accepted => Ok(Verified { tier, verdict: self }),
            _ => Err(Box::new(self)),
        }
    }
}

impl fmt::Display for Verdict {
    /// One line for each failed check, or that it is accepted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.accepted {
            return f.write_str("accepted");
        }
        let mut first = true;
        for check in self.failed() {
            if !first {
                f.write_str("\n")?;
            }
            first = false;
            write!(f, "{}: {}", check.check, check.message.as_deref().unwrap_or("it does not hold"))?;
        }
        Ok(())
    }
}

/// Evidence that a policy accepted. Only an accepted verdict makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    tier: Tier,
    verdict: Verdict,
}

impl Verified {
    /// How fresh it is.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Everything that was seen.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

fn optional_32<S: Serializer>(bytes: &Option<[u8; 32]>, s: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => hex::bytes_32::serialize(bytes, s),
        None => s.serialize_none(),
    }
}
