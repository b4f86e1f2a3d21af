//! What a leaf certificate claims: our extensions, read strictly.
//!
//! Reading is not verifying. The quote binds the key of this certificate; the signature of the enclave CA
//! covers the extensions.

use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{oid, workloads};

/// The extensions of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    /// SubjectPublicKeyInfo (DER) of the leaf key.
    pub spki_der: Vec<u8>,
    /// Start of validity, which a quote without a nonce is bound to.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
    /// The quote, if the enclave had one made.
    pub quote: Option<Vec<u8>>,
    /// Root of the configuration tree.
    pub configuration_root: [u8; 32],
    /// Combined hash of all apps in the enclave.
    pub workloads_hash: [u8; 32],
    /// The apps this certificate is for: all of them, or the one whose hostname was asked for.
    pub apps: Vec<AppClaim>,
    /// Only in a certificate of one app.
    pub app: Option<AppLeaf>,
}

/// One app as the certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppClaim {
    /// Its name.
    pub name: String,
    /// Where its routes begin.
    pub route_prefix: String,
    /// SHA-256 of the bytes that were loaded.
    pub code_hash: [u8; 32],
}

/// What a certificate of one app says beyond [`AppClaim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppLeaf {
    /// Root of the app's own configuration tree.
    pub configuration_root: [u8; 32],
    /// SHA-256 of the bytes that were loaded.
    pub code_hash: [u8; 32],
    /// `generated`, or `byok:` and 16 hexadecimal digits.
    pub key_source: String,
}

/// Why a certificate is not a leaf of an enclave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafCertificateError {
    /// Not one X.509 certificate.
    #[error("not a certificate: {0}")]
    Certificate(String),
    /// An extension every leaf has is not there.
    #[error("no extension {0}: this is not a certificate of an enclave of this system")]
    Missing(String),
    /// The same extension twice.
    #[error("extension {0} occurs twice")]
    Twice(String),
    /// An extension in our arc that this reader does not know and must not pass over.
    #[error("extension {0} is unknown to this version")]
    Unknown(String),
    /// A value of the wrong shape.
    #[error("extension {oid} is malformed: {rule}")]
    Malformed {
        /// Which one.
        oid: String,
        /// What it has to be.
        rule: &'static str,
    },
}

/// The raw values of our extensions.
struct Extensions<'a>(Vec<(&'static [u64], &'a [u8])>);

const KNOWN: [&[u64]; 9] = [
    oid::QUOTE,
    oid::CONFIGURATION_ROOT,
    oid::APP_NAMES,
    oid::ROUTE_PREFIXES,
    oid::CODE_HASHES,
    oid::WORKLOADS_HASH,
    oid::APP_CONFIGURATION_ROOT,
    oid::APP_CODE_HASH,
    oid::APP_KEY_SOURCE,
];

impl LeafCertificate {
    /// Reads a leaf.
    ///
    /// # Errors
    /// [`LeafCertificateError`] on anything that the format does not allow.
    pub fn from_der(der: &[u8]) -> Result<Self, LeafCertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| LeafCertificateError::Certificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(LeafCertificateError::Certificate("bytes after its end".to_owned()));
        }
        let found = Extensions::of(&certificate)?;
        let configuration_root = found.hash(oid::CONFIGURATION_ROOT)?;
        let workloads_hash = found.hash(oid::WORKLOADS_HASH)?;
        let apps = found.apps()?;
        let app = found.app()?;
        if let Some(app) = &app {
            let [claim] = apps.as_slice() else {
                return Err(malformed(oid::APP_NAMES, "one app in a certificate of one app"));
            };
            if claim.code_hash != app.code_hash {
                return Err(malformed(oid::APP_CODE_HASH, "the same code hash as in .2.3"));
            }
        } else {
            let listed = apps.iter().map(|app| (app.name.as_str(), app.code_hash));
            if workloads::hash(listed) != Some(workloads_hash) {
                return Err(malformed(oid::WORKLOADS_HASH, "the hash over the apps of this certificate"));
            }
        }
        Ok(LeafCertificate {
            spki_der: certificate.public_key().raw.to_vec(),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            quote: found.get(oid::QUOTE).map(<[u8]>::to_vec),
            configuration_root,
            workloads_hash,
            apps,
            app,
        })
    }
}

