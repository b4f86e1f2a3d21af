//! `enclave-os token`: one token, for other programs such as curl.

use std::time::Duration;

use attestation::operator_token::{MAX_LIFETIME_SECONDS, Role};
use enclave_os_client::TokenRequest;
use serde_json::json;

use super::load::options::milliseconds;
use crate::args::Token;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Token) -> Result<(), Failure> {
    let key = session.key().ok_or_else(|| {
        Failure::usage("a token needs a key")
            .hint("--key FILE, or ENCLAVE_OS_KEY; `enclave-os key new FILE` makes one")
    })?;
    let apps = (!args.app.is_empty()).then(|| args.app.clone());
    let role = match (args.role.map(Role::from), &apps) {
        (Some(Role::App), None) => {
            return Err(
                Failure::usage("a token of role app names its apps").hint("--app NAME, once for each")
            );
        }
        (Some(role), _) => role,
        (None, Some(_)) => Role::App,
        (None, None) => Role::Monitoring,
    };
    let lifetime = Duration::from_millis(milliseconds(&args.lifetime)?);
    if !(1..=MAX_LIFETIME_SECONDS).contains(&lifetime.as_secs()) {
        return Err(Failure::usage(format!("a token lives from 1 s to {MAX_LIFETIME_SECONDS} s")));
    }
    let audience = match &args.audience {
        Some(audience) => audience.clone(),
        None => {
            session.warn();
            session.http()?.peer().audience()?
        }
    };
    if role == Role::Manager && args.nonce.is_none() {
        output::warning(
            "without --nonce a manager's token is good for what monitoring may do, and for nothing that needs a manager: \
             the commands of this program get one by themselves",
        );
    }
    let request = TokenRequest { audience, role, apps, nonce: args.nonce.clone(), lifetime };
    let token = key.token(&request).map_err(|error| Failure::local("key", error.to_string()))?;
    if session.json {
        output::json(&json!({ "status": "token", "token": token.expose(), "audience": request.audience }));
    } else {
        output::line(token.expose());
    }
    Ok(())
}
