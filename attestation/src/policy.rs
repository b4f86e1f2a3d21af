//! The verification policy: which enclave a client is willing to talk to.
//!
//! A TOML file (`docs/formats/policy.md`, JSON Schema `docs/schemas/verification-policy.json`). Unknown keys
//! are errors, and a policy accepts only what it names: an empty one accepts nothing.

mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{hex, instant};

/// The format that is read and written.
pub const FORMAT: u32 = 1;
/// SHA-256 of the certificate of Intel's SGX root CA (DER).
pub const INTEL_ROOT: [u8; 32] = [
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e,
    0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
];

/// What a verifier accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationPolicy {
    /// Who may vouch for platforms.
    pub roots: Roots,
    /// Which enclave.
    pub enclave: EnclaveRule,
    /// In which state of its platform.
    pub tcb: TcbRule,
    /// How fresh the evidence has to be.
    pub freshness: FreshnessRule,
    /// Which app the connection is for.
    pub app: Option<AppRule>,
    /// Which configuration.
    pub configuration: Option<ConfigurationRule>,
    /// On which machines, by the PPID of their PCK certificates.
    pub ppids: Option<Vec<[u8; 16]>>,
    /// Under which operator: SHA-256 of a certificate above the enclave's CA.
    pub operator_ca: Option<Vec<[u8; 32]>>,
}

/// Accepted roots. Never both: a development root protects nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Intel's SGX root CA.
    Intel,
    /// Development roots, by SHA-256 of their certificates (DER).
    Development(Vec<[u8; 32]>),
}

/// Which enclave. Both lists, if both are given, have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveRule {
    /// One of these measurements.
    pub mrenclave: Option<Vec<[u8; 32]>>,
    /// One of these signers.
    pub signer: Option<SignerRule>,
    /// Accept an enclave whose memory can be read from outside.
    pub allow_debug: bool,
}

/// An enclave by who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerRule {
    /// One of these.
    pub mrsigner: Vec<[u8; 32]>,
    /// Exactly this product.
    pub isv_prod_id: u16,
    /// This security version or a later one.
    pub min_isv_svn: u16,
}

/// In which state the platform may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbRule {
    /// Accepted TCB statuses.
    pub statuses: Vec<Accepted<TcbStatus>>,
    /// Accepted advisories. Any other of the matched TCB level is a failure.
    pub advisories: Vec<Accepted<String>>,
}

/// Something that is accepted, perhaps for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<T> {
    /// What.
    pub value: T,
    /// Only before this moment.
    pub until: Option<OffsetDateTime>,
}

/// TCB status of an SGX platform, as Intel's TCB info names it. `Revoked` is never acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Intel's")]
pub enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
}

/// How fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshnessRule {
    /// The weakest tier that is enough.
    pub min_tier: Tier,
    /// Oldest certificate in seconds, where its age says something: tier `certificate` and evidence documents.
    pub max_age_seconds: u64,
}

/// What binds evidence to this moment. Each is stronger than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The time in the certificate, by the enclave's clock, which the host sets.
    Certificate,
    /// A nonce of the client's, in a certificate made for this connection.
    Challenge,
    /// A nonce of the client's, and the keys of this connection.
    Channel,
}

/// Which app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRule {
    /// Its name.
    pub name: String,
    /// One of these SHA-256 hashes of what was loaded.
    pub code_hashes: Option<Vec<[u8; 32]>>,
    /// Where its data key comes from.
    pub key_source: Option<KeySource>,
}

/// Where an app's data key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Made in the enclave.
    Generated,
    /// Given by whoever loaded the app, whichever it is.
    Byok,
    /// Exactly this text: `byok:` and 16 hexadecimal digits.
    Key(String),
}

/// Which configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationRule {
    /// One of these roots of the enclave's configuration tree.
    pub root: Option<Vec<[u8; 32]>>,
    /// One of these roots of the app's own tree.
    pub app_root: Option<Vec<[u8; 32]>>,
    /// For each of these leaves, one of these value hashes.
    pub leaves: BTreeMap<String, Vec<[u8; 32]>>,
}

