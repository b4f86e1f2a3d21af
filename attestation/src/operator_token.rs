//! Operators' tokens: what they say, and how they are spelled.
//!
//! A token is a JWT (RFC 7519) in the compact serialization of JWS (RFC 7515 §3.1), under the rules of RFC 8725. It is
//! signed by a root of the policy page, or by a key that such a root vouches for in a [`Delegation`], a JWT of its own
//! type inside the token's header. Shapes and rules: `docs/formats/tokens.md`.
//!
//! Here is the spelling alone. Whose signature it is and whether the token counts is decided inside the enclave.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::image_policy::{self, PublicKey};

/// Longest token in bytes, a delegation inside it included.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Most apps that a token or a delegation names.
pub const MAX_APPS: usize = 64;
/// From `iat` to `exp` of a token.
pub const MAX_LIFETIME_SECONDS: u64 = 300;
/// From `nbf` to `exp` of a delegation.
pub const MAX_DELEGATION_SECONDS: u64 = 366 * 24 * 60 * 60;
/// How far the clocks of who signs and of the enclave may differ.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// What a token or a key may do at most; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Call apps that demand a token.
    App,
    /// See lists and metrics.
    Monitoring,
    /// Load, unload, read logs, install a CA.
    Manager,
}

impl Role {
    /// As tokens spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::App => "app",
            Role::Monitoring => "monitoring",
            Role::Manager => "manager",
        }
    }
}

impl From<image_policy::Role> for Role {
    fn from(role: image_policy::Role) -> Role {
        match role {
            image_policy::Role::Monitoring => Role::Monitoring,
            image_policy::Role::Manager => Role::Manager,
        }
    }
}

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The enclave it is for: hex SHA-256 of its CA's SubjectPublicKeyInfo.
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it begins to count, if later.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// When it ends.
    pub exp: u64,
    /// What it is for.
    pub role: Role,
    /// The apps that it is for; absent: whatever the key is for.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// The one-time nonce of the connection that it is for: base64url of 32 bytes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Who made it. Nothing rests on it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is about. Nothing rests on it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Its name. Nothing rests on it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

/// The claims of a delegation: a root vouches for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The key, as on a policy page.
    pub key: PublicKey,
    /// What it may do at most; not more than the root.
    pub role: Role,
    /// When it begins, in seconds since 1970.
    pub nbf: u64,
    /// When it ends.
    pub exp: u64,
    /// The apps that its tokens are for at most; absent: all.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// Whom it is for. Nothing rests on it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
}

/// `null` is not "absent": a restriction that was lost on the way must not be dropped.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a JWT of ours can claim.
pub trait Claims: Serialize + DeserializeOwned {
    /// `typ` of its header (RFC 8725 §3.11): no kind is taken for another.
    const TYPE: &'static str;
    /// Whether its header may hold a delegation.
    const DELEGABLE: bool;

    /// The apps that it names.
    fn apps(&self) -> Option<&[String]>;
}

impl Claims for Token {
    const TYPE: &'static str = "enclave-os-token+jwt";
    const DELEGABLE: bool = true;

    fn apps(&self) -> Option<&[String]> {
        self.apps.as_deref()
    }
}

impl Claims for Delegation {
    const TYPE: &'static str = "enclave-os-delegation+jwt";
    const DELEGABLE: bool = false;

    fn apps(&self) -> Option<&[String]> {
        self.apps.as_deref()
    }
}

/// Why text is not a JWT of the wanted kind. What it quotes was in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too long.
    #[error("it has {0} bytes; at most {MAX_TOKEN} are taken")]
    TooLong(usize),
    /// Not three parts.
    #[error("it is not three parts with dots between them (JWS compact serialization)")]
    Compact,
    /// A part is not base64url.
    #[error("its {0} is not base64url without padding")]
    Base64(&'static str),
    /// A part is not the JSON object that it has to be.
    #[error("its {part}: {why}")]
    Json {
        /// Which part.
        part: &'static str,
        /// What serde says.
        why: String,
    },
    /// Another kind.
    #[error("its `typ` is {found:?} and has to be {wanted:?}")]
    Type {
        /// As it says.
        found: String,
        /// As it should.
        wanted: &'static str,
    },
    /// It demands extensions, and there are none (RFC 7515 §4.1.11).
    #[error("its header has `crit`, and no extension is understood here")]
    Critical,
    /// Neither ES256 nor EdDSA.
    #[error("its `alg` is {0:?}; only ES256 and EdDSA are taken")]
    Algorithm(String),
    /// Not 64 bytes.
    #[error("its signature has {0} bytes; those of ES256 and EdDSA have 64")]
    SignatureLength(usize),
    /// A delegation where none can be.
    #[error("a delegation cannot be delegated again")]
    Delegated,
    /// No app, or too many.
    #[error("`apps` names {0} apps; 1 to {MAX_APPS} are taken")]
    Apps(usize),
}