impl<'a> Extensions<'a> {
    fn of(certificate: &X509Certificate<'a>) -> Result<Self, LeafCertificateError> {
        let arc = oid::der_content(oid::ARC);
        let mut found: Vec<(&'static [u64], &'a [u8])> = Vec::new();
        for extension in certificate.extensions() {
            let content = extension.oid.as_bytes();
            let Some(known) = KNOWN.into_iter().find(|known| oid::der_content(known) == content) else {
                if content.starts_with(&arc) {
                    return Err(LeafCertificateError::Unknown(extension.oid.to_id_string()));
                }
                continue;
            };
            if found.iter().any(|(oid, _)| *oid == known) {
                return Err(LeafCertificateError::Twice(oid::dotted(known)));
            }
            found.push((known, extension.value));
        }
        Ok(Extensions(found))
    }

    fn get(&self, oid: &[u64]) -> Option<&'a [u8]> {
        self.0.iter().find(|(known, _)| *known == oid).map(|(_, value)| *value)
    }

    fn require(&self, oid: &[u64]) -> Result<&'a [u8], LeafCertificateError> {
        self.get(oid).ok_or_else(|| LeafCertificateError::Missing(oid::dotted(oid)))
    }

    fn hash(&self, oid: &[u64]) -> Result<[u8; 32], LeafCertificateError> {
        self.require(oid)?.try_into().map_err(|_| malformed(oid, "32 bytes"))
    }

    fn text(&self, oid: &[u64]) -> Result<&'a str, LeafCertificateError> {
        let text = std::str::from_utf8(self.require(oid)?).map_err(|_| malformed(oid, "ASCII"))?;
        if text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b'\n') {
            Ok(text)
        } else {
            Err(malformed(oid, "printable ASCII"))
        }
    }

    fn apps(&self) -> Result<Vec<AppClaim>, LeafCertificateError> {
        let lists = [oid::APP_NAMES, oid::ROUTE_PREFIXES, oid::CODE_HASHES];
        if lists.iter().all(|oid| self.get(oid).is_none()) {
            return Ok(Vec::new());
        }
        let names: Vec<_> = self.text(oid::APP_NAMES)?.split('\n').collect();
        let prefixes: Vec<_> = self.text(oid::ROUTE_PREFIXES)?.split('\n').collect();
        let (hashes, rest) = self.require(oid::CODE_HASHES)?.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != names.len() {
            return Err(malformed(oid::CODE_HASHES, "32 bytes for each app"));
        }
        if prefixes.len() != names.len() {
            return Err(malformed(oid::ROUTE_PREFIXES, "one line for each app"));
        }
        if names.iter().any(|name| name.is_empty()) || !names.is_sorted_by(|a, b| a < b) {
            return Err(malformed(oid::APP_NAMES, "names in order, each once"));
        }
        let claim = |((name, prefix), hash): ((&&str, &&str), &[u8; 32])| AppClaim {
            name: (*name).to_owned(),
            route_prefix: (*prefix).to_owned(),
            code_hash: *hash,
        };
        Ok(names.iter().zip(&prefixes).zip(hashes).map(claim).collect())
    }

    fn app(&self) -> Result<Option<AppLeaf>, LeafCertificateError> {
        let own = [oid::APP_CONFIGURATION_ROOT, oid::APP_CODE_HASH, oid::APP_KEY_SOURCE];
        if own.iter().all(|oid| self.get(oid).is_none()) {
            return Ok(None);
        }
        let key_source = self.text(oid::APP_KEY_SOURCE)?;
        if !is_key_source(key_source) {
            return Err(malformed(oid::APP_KEY_SOURCE, "`generated`, or `byok:` and 16 hexadecimal digits"));
        }
        Ok(Some(AppLeaf {
            configuration_root: self.hash(oid::APP_CONFIGURATION_ROOT)?,
            code_hash: self.hash(oid::APP_CODE_HASH)?,
            key_source: key_source.to_owned(),
        }))
    }
}

/// `generated`, or `byok:` and the first 8 bytes of SHA-256(key) in lowercase hexadecimal.
fn is_key_source(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text == "generated"
        || text.strip_prefix("byok:").is_some_and(|id| id.len() == 16 && id.bytes().all(digit))
}

fn malformed(oid: &[u64], rule: &'static str) -> LeafCertificateError {
    LeafCertificateError::Malformed { oid: oid::dotted(oid), rule }
}
