//! What the loader settled for an app.

use std::fmt;

use boundary_wire::client::{Access, DataPolicy, LogPolicy, Secret};
use enclave_sealed_store::Namespace;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// Everything about an app but its code. Names are checked by `access` before one of these is made.
#[derive(Clone)]
pub struct AppSpec {
    /// Unique name.
    pub name: String,
    /// Unique server name (SNI).
    pub hostname: String,
    /// Unique route prefix, beginning with `/`.
    pub route_prefix: String,
    /// What one call may use.
    pub limits: Limits,
    /// Environment variables, measured with their values.
    pub env: Vec<(String, String)>,
    /// Environment variables measured by name and salted hash only.
    pub secrets: Vec<(String, Secret)>,
    /// Hosts it may reach; `None`: any.
    pub egress: Option<Vec<String>>,
    /// Its version, in its environment and its configuration.
    pub version: Option<String>,
    /// To whom its data belongs.
    pub data_policy: DataPolicy,
    /// Where its log goes.
    pub log_policy: LogPolicy,
    /// Who may call it.
    pub access: Access,
    /// Where the key of its data comes from.
    pub key_source: KeySource,
    /// Its records.
    pub namespace: Namespace,
}

/// Where the key of an app's data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// Made in the enclave, sealed with the registry.
    Generated,
    /// The caller's, never stored: the first 8 bytes of its SHA-256.
    Byok([u8; 8]),
}

impl KeySource {
    /// The word in replies: `generated` or `byok`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            KeySource::Generated => "generated",
            KeySource::Byok(_) => "byok",
        }
    }
}

/// The value in certificates: `generated`, or `byok:` and the fingerprint.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let KeySource::Byok(fingerprint) = self else { return Ok(()) };
        f.write_str(":")?;
        fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sources_as_replies_and_certificates_show_them() {
        let byok = KeySource::Byok([0xab, 0, 1, 2, 3, 4, 5, 0xff]);
        assert_eq!((KeySource::Generated.word(), byok.word()), ("generated", "byok"));
        assert_eq!(KeySource::Generated.to_string(), "generated");
        assert_eq!(byok.to_string(), "byok:ab000102030405ff");
    }
}