/// `alg` of a JWS (RFC 7518 §3.4, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The one algorithm of a key.
    pub const fn of(key: &PublicKey) -> Algorithm {
        match key {
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// As headers spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

/// A JWT of one kind, taken apart. Nothing says yet who signed it, so its claims are not read yet.
#[derive(Clone, Debug)]
pub struct Signed<'a, C> {
    message: &'a str,
    payload: &'a str,
    signature: [u8; 64],
    algorithm: Algorithm,
    kid: String,
    delegation: Option<String>,
    claims: PhantomData<C>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    delegation: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing)]
    crit: Option<IgnoredAny>,
}

impl<'a, C: Claims> Signed<'a, C> {
    /// Takes the compact serialization apart.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong(text.len()));
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Compact)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Compact)?;
        if payload.contains('.') {
            return Err(TokenError::Compact);
        }
        let Header { alg, typ, kid, delegation, crit } = json("header", header)?;
        if typ != C::TYPE {
            return Err(TokenError::Type { found: shown(&typ), wanted: C::TYPE });
        }
        if crit.is_some() {
            return Err(TokenError::Critical);
        }
        let algorithm = [Algorithm::Es256, Algorithm::EdDsa].into_iter().find(|known| known.name() == alg);
        let algorithm = algorithm.ok_or_else(|| TokenError::Algorithm(shown(&alg)))?;
        if delegation.is_some() && !C::DELEGABLE {
            return Err(TokenError::Delegated);
        }
        let signature = decode("signature", signature)?;
        let length = signature.len();
        let signature = signature.try_into().map_err(|_| TokenError::SignatureLength(length))?;
        Ok(Signed { message, payload, signature, algorithm, kid, delegation, claims: PhantomData })
    }

    /// What is signed.
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// 64 bytes: `r ‖ s` of ES256 (RFC 7518 §3.4), `R ‖ S` of EdDSA.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The algorithm that it says.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that it says: [`PublicKey::thumbprint`].
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The delegation that the key is under; `None`: it is a root.
    pub fn delegation(&self) -> Option<&str> {
        self.delegation.as_deref()
    }

    /// The claims. To be read when the signature holds.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn claims(&self) -> Result<C, TokenError> {
        let claims: C = json("payload", self.payload)?;
        match claims.apps().map(<[String]>::len) {
            Some(count) if !(1..=MAX_APPS).contains(&count) => Err(TokenError::Apps(count)),
            _ => Ok(claims),
        }
    }
}

/// The compact serialization of claims under a key, with the signature that `sign` makes of the message.
///
/// # Errors
/// What `sign` fails with.
pub fn encode<C: Claims, E>(
    claims: &C,
    key: &PublicKey,
    delegation: Option<&str>,
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
) -> Result<String, E> {
    let header = Header {
        alg: Algorithm::of(key).name().to_owned(),
        typ: C::TYPE.to_owned(),
        kid: key.thumbprint(),
        delegation: delegation.map(str::to_owned),
        crit: None,
    };
    // Strings and numbers cannot fail to be written to memory.
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap_or_default());
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
    let message = format!("{header}.{payload}");
    let signature = sign(message.as_bytes())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether text is a token or a delegation of ours or was meant to be one, good or not: by the type in what could be
/// its header, in any spelling that somebody could take for one.
pub fn is_one(text: &str) -> bool {
    const ANY: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let header = text.trim().split('.').next().unwrap_or_default();
    let Ok(header) = ANY.decode(header) else { return false };
    let Ok(header) = serde_json::from_slice::<serde_json::Value>(&header) else { return false };
    let typ = header.get("typ").and_then(serde_json::Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    [Token::TYPE, Delegation::TYPE].contains(&typ)
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64(part))
}

fn json<T: DeserializeOwned>(part: &'static str, text: &str) -> Result<T, TokenError> {
    let bytes = decode(part, text)?;
    serde_json::from_slice(&bytes).map_err(|error| TokenError::Json { part, why: shown(&error.to_string()) })
}

/// As much of what was sent as fits into an error message.
fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

#[cfg(test)]
mod tests;