/// Why text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML of this shape.
    #[error("the policy does not parse: {0}")]
    Toml(String),
    /// Format number unknown.
    #[error("the policy has format {0}; this build reads format {FORMAT}")]
    Format(u32),
    /// No root, or both kinds.
    #[error(
        "[roots] needs exactly one of `intel = true` and `development = [\"<fingerprint>\"]`, never both"
    )]
    Roots,
    /// No measurement.
    #[error("[enclave] needs `mrenclave`, or `mrsigner` with `isv_prod_id` and `min_isv_svn`")]
    Enclave,
    /// A list that accepts nothing.
    #[error("`{0}` is an empty list, which would accept nothing: leave the key out or name what is accepted")]
    Empty(String),
    /// A table that says nothing.
    #[error("[{0}] says nothing: leave the table out or name what is accepted")]
    Nothing(&'static str),
    /// Not hexadecimal of the right length.
    #[error("`{key}` has {value:?}, which is not {digits} lowercase hexadecimal digits")]
    Hex {
        /// Where.
        key: String,
        /// What stands there.
        value: String,
        /// How long it has to be.
        digits: usize,
    },
    /// No such status.
    #[error(
        "`tcb.statuses` has {0:?}: the statuses are UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate and OutOfDateConfigurationNeeded; Revoked can never be accepted"
    )]
    Status(String),
    /// Not a moment.
    #[error("`until` has {0:?}: a moment is written like \"2027-01-01T00:00:00Z\"")]
    Until(String),
    /// Not a key source.
    #[error(
        "`app.key_source` has {0:?}: it is \"generated\", \"byok\", or \"byok:\" and 16 hexadecimal digits"
    )]
    KeySource(String),
}

impl VerificationPolicy {
    /// The policy for exactly one measurement under these roots; everything else has its default.
    pub fn for_measurement(roots: Roots, mrenclave: [u8; 32]) -> Self {
        VerificationPolicy {
            roots,
            enclave: EnclaveRule { mrenclave: Some(vec![mrenclave]), signer: None, allow_debug: false },
            tcb: TcbRule::default(),
            freshness: FreshnessRule::default(),
            app: None,
            configuration: None,
            ppids: None,
            operator_ca: None,
        }
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        source::read(text)
    }

    /// Writes the policy as a file that reads back as the same policy.
    ///
    /// # Errors
    /// [`PolicyError`] for a policy that breaks a rule, such as an empty list.
    pub fn to_toml(&self) -> Result<String, PolicyError> {
        source::write(self)
    }
}

impl<T> Accepted<T> {
    /// Accepted for good.
    pub fn always(value: T) -> Self {
        Accepted { value, until: None }
    }

    /// Whether it is still accepted.
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl<T: fmt::Display> fmt::Display for Accepted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "{} until {}", self.value, instant::format(until)),
            None => self.value.fmt(f),
        }
    }
}

impl TcbStatus {
    /// All that a policy can accept.
    pub const ALL: [TcbStatus; 6] = [
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ];

    /// Intel's name.
    pub const fn name(self) -> &'static str {
        match self {
            TcbStatus::UpToDate => "UpToDate",
            TcbStatus::SWHardeningNeeded => "SWHardeningNeeded",
            TcbStatus::ConfigurationNeeded => "ConfigurationNeeded",
            TcbStatus::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            TcbStatus::OutOfDate => "OutOfDate",
            TcbStatus::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Tier {
    /// As policies and verdicts spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Certificate => "certificate",
            Tier::Challenge => "challenge",
            Tier::Channel => "channel",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl KeySource {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "generated" => Some(KeySource::Generated),
            "byok" => Some(KeySource::Byok),
            _ => {
                let id = text.strip_prefix("byok:")?;
                hex::decode_array::<8>(id)?;
                Some(KeySource::Key(text.to_owned()))
            }
        }
    }

    /// Whether a certificate's key source is this one.
    pub fn accepts(&self, found: &str) -> bool {
        match self {
            KeySource::Generated => found == "generated",
            KeySource::Byok => found.starts_with("byok:"),
            KeySource::Key(text) => found == text,
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeySource::Generated => "generated",
            KeySource::Byok => "byok",
            KeySource::Key(text) => text,
        })
    }
}

impl Default for TcbRule {
    /// `UpToDate` and no advisory.
    fn default() -> Self {
        TcbRule { statuses: vec![Accepted::always(TcbStatus::UpToDate)], advisories: Vec::new() }
    }
}

impl Default for FreshnessRule {
    /// Tier `challenge`, a day.
    fn default() -> Self {
        FreshnessRule { min_tier: Tier::Challenge, max_age_seconds: 86_400 }
    }
}
