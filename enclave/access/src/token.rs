//! Whether an operator's token counts: whose signature it is, for which enclave, when, and for what.
//!
//! Nothing of a token is believed before the signature over it holds, and the algorithm is that of the key, whatever
//! the token says (RFC 8725 §3.1).

use std::time::Duration;

use attestation::image_policy::PublicKey;
use attestation::operator_token::{
    Algorithm, CLOCK_SKEW_SECONDS, Claims, Delegation, MAX_DELEGATION_SECONDS, MAX_LIFETIME_SECONDS, Role,
    Signed, Token, TokenError,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, VerifyingKey};
use graviola::signing::eddsa::Ed25519VerifyingKey;

use crate::Policy;

/// What a token that counts is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) role: Role,
    /// `None`: all.
    pub(crate) apps: Option<Vec<String>>,
    pub(crate) nonce: Option<[u8; 32]>,
}

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not a token.
    #[error(
        "this is not an operator's token: {0}; `enclave-os token` makes one, docs/formats/tokens.md says how"
    )]
    Malformed(TokenError),
    /// Its algorithm is not that of its key.
    #[error("the token says {said}, and the key that it names is one for {wanted}: sign with that")]
    Algorithm {
        /// What it says.
        said: &'static str,
        /// What the key is for.
        wanted: &'static str,
    },
    /// No key of that name.
    #[error(
        "no operator of this enclave's measured policy has the key that the {0} names in `kid`: sign with a key of the \
         policy, or with one that such a key delegates to"
    )]
    Key(&'static str),
    /// Somebody else signed it, or it was changed.
    #[error("the signature of the {0} does not hold under the key that it names")]
    Signature(&'static str),
    /// The delegation does not count.
    #[error("the delegation of the token's key {0}")]
    Delegation(&'static str),
    /// The delegation is over, or has not begun.
    #[error(
        "the delegation of the token's key {what} at {at}, and by this enclave's clock it is {now} (seconds since 1970)"
    )]
    DelegationTime {
        /// `ended` or `begins`.
        what: &'static str,
        /// When.
        at: u64,
        /// What the clock says.
        now: u64,
    },
    /// For another enclave.
    #[error(
        "the token is for another enclave: `aud` has to be the SHA-256 of the public key of this enclave's CA, {wanted}"
    )]
    Audience {
        /// This enclave's.
        wanted: String,
    },
    /// It is over.
    #[error(
        "the token expired at {at}, and by this enclave's clock it is {now} (seconds since 1970): make a new one"
    )]
    Expired {
        /// When.
        at: u64,
        /// What the clock says.
        now: u64,
    },
    /// It has not begun.
    #[error(
        "the token begins at {at}, and by this enclave's clock it is {now} (seconds since 1970): wait, or set the clock \
         that is wrong"
    )]
    NotYetValid {
        /// When.
        at: u64,
        /// What the clock says.
        now: u64,
    },
    /// It lives too long, or ends before it begins.
    #[error("the token lives for {0} seconds from `iat` to `exp`; 1 to {MAX_LIFETIME_SECONDS} are taken")]
    Lifetime(i128),
    /// More than its key may.
    #[error(
        "the token claims the role {claimed}, and its key has the role {has}: claim that, or sign with another key"
    )]
    Role {
        /// What it claims.
        claimed: &'static str,
        /// What its key has.
        has: &'static str,
    },
    /// An app that its key is not for.
    #[error(
        "the token names an app that its key's delegation does not: leave it out, or sign with another key"
    )]
    Apps,
    /// A role for apps, and no apps.
    #[error("a token of role app names its apps in `apps`")]
    NoApps,
    /// The nonce is none.
    #[error("the token's `nonce` is not 32 bytes in base64url without padding, as the server hands them out")]
    Nonce,
}

impl Rejected {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Rejected::Malformed(TokenError::Algorithm(_)) | Rejected::Algorithm { .. } => "token-algorithm",
            Rejected::Malformed(_) | Rejected::NoApps | Rejected::Nonce => "token-malformed",
            Rejected::Key(_) => "token-key",
            Rejected::Signature(_) => "token-signature",
            Rejected::Delegation(_) | Rejected::DelegationTime { .. } => "token-delegation",
            Rejected::Audience { .. } => "token-audience",
            Rejected::Expired { .. } => "token-expired",
            Rejected::NotYetValid { .. } => "token-not-yet-valid",
            Rejected::Lifetime(_) => "token-lifetime",
            Rejected::Role { .. } => "token-role",
            Rejected::Apps => "token-apps",
        }
    }
}

