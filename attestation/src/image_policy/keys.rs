//! Public keys of the policy: read from PEM or JWK, written in one form.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

/// A public key that verifies tokens: ES256 or EdDSA. On a page it is `p256:` or `ed25519:` and the
/// base64url of the uncompressed point (65 bytes) or of the key (32 bytes).
///
/// Whether the bytes are a point on the curve is checked where signatures are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// ECDSA on P-256 with SHA-256: `04 ‖ x ‖ y`.
    P256([u8; 65]),
    /// Ed25519.
    Ed25519([u8; 32]),
}

/// Why text is not a public key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is a private key.
    #[error("this is a private key; a policy names public keys only (openssl pkey -in key.pem -pubout)")]
    Private,
    /// Neither PEM nor JWK.
    #[error("not a public key: expected PEM with -----BEGIN PUBLIC KEY----- or a JWK object")]
    Form,
    /// Another algorithm.
    #[error("not an ECDSA P-256 or Ed25519 key")]
    Algorithm,
}

/// SubjectPublicKeyInfo up to the point (RFC 5480 §2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo up to the key (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The members of a public JWK (RFC 7517, 7518 §6.2, 8037 §2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "kid")]
    _kid: Option<String>,
    #[serde(default, rename = "use")]
    _use: Option<String>,
    #[serde(default, rename = "alg")]
    _alg: Option<String>,
    #[serde(default, rename = "key_ops")]
    _key_ops: Option<Vec<String>>,
}

impl PublicKey {
    /// Reads PEM (`PUBLIC KEY`) or a JWK.
    ///
    /// # Errors
    /// [`KeyError`]; a private key is refused by name.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with('{') { Self::from_jwk(text) } else { Self::from_pem(text) }
    }

    fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        let mut blocks = pem_blocks(text, "PUBLIC KEY").ok_or(KeyError::Form)?;
        let (Some(der), true) = (blocks.pop(), blocks.is_empty()) else {
            return Err(KeyError::Form);
        };
        Self::from_spki(&der).ok_or(KeyError::Algorithm)
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5480 §2, RFC 8410 §4).
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        if let Some(point) = der.strip_prefix(&P256_SPKI) {
            return Self::p256(point.try_into().ok()?);
        }
        Some(PublicKey::Ed25519(der.strip_prefix(&ED25519_SPKI)?.try_into().ok()?))
    }

    fn from_jwk(text: &str) -> Result<Self, KeyError> {
        let jwk: Jwk = serde_json::from_str(text).map_err(|_| KeyError::Form)?;
        if jwk.d.is_some() {
            return Err(KeyError::Private);
        }
        let coordinate = |text: &str| -> Result<[u8; 32], KeyError> {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Form)?;
            bytes.try_into().map_err(|_| KeyError::Form)
        };
        match (jwk.kty.as_str(), jwk.crv.as_str(), &jwk.y) {
            ("EC", "P-256", Some(y)) => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&coordinate(&jwk.x)?);
                point[33..].copy_from_slice(&coordinate(y)?);
                Ok(PublicKey::P256(point))
            }
            ("OKP", "Ed25519", None) => Ok(PublicKey::Ed25519(coordinate(&jwk.x)?)),
            _ => Err(KeyError::Algorithm),
        }
    }

    /// Its name in tokens: the JWK thumbprint with SHA-256 (RFC 7638 §3), base64url.
    pub fn thumbprint(&self) -> String {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = match self {
            PublicKey::P256(point) => {
                let (x, y) = point[1..].split_at(32);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, part(x), part(y))
            }
            PublicKey::Ed25519(key) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, part(key)),
        };
        part(&Sha256::digest(jwk))
    }

    /// PEM (`PUBLIC KEY`), as a policy file takes it.
    pub fn to_pem(&self) -> String {
        let der = match self {
            PublicKey::P256(point) => [&P256_SPKI[..], point].concat(),
            PublicKey::Ed25519(key) => [&ED25519_SPKI[..], key].concat(),
        };
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn p256(point: [u8; 65]) -> Option<Self> {
        (point[0] == 4).then_some(PublicKey::P256(point))
    }

    /// The form on a page.
    pub fn to_text(&self) -> String {
        match self {
            PublicKey::P256(point) => format!("p256:{}", URL_SAFE_NO_PAD.encode(point)),
            PublicKey::Ed25519(key) => format!("ed25519:{}", URL_SAFE_NO_PAD.encode(key)),
        }
    }

    /// Reads [`PublicKey::to_text`].
    pub fn from_text(text: &str) -> Option<Self> {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).ok();
        match text.split_once(':')? {
            ("p256", point) => Self::p256(decode(point)?.try_into().ok()?),
            ("ed25519", key) => Some(PublicKey::Ed25519(decode(key)?.try_into().ok()?)),
            _ => None,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::from_text(&text).ok_or_else(|| D::Error::custom("not a key as p256:… or ed25519:…"))
    }
}

/// Whether text is one or more PEM certificates.
pub(super) fn is_certificates(pem: &str) -> bool {
    pem_blocks(pem, CERTIFICATE).is_some_and(|blocks| !blocks.is_empty())
}

/// The certificates of a PEM file without the comments beside them.
#[cfg(feature = "toml")]
pub(super) fn certificates_alone(pem: &str) -> Option<String> {
    let mut out = String::new();
    for der in pem_blocks(pem, CERTIFICATE)? {
        let text = STANDARD.encode(der);
        let (lines, rest) = text.as_bytes().as_chunks::<64>();
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in lines.iter().map(|line| &line[..]).chain((!rest.is_empty()).then_some(rest)) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    Some(out)
}

const CERTIFICATE: &str = "CERTIFICATE";

/// The contents of all blocks of one label (RFC 7468); `None` if there is a block of another. Text
/// between blocks says nothing (§2).
fn pem_blocks(text: &str, label: &str) -> Option<Vec<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut lines = text.lines().map(str::trim);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if !line.starts_with("-----") {
            continue;
        }
        if line != begin {
            return None;
        }
        let mut body = String::new();
        loop {
            match lines.next()? {
                line if line == end => break,
                line => body.push_str(line),
            }
        }
        blocks.push(STANDARD.decode(body).ok()?);
    }
    Some(blocks)
}
