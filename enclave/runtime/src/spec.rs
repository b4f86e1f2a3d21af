//! What the loader settled for an app, and its form in the sealed registry.

use std::fmt;

use boundary_wire::client::{Access, DataPolicy, LogPolicy, Secret};
use enclave_sealed_store::Namespace;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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

/// An app as the registry seals it, beside its artifact: JSON, with secrets and, unless it is the
/// caller's own, the key of its data. It must not leave the enclave in clear.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedApp {
    format: u32,
    /// Unique name.
    pub name: String,
    /// Unique server name.
    pub hostname: String,
    /// Unique route prefix.
    pub route_prefix: String,
    /// SHA-256 of the artifact as it was sent.
    pub code_hash: [u8; 32],
    /// Length of the artifact.
    pub artifact_bytes: u64,
    limits: Limits,
    env: Vec<(String, String)>,
    secrets: Vec<(String, Secret)>,
    egress: Option<Vec<String>>,
    version: Option<String>,
    data_policy: DataPolicy,
    log_policy: LogPolicy,
    access: Access,
    /// Where the key of its data comes from.
    pub key_source: KeySource,
    /// Hex; absent for a caller's own key.
    key: Option<Secret>,
}

/// What was sealed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// Not a sealed app.
    #[error("the sealed record of an app does not parse: {0}")]
    Parse(#[from] serde_json::Error),
    /// Written by another version.
    #[error("the sealed record of an app has format {0}, this enclave reads {FORMAT}")]
    Format(u32),
    /// The key is not 64 hex digits, or is missing where it was generated.
    #[error("the sealed record of an app has no usable key")]
    Key,
}

const FORMAT: u32 = 1;

impl SealedApp {
    /// What to seal. `key` is the generated key of the app's data; a caller's own is never given.
    #[must_use]
    pub fn new(spec: &AppSpec, code_hash: [u8; 32], artifact_bytes: u64, key: Option<&[u8; 32]>) -> Self {
        Self {
            format: FORMAT,
            name: spec.name.clone(),
            hostname: spec.hostname.clone(),
            route_prefix: spec.route_prefix.clone(),
            code_hash,
            artifact_bytes,
            limits: spec.limits,
            env: spec.env.clone(),
            secrets: spec.secrets.clone(),
            egress: spec.egress.clone(),
            version: spec.version.clone(),
            data_policy: spec.data_policy,
            log_policy: spec.log_policy,
            access: spec.access,
            key_source: spec.key_source,
            key: key.map(|key| Secret::new(hex(key))),
        }
    }

    /// The bytes to seal.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        Ok(Zeroizing::new(serde_json::to_vec(self)?))
    }

    /// Reads what [`SealedApp::to_bytes`] made.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealedError> {
        let app: Self = serde_json::from_slice(bytes)?;
        if app.format == FORMAT { Ok(app) } else { Err(SealedError::Format(app.format)) }
    }

    /// The generated key; `None` if the key is the caller's own.
    ///
    /// # Errors
    /// [`SealedError::Key`].
    pub fn key(&self) -> Result<Option<Zeroizing<[u8; 32]>>, SealedError> {
        match (&self.key_source, &self.key) {
            (KeySource::Byok(_), _) => Ok(None),
            (KeySource::Generated, Some(key)) => unhex(key.expose()).map(Some).ok_or(SealedError::Key),
            (KeySource::Generated, None) => Err(SealedError::Key),
        }
    }

    /// The app's settings, with its records opened by the caller.
    #[must_use]
    pub fn into_spec(self, namespace: Namespace) -> AppSpec {
        AppSpec {
            name: self.name,
            hostname: self.hostname,
            route_prefix: self.route_prefix,
            limits: self.limits,
            env: self.env,
            secrets: self.secrets,
            egress: self.egress,
            version: self.version,
            data_policy: self.data_policy,
            log_policy: self.log_policy,
            access: self.access,
            key_source: self.key_source,
            namespace,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn unhex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.as_bytes();
    let mut key = Zeroizing::new([0; 32]);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
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

    #[test]
    fn a_key_is_read_back_and_nothing_else() {
        let key = [0x5c; 32];
        assert_eq!(unhex(&hex(&key)).as_deref(), Some(&key));
        for wrong in ["", "5c", &"zz".repeat(32), &"5c".repeat(33)] {
            assert!(unhex(wrong).is_none(), "{wrong}");
        }
    }
}
