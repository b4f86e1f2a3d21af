//! The table of PROTOCOL "Who may do what", and nothing else that could say yes.

use std::time::Duration;

use attestation::operator_token::Role;

use crate::Policy;
use crate::nonces::Nonces;
use crate::token::{self, Rejected};

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Health, readiness, Ping.
    Health,
    /// Evidence, manifest, proofs, attest, challenge.
    Evidence,
    /// Call an export of an app.
    Call,
    /// An HTTP route of an app.
    AppHttp,
    /// The typed exports of an app.
    Schema,
    /// The list of apps.
    List,
    /// Metrics.
    Metrics,
    /// Load or replace an app.
    Load,
    /// Unload an app and erase its data.
    Unload,
    /// Log lines of an app.
    Logs,
    /// The request for a certificate of the enclave CA: public, so that an operator can sign it.
    CaCsr,
    /// Install what the operator signed.
    CaInstall,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 12] = [
        Operation::Health,
        Operation::Evidence,
        Operation::Call,
        Operation::AppHttp,
        Operation::Schema,
        Operation::List,
        Operation::Metrics,
        Operation::Load,
        Operation::Unload,
        Operation::Logs,
        Operation::CaCsr,
        Operation::CaInstall,
    ];

    /// For error messages.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Health => "health",
            Operation::Evidence => "evidence",
            Operation::Call => "calling this app",
            Operation::AppHttp => "a route of this app",
            Operation::Schema => "the schema of this app",
            Operation::List => "the list of apps",
            Operation::Metrics => "metrics",
            Operation::Load => "loading an app",
            Operation::Unload => "unloading an app",
            Operation::Logs => "logs",
            Operation::CaCsr => "the CA's signing request",
            Operation::CaInstall => "installing a CA certificate",
        }
    }
}

/// An operation and what it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    operation: Operation,
    app: Option<&'a str>,
    by_token: bool,
}

impl<'a> Wish<'a> {
    /// An operation that is not about one app.
    pub const fn new(operation: Operation) -> Wish<'static> {
        Wish { operation, app: None, by_token: false }
    }

    /// An operation on one app.
    pub const fn on(operation: Operation, app: &'a str) -> Wish<'a> {
        Wish { operation, app: Some(app), by_token: false }
    }

    /// Whether the app was loaded with `access: "token"`.
    #[must_use]
    pub const fn by_token(self, by_token: bool) -> Wish<'a> {
        Wish { by_token, ..self }
    }

    const fn required(&self) -> Option<Role> {
        match self.operation {
            Operation::Health | Operation::Evidence | Operation::CaCsr => None,
            Operation::Call | Operation::AppHttp | Operation::Schema if self.by_token => Some(Role::App),
            Operation::Call | Operation::AppHttp | Operation::Schema => None,
            Operation::List | Operation::Metrics => Some(Role::Monitoring),
            Operation::Load | Operation::Unload | Operation::Logs | Operation::CaInstall => {
                Some(Role::Manager)
            }
        }
    }
}

/// Where and when a credential is shown.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// What tokens for this enclave name as their audience: hex SHA-256 of its CA's SubjectPublicKeyInfo.
    pub audience: &'a str,
    /// Wall time since 1970, by the enclave's clock.
    pub now: Duration,
    /// The nonces of the connection.
    pub nonces: &'a Nonces,
}

/// Shows that the policy allows one operation. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Grant(Operation);

impl Grant {
    /// What it allows.
    pub fn operation(&self) -> Operation {
        self.0
    }
}

/// The policy does not allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    code: &'static str,
    message: String,
}

impl Denied {
    /// Stable, for programs. `no-operators`: nobody can have a credential. `unauthenticated`: there is none.
    /// `token-…`, `nonce-…`: it does not count. `role-too-low`, `app-not-allowed`: it does not suffice.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// For people: what was denied and how it could be allowed.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Rejected> for Denied {
    fn from(rejected: Rejected) -> Denied {
        Denied { code: rejected.code(), message: rejected.to_string() }
    }
}

/// Whether the policy allows `wish` to whoever shows `credential`. A credential that is not needed is not looked at; a
/// nonce in one that counts is used up.
///
/// # Errors
/// [`Denied`], with what would allow it.
pub fn decide(
    policy: &Policy,
    wish: Wish<'_>,
    credential: Option<&str>,
    at: Circumstances<'_>,
) -> Result<Grant, Denied> {
    let granted = Ok(Grant(wish.operation));
    let Some(required) = wish.required() else { return granted };
    if policy.development() {
        return granted;
    }
    let (what, role) = (wish.operation.name(), required.name());
    if !policy.has_role(required) {
        return Err(nobody(policy, what, role));
    }
    let Some(text) = credential else {
        let message = format!(
            "{what} needs a token of role {role} or above, and there is none: `enclave-os --key FILE` makes and sends them; \
             over HTTP it is `Authorization: Bearer <token>`, exactly once, in frames `auth` beside the command"
        );
        return Err(Denied { code: "unauthenticated", message });
    };
    let held = token::verify(policy, text, at.audience, at.now)?;
    if held.role < required {
        let has = held.role.name();
        let message = format!("{what} needs a token of role {role}, and this one is of role {has}");
        return Err(Denied { code: "role-too-low", message });
    }
    if held.apps.is_some_and(|apps| wish.app.is_none_or(|wanted| !apps.iter().any(|app| app == wanted))) {
        let message = match wish.app {
            Some(_) => {
                format!("the token is for other apps than this one, and {what} needs one that names it")
            }
            None => format!("the token is for some apps alone, and {what} is not about one of them"),
        };
        return Err(Denied { code: "app-not-allowed", message });
    }
    match held.nonce {
        Some(nonce) if at.nonces.take(&nonce) => granted,
        Some(_) => Err(Denied {
            code: "nonce-unknown",
            message:
                "the nonce in the token is not outstanding on this connection: it was used already, or is of \
                      another connection. Get a new one on this connection and make a new token with it"
                    .to_owned(),
        }),
        None if required == Role::Manager => Err(Denied {
            code: "nonce-missing",
            message: format!(
                "{what} needs a token with `nonce`, a one-time nonce of this very connection: get one by the frame \
                 {{\"challenge\":{{}}}} or POST /.enclave/v1/challenge and put it into the token"
            ),
        }),
        None => granted,
    }
}

/// No credential could be enough.
fn nobody(policy: &Policy, what: &str, role: &str) -> Denied {
    let who = if policy.has_operators() { "no operator of that role" } else { "no operators" };
    Denied {
        code: "no-operators",
        message: format!(
            "{what} needs a credential of role {role} and the policy of this enclave names {who}, so nobody can have one: \
             name one in the policy file (`enclave-os key new` makes a key and prints the lines), or, for development, \
             say `development = true` there; docs/formats/policy-page.md"
        ),
    }
}

#[cfg(test)]
mod tests;