/// What `text` lets its holder do, at the enclave `audience`, when it is `now`.
pub(crate) fn verify(policy: &Policy, text: &str, audience: &str, now: Duration) -> Result<Held, Rejected> {
    let now = now.as_secs();
    let signed = Signed::<Token>::parse(text).map_err(Rejected::Malformed)?;
    let signer = match signed.delegation() {
        None => root(policy, signed.kid(), "token")?,
        Some(delegation) => delegated(policy, delegation, signed.kid(), now)?,
    };
    check_signature(&signer.key, &signed, "token")?;
    let token = signed.claims().map_err(Rejected::Malformed)?;
    if token.aud != audience {
        return Err(Rejected::Audience { wanted: audience.to_owned() });
    }
    check_time(&token, now)?;
    if token.role > signer.role {
        return Err(Rejected::Role { claimed: token.role.name(), has: signer.role.name() });
    }
    let apps = match (token.apps, signer.apps) {
        (None, None) if token.role == Role::App => return Err(Rejected::NoApps),
        (Some(named), Some(allowed)) if named.iter().any(|app| !allowed.contains(app)) => {
            return Err(Rejected::Apps);
        }
        (named, allowed) => named.or(allowed),
    };
    let nonce = |text: &String| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
    let nonce = token.nonce.as_ref().map(|text| nonce(text).ok_or(Rejected::Nonce)).transpose()?;
    Ok(Held { role: token.role, apps, nonce })
}

/// Who signs, and what that key may do.
struct Signer {
    key: PublicKey,
    role: Role,
    apps: Option<Vec<String>>,
}

fn root(policy: &Policy, kid: &str, what: &'static str) -> Result<Signer, Rejected> {
    let operator = policy.operator(kid).ok_or(Rejected::Key(what))?;
    Ok(Signer { key: operator.key, role: operator.role.into(), apps: None })
}

/// The key that a root vouches for.
fn delegated(policy: &Policy, text: &str, kid: &str, now: u64) -> Result<Signer, Rejected> {
    let signed = Signed::<Delegation>::parse(text).map_err(Rejected::Malformed)?;
    let root = root(policy, signed.kid(), "delegation")?;
    check_signature(&root.key, &signed, "delegation")?;
    let Delegation { key, role, nbf, exp, apps, .. } = signed.claims().map_err(Rejected::Malformed)?;
    if key.thumbprint() != kid {
        return Err(Rejected::Delegation("is for another key than the one that the token names in `kid`"));
    }
    if role > root.role {
        return Err(Rejected::Delegation(
            "gives a higher role than the root that signed it has in the policy",
        ));
    }
    if exp.checked_sub(nbf).is_none_or(|lifetime| lifetime == 0 || lifetime > MAX_DELEGATION_SECONDS) {
        return Err(Rejected::Delegation("lives for more than 366 days, or ends before it begins"));
    }
    if nbf > now.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(Rejected::DelegationTime { what: "begins", at: nbf, now });
    }
    if exp.saturating_add(CLOCK_SKEW_SECONDS) <= now {
        return Err(Rejected::DelegationTime { what: "ended", at: exp, now });
    }
    Ok(Signer { key, role, apps })
}

fn check_signature<C: Claims>(
    key: &PublicKey,
    signed: &Signed<'_, C>,
    what: &'static str,
) -> Result<(), Rejected> {
    let (said, wanted) = (signed.algorithm(), Algorithm::of(key));
    if said != wanted {
        return Err(Rejected::Algorithm { said: said.name(), wanted: wanted.name() });
    }
    let holds = match key {
        PublicKey::P256(point) => VerifyingKey::<P256>::from_x962_uncompressed(point)
            .and_then(|key| key.verify::<Sha256>(&[signed.message()], signed.signature())),
        PublicKey::Ed25519(key) => Ed25519VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify(signed.signature(), signed.message())),
    };
    holds.map_err(|_| Rejected::Signature(what))
}

/// RFC 7519 §4.1.4 to §4.1.6.
fn check_time(token: &Token, now: u64) -> Result<(), Rejected> {
    let lifetime = i128::from(token.exp) - i128::from(token.iat);
    if !(1..=i128::from(MAX_LIFETIME_SECONDS)).contains(&lifetime) {
        return Err(Rejected::Lifetime(lifetime));
    }
    let begins = token.nbf.map_or(token.iat, |nbf| nbf.max(token.iat));
    if begins > now.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(Rejected::NotYetValid { at: begins, now });
    }
    if token.exp.saturating_add(CLOCK_SKEW_SECONDS) <= now {
        return Err(Rejected::Expired { at: token.exp, now });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
