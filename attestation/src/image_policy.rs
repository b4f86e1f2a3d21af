//! The policy page: trust settings that are measured with the image and that no host can give.
//!
//! A page is canonical JSON (RFC 8785) with a format number, at most [`MAX_PAGE`] bytes, without unknown
//! keys, so one policy has one page and one measurement. An empty page is the closed policy: it grants
//! nothing. It names long-lived roots; day-to-day keys are issued under them.

mod keys;
#[cfg(feature = "toml")]
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use keys::{KeyError, PublicKey};
#[cfg(feature = "toml")]
pub use source::SourceError;

/// Largest page in bytes.
pub const MAX_PAGE: usize = 64 * 1024;
/// Most entries of each list.
pub const MAX_ENTRIES: usize = 64;

const FORMAT: u32 = 1;
const MAX_LABEL: usize = 64;

/// What the owner of an image lets happen in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePolicy {
    /// Nothing is protected: whoever reaches the port may load code. For development only.
    pub development: bool,
    /// DNS names of the enclave's own certificate.
    pub served_names: Vec<String>,
    /// Certificates (PEM) that replace the Mozilla roots for outgoing connections.
    pub egress_ca_pem: Option<String>,
    /// Certificates also carry interoperable evidence of the CCC and TCG, with a quote of its own.
    pub interop: bool,
    /// Whose tokens are accepted, and for what.
    pub operators: Vec<Operator>,
    /// Who may vouch for code.
    pub code_signing: Vec<CodeSigner>,
}

/// A root under which operator keys are issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// For people and logs.
    pub name: String,
    /// What its tokens may do at most.
    pub role: Role,
    /// The root's public key.
    pub key: PublicKey,
}

/// A root under which code-signing keys are issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeSigner {
    /// For people and logs.
    pub name: String,
    /// The root's public key.
    pub key: PublicKey,
}

/// What an operator may do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See lists and metrics.
    Monitoring,
    /// Load, unload, read logs, install a CA; and all of monitoring.
    Manager,
}

/// The page as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    format: u32,
    development: bool,
    served_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    egress_ca_pem: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    interop: bool,
    operators: Vec<Operator>,
    code_signing: Vec<CodeSigner>,
}

/// Why bytes are not a policy page, or a policy cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Too long.
    #[error("the policy is {0} bytes long; a policy page holds {MAX_PAGE}")]
    TooLarge(usize),
    /// Not JSON of this shape.
    #[error("the policy page does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// Format number unknown.
    #[error(
        "the policy page has format {0}; this build reads format {FORMAT}: make the page with the tool of this version"
    )]
    Format(u32),
    /// Another spelling of the same policy would have another measurement.
    #[error("the policy page is not canonical JSON: make it with the image tool from the policy file")]
    NotCanonical,
    /// Too many entries in one list.
    #[error("{list} has {count} entries; a policy holds {MAX_ENTRIES}")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many it has.
        count: usize,
    },
    /// A name that is no DNS name.
    #[error(
        "served name {0:?} is not a DNS name: labels of a-z, 0-9 and '-', at most 63 characters each and 253 in all"
    )]
    ServedName(String),
    /// A label that would confuse a reader.
    #[error(
        "{list} has an entry called {name:?}: a name has 1 to {MAX_LABEL} characters of A-Z, a-z, 0-9, '.', '_', '@' and '-'"
    )]
    EntryName {
        /// Which list.
        list: &'static str,
        /// The name.
        name: String,
    },
    /// The same name or the same key twice.
    #[error("{list} has {what} twice")]
    Twice {
        /// Which list.
        list: &'static str,
        /// What is there twice.
        what: String,
    },
    /// No certificate in the PEM.
    #[error(
        "the egress CA is not PEM: it needs at least one block -----BEGIN CERTIFICATE----- and nothing but certificates"
    )]
    EgressCa,
}

impl ImagePolicy {
    /// The page's bytes.
    ///
    /// # Errors
    /// [`PageError`] when the policy breaks a rule of the page.
    pub fn to_page(&self) -> Result<Vec<u8>, PageError> {
        self.check()?;
        let page = Page {
            format: FORMAT,
            development: self.development,
            served_names: self.served_names.clone(),
            egress_ca_pem: self.egress_ca_pem.clone(),
            interop: self.interop,
            operators: self.operators.clone(),
            code_signing: self.code_signing.clone(),
        };
        let bytes = serde_json_canonicalizer::to_vec(&page)?;
        if bytes.len() > MAX_PAGE {
            return Err(PageError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a page. Takes exactly what [`ImagePolicy::to_page`] makes, and the empty page.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn from_page(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.is_empty() {
            return Ok(ImagePolicy::default());
        }
        if bytes.len() > MAX_PAGE {
            return Err(PageError::TooLarge(bytes.len()));
        }
        let page: Page = serde_json::from_slice(bytes)?;
        if page.format != FORMAT {
            return Err(PageError::Format(page.format));
        }
        let policy = ImagePolicy {
            development: page.development,
            served_names: page.served_names,
            egress_ca_pem: page.egress_ca_pem,
            interop: page.interop,
            operators: page.operators,
            code_signing: page.code_signing,
        };
        if policy.to_page()? != bytes {
            return Err(PageError::NotCanonical);
        }
        Ok(policy)
    }

    fn check(&self) -> Result<(), PageError> {
        count("served_names", self.served_names.len())?;
        let mut seen = BTreeSet::new();
        for name in &self.served_names {
            if !is_dns_name(name) {
                return Err(PageError::ServedName(name.clone()));
            }
            once("served_names", &mut seen, name)?;
        }
        if self.egress_ca_pem.as_deref().is_some_and(|pem| !keys::is_certificates(pem)) {
            return Err(PageError::EgressCa);
        }
        check_entries("operators", self.operators.iter().map(|entry| (&entry.name, &entry.key)))?;
        check_entries("code_signing", self.code_signing.iter().map(|entry| (&entry.name, &entry.key)))
    }
}

fn check_entries<'a>(
    list: &'static str,
    entries: impl ExactSizeIterator<Item = (&'a String, &'a PublicKey)>,
) -> Result<(), PageError> {
    count(list, entries.len())?;
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for (name, key) in entries {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if !(1..=MAX_LABEL).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(PageError::EntryName { list, name: name.chars().take(MAX_LABEL).collect() });
        }
        once(list, &mut names, name)?;
        once(list, &mut keys, &key.to_text())?;
    }
    Ok(())
}

fn count(list: &'static str, count: usize) -> Result<(), PageError> {
    if count > MAX_ENTRIES { Err(PageError::TooMany { list, count }) } else { Ok(()) }
}

fn once(list: &'static str, seen: &mut BTreeSet<String>, what: &str) -> Result<(), PageError> {
    if seen.insert(what.to_owned()) { Ok(()) } else { Err(PageError::Twice { list, what: what.to_owned() }) }
}

/// A DNS name in lower case, of letters, digits and hyphens (RFC 1123 §2.1), and not an IPv4 address.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let all_digits = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(all_digits)
}
