//! The policy file a person writes (TOML), from which the page is made.

use serde::Deserialize;

use super::keys::certificates_alone;
use super::{CodeSigner, ImagePolicy, KeyError, Operator, PageError, PublicKey, Role};

/// Why a policy file is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not TOML of this shape.
    #[error("the policy file does not parse: {0}")]
    Toml(#[from] toml::de::Error),
    /// A file it names cannot be read.
    #[error("the policy names the file {path:?}, which cannot be read: {reason}")]
    File {
        /// As written in the policy.
        path: String,
        /// What the reader said.
        reason: String,
    },
    /// A key does not parse.
    #[error("key of {name:?}: {source}")]
    Key {
        /// Whose key.
        name: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// It breaks a rule of the page.
    #[error(transparent)]
    Page(#[from] PageError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(default)]
    development: bool,
    #[serde(default)]
    served_names: Vec<String>,
    egress_ca: Option<String>,
    #[serde(default)]
    interop: bool,
    #[serde(default)]
    operators: Vec<OperatorSource>,
    #[serde(default)]
    code_signing: Vec<CodeSignerSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorSource {
    name: String,
    role: Role,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeSignerSource {
    name: String,
    key: String,
}

impl ImagePolicy {
    /// Reads the policy file. `egress_ca` and `key` name files, or hold the PEM or JWK text itself;
    /// `read_file` gets paths as written.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn from_toml<E: std::fmt::Display>(
        text: &str,
        read_file: impl Fn(&str) -> Result<String, E>,
    ) -> Result<Self, SourceError> {
        let source: Source = toml::from_str(text)?;
        let contents = |reference: &str| {
            if reference.trim_start().starts_with("-----BEGIN") || reference.trim_start().starts_with('{') {
                return Ok(reference.to_owned());
            }
            read_file(reference)
                .map_err(|error| SourceError::File { path: reference.to_owned(), reason: error.to_string() })
        };
        let certificates = |reference: &str| -> Result<String, SourceError> {
            Ok(certificates_alone(&contents(reference)?).ok_or(PageError::EgressCa)?)
        };
        let key = |name: &str, reference: &str| {
            PublicKey::parse(&contents(reference)?)
                .map_err(|source| SourceError::Key { name: name.to_owned(), source })
        };
        let operator = |entry: OperatorSource| {
            Ok(Operator { key: key(&entry.name, &entry.key)?, name: entry.name, role: entry.role })
        };
        let signer =
            |entry: CodeSignerSource| Ok(CodeSigner { key: key(&entry.name, &entry.key)?, name: entry.name });
        let policy = ImagePolicy {
            development: source.development,
            served_names: source.served_names,
            egress_ca_pem: source.egress_ca.as_deref().map(certificates).transpose()?,
            interop: source.interop,
            operators: source.operators.into_iter().map(operator).collect::<Result<_, SourceError>>()?,
            code_signing: source.code_signing.into_iter().map(signer).collect::<Result<_, SourceError>>()?,
        };
        policy.to_page()?;
        Ok(policy)
    }
}
