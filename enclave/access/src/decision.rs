//! The table of PROTOCOL "Who may do what", and nothing else that could say yes.

use crate::Policy;

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
            Operation::Call => "calling an app",
            Operation::AppHttp => "a route of an app",
            Operation::Schema => "the schema of an app",
            Operation::List => "the list of apps",
            Operation::Metrics => "metrics",
            Operation::Load => "loading an app",
            Operation::Unload => "unloading an app",
            Operation::Logs => "logs",
            Operation::CaCsr => "the CA's signing request",
            Operation::CaInstall => "installing a CA certificate",
        }
    }

    const fn required(self) -> Required {
        match self {
            Operation::Health
            | Operation::Evidence
            | Operation::Call
            | Operation::AppHttp
            | Operation::Schema
            | Operation::CaCsr => Required::Nothing,
            Operation::List | Operation::Metrics => Required::Monitoring,
            Operation::Load | Operation::Unload | Operation::Logs | Operation::CaInstall => Required::Manager,
        }
    }
}

enum Required {
    Nothing,
    Monitoring,
    Manager,
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
    /// Stable, for programs: `no-operators` or `tokens-not-supported`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// For people: what was denied and how it could be allowed.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Whether the policy allows `operation` to whoever shows `credential`.
///
/// # Errors
/// [`Denied`], with what would allow it.
pub fn decide(policy: &Policy, operation: Operation, credential: Option<&str>) -> Result<Grant, Denied> {
    let role = match operation.required() {
        Required::Nothing => return Ok(Grant(operation)),
        Required::Monitoring => "monitoring",
        Required::Manager => "manager",
    };
    if policy.development() {
        return Ok(Grant(operation));
    }
    let what = operation.name();
    let development = "for development, start with a policy file that says `development = true`";
    if !policy.has_operators() {
        return Err(Denied {
            code: "no-operators",
            message: format!(
                "{what} needs a {role} credential and the policy of this enclave names no operators, so nobody can \
                 have one; {development}"
            ),
        });
    }
    let shown = if credential.is_some() { "the token was not looked at: " } else { "" };
    Err(Denied {
        code: "tokens-not-supported",
        message: format!(
            "{what} needs a {role} credential; {shown}this build does not accept operator tokens yet and stays \
             closed; {development}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use attestation::image_policy::{ImagePolicy, Operator, PublicKey, Role};

    const OPEN: [Operation; 6] = [
        Operation::Health,
        Operation::Evidence,
        Operation::Call,
        Operation::AppHttp,
        Operation::Schema,
        Operation::CaCsr,
    ];

    fn policy(development: bool, operators: bool) -> Policy {
        let key = PublicKey::P256(
            graviola::key_agreement::p256::StaticPrivateKey::from_bytes(&[7; 32])
                .unwrap()
                .public_key_uncompressed(),
        );
        let operator = Operator { name: "alice".into(), role: Role::Manager, key };
        let operators = if operators { vec![operator] } else { vec![] };
        let page = ImagePolicy { development, operators, ..Default::default() }.to_page().unwrap();
        Policy::from_page(&page).unwrap()
    }

    #[test]
    fn closed_unless_the_measured_page_says_development() {
        for (operators, code) in [(false, "no-operators"), (true, "tokens-not-supported")] {
            for credential in [None, Some(""), Some("eyJhbGciOiJub25lIn0.e30."), Some("manager")] {
                for operation in Operation::ALL {
                    let decision = decide(&policy(false, operators), operation, credential);
                    if OPEN.contains(&operation) {
                        assert_eq!(decision.unwrap().operation(), operation);
                    } else {
                        let denied = decision.unwrap_err();
                        assert_eq!(denied.code(), code, "{operation:?}");
                        assert!(denied.message().contains("development = true"), "{denied}");
                    }
                }
            }
        }
        assert!(decide(&Policy::from_page(b"").unwrap(), Operation::Load, None).is_err());
    }

    #[test]
    fn a_development_policy_grants_everything() {
        for operation in Operation::ALL {
            let grant = decide(&policy(true, false), operation, None).unwrap();
            assert_eq!(grant.operation(), operation);
        }
    }
}
