//! Operators' keys, and the tokens that they make (`docs/formats/tokens.md`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::image_policy::PublicKey;
use attestation::operator_token::{
    Algorithm, Delegation, MAX_LIFETIME_SECONDS, Role, Signed, Token, TokenError, encode,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundary_wire::client::{Command, Secret};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey};
use graviola::signing::eddsa::Ed25519SigningKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ClientError;

/// How long automatic tokens live: long enough for an upload's first byte and clocks that differ.
const LIFETIME: Duration = Duration::from_secs(120);
const DELEGATION: &str = "ENCLAVE OS DELEGATION";

/// A private key whose tokens an enclave takes: one of its policy's, or one that such a key vouches for.
pub struct OperatorKey {
    signer: Signer,
    public: PublicKey,
    delegation: Option<Vouched>,
}

enum Signer {
    P256(Box<SigningKey<P256>>),
    Ed25519(Box<Ed25519SigningKey>),
}

struct Vouched {
    text: String,
    says: Delegation,
}

/// Why a file is no operator's key, or the key cannot be used.
#[derive(Debug, Error)]
pub enum OperatorKeyError {
    /// No key in it.
    #[error(
        "there is no private key in it: it holds one block -----BEGIN PRIVATE KEY----- (PKCS#8), without a password"
    )]
    NoKey,
    /// More than one key or delegation.
    #[error("it holds more than one {0}, and nobody can say which is meant")]
    Several(&'static str),
    /// A block that is cut or no base64.
    #[error("a block of it is not PEM")]
    Pem,
    /// A key of another kind.
    #[error("its key is not an ECDSA P-256 or Ed25519 one")]
    Kind,
    /// The delegation is none.
    #[error("the delegation in it is not one: {0}")]
    Delegation(#[from] TokenError),
    /// The delegation is of another key.
    #[error("the delegation in it is for another key")]
    OtherKey,
    /// graviola's own failure.
    #[error("the key cannot be used: {0:?}")]
    Crypto(graviola::Error),
}

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The enclave: [`crate::Peer::audience`].
    pub audience: String,
    /// What it is for.
    pub role: Role,
    /// For which apps; role `app` names them.
    pub apps: Option<Vec<String>>,
    /// The connection's nonce, for managers.
    pub nonce: Option<String>,
    /// How long it lives, at most 5 minutes.
    pub lifetime: Duration,
}

impl OperatorKey {
    /// A new key.
    ///
    /// # Errors
    /// [`OperatorKeyError::Crypto`] without random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, OperatorKeyError> {
        Self::new(match algorithm {
            Algorithm::Es256 => {
                Signer::P256(Box::new(SigningKey::generate().map_err(OperatorKeyError::Crypto)?))
            }
            Algorithm::EdDsa => {
                Signer::Ed25519(Box::new(Ed25519SigningKey::generate().map_err(OperatorKeyError::Crypto)?))
            }
        })
    }

    fn new(signer: Signer) -> Result<Self, OperatorKeyError> {
        let public = match &signer {
            Signer::P256(key) => {
                let mut spki = [0; 256];
                let spki = key.to_spki_der(&mut spki).map_err(OperatorKeyError::Crypto)?;
                PublicKey::from_spki(spki).ok_or(OperatorKeyError::Kind)?
            }
            Signer::Ed25519(key) => PublicKey::Ed25519(key.public_key().as_bytes()),
        };
        Ok(Self { signer, public, delegation: None })
    }

    /// Reads a key file: a private key as openssl writes it (`PRIVATE KEY`, or `EC PRIVATE KEY`), and the delegation
    /// that it is under, if it is no root.
    ///
    /// # Errors
    /// [`OperatorKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, OperatorKeyError> {
        let (mut key, mut delegation) = (None, None);
        for (label, content) in blocks(text)? {
            let twice = match label {
                "PRIVATE KEY" => key.replace(pkcs8(&content)?).is_some().then_some("private key"),
                "EC PRIVATE KEY" => key.replace(sec1(&content)?).is_some().then_some("private key"),
                DELEGATION => delegation.replace(content).is_some().then_some("delegation"),
                _ => None,
            };
            if let Some(what) = twice {
                return Err(OperatorKeyError::Several(what));
            }
        }
        let mut key = Self::new(key.ok_or(OperatorKeyError::NoKey)?)?;
        if let Some(content) = delegation {
            let text = String::from_utf8(content.to_vec()).map_err(|_| OperatorKeyError::Pem)?;
            let says = Signed::<Delegation>::parse(&text)?.claims()?;
            if says.key != key.public {
                return Err(OperatorKeyError::OtherKey);
            }
            key.delegation = Some(Vouched { text, says });
        }
        Ok(key)
    }

    /// The private key as PEM (PKCS#8), without the delegation.
    ///
    /// # Errors
    /// [`OperatorKeyError::Crypto`].
    pub fn to_pem(&self) -> Result<Secret, OperatorKeyError> {
        let mut der = Zeroizing::new([0; 512]);
        let der = match &self.signer {
            Signer::P256(key) => key.to_pkcs8_der(&mut *der),
            Signer::Ed25519(key) => key.to_pkcs8_der(&mut *der),
        };
        Ok(Secret::new(block("PRIVATE KEY", der.map_err(OperatorKeyError::Crypto)?)))
    }

    /// The key that a policy names.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// What the delegation that this key is under says; `None`: it has to be a root.
    pub fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref().map(|vouched| &vouched.says)
    }

    /// Vouches for a key: the block that belongs into that key's file.
    ///
    /// # Errors
    /// [`OperatorKeyError::Crypto`].
    pub fn delegate(&self, delegation: &Delegation) -> Result<String, OperatorKeyError> {
        let text = encode(delegation, &self.public, None, |message| self.sign(message))?;
        Ok(block(DELEGATION, text.as_bytes()))
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`OperatorKeyError::Crypto`].
    pub fn token(&self, request: &TokenRequest) -> Result<Secret, OperatorKeyError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let token = Token {
            aud: request.audience.clone(),
            iat: now,
            nbf: None,
            exp: now + request.lifetime.as_secs().clamp(1, MAX_LIFETIME_SECONDS),
            role: request.role,
            apps: request.apps.clone(),
            nonce: request.nonce.clone(),
            iss: None,
            sub: None,
            jti: None,
        };
        let delegation = self.delegation.as_ref().map(|vouched| vouched.text.as_str());
        encode(&token, &self.public, delegation, |message| self.sign(message)).map(Secret::new)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], OperatorKeyError> {
        match &self.signer {
            Signer::P256(key) => {
                let mut signature = [0; 64];
                key.sign::<Sha256>(&[message], &mut signature).map_err(OperatorKeyError::Crypto)?;
                Ok(signature)
            }
            Signer::Ed25519(key) => Ok(key.sign(message)),
        }
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A key at work on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) key: Arc<OperatorKey>,
    pub(crate) audience: String,
}

/// The least that an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need<'a> {
    pub(crate) role: Role,
    app: Option<&'a str>,
}

impl<'a> Need<'a> {
    pub(crate) const fn manager(app: Option<&'a str>) -> Need<'a> {
        Need { role: Role::Manager, app }
    }

    /// What a command needs, or may need: who calls does not know whether the app demands a token.
    pub(crate) fn of(command: &'a Command) -> Option<Need<'a>> {
        match command {
            Command::Load(load) => Some(Need::manager(Some(&load.name))),
            Command::Unload(unload) => Some(Need::manager(Some(&unload.name))),
            Command::List => Some(Need { role: Role::Monitoring, app: None }),
            Command::Call(call) => Some(Need { role: Role::App, app: Some(&call.app) }),
            Command::Schema(schema) => Some(Need { role: Role::App, app: Some(&schema.app) }),
            Command::Challenge | Command::Attest(_) => None,
        }
    }

    pub(crate) fn wants_nonce(&self) -> bool {
        self.role == Role::Manager
    }
}

impl Operator {
    /// A token for that and nothing more.
    pub(crate) fn token(&self, need: Need<'_>, nonce: Option<String>) -> Result<Secret, ClientError> {
        let apps = need.app.map(|app| vec![app.to_owned()]);
        let audience = self.audience.clone();
        let request = TokenRequest { audience, role: need.role, apps, nonce, lifetime: LIFETIME };
        self.key.token(&request).map_err(|error| ClientError::Key(error.to_string()))
    }
}

fn pkcs8(der: &[u8]) -> Result<Signer, OperatorKeyError> {
    if let Ok(key) = SigningKey::from_pkcs8_der(der) {
        return Ok(Signer::P256(Box::new(key)));
    }
    let key = Ed25519SigningKey::from_pkcs8_der(der).map_err(|_| OperatorKeyError::Kind)?;
    Ok(Signer::Ed25519(Box::new(key)))
}

fn sec1(der: &[u8]) -> Result<Signer, OperatorKeyError> {
    let key = SigningKey::from_sec1_der(der).map_err(|_| OperatorKeyError::Kind)?;
    Ok(Signer::P256(Box::new(key)))
}

type Block<'a> = (&'a str, Zeroizing<Vec<u8>>);

/// Labels and contents of the blocks of a PEM file (RFC 7468). Text between them says nothing.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, OperatorKeyError> {
    let mut lines = text.lines().map(str::trim);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let mut body = Zeroizing::new(String::new());
        loop {
            match lines.next().ok_or(OperatorKeyError::Pem)? {
                end if end.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----"))
                    == Some(label) =>
                {
                    break;
                }
                line => body.push_str(line),
            }
        }
        // Encrypted keys of the old form have headers in front; they are no keys here.
        let content = STANDARD.decode(body.as_bytes()).map_err(|_| OperatorKeyError::Pem)?;
        blocks.push((label, Zeroizing::new(content)));
    }
    Ok(blocks)
}

fn block(label: &str, content: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(content));
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests;
