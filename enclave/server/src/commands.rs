//! What each command does, whichever protocol it came by.

use std::sync::Arc;

use boundary_wire::client::{Access, Call, Command, Envelope, ErrorReply, Exited, Load, Reply};
use enclave_access::{Grant, Operation, Wish};
use enclave_runtime::{App, CallHost, Output, Ran};

use crate::attest;
use crate::budget::Share;
use crate::catalog::State;
use crate::control::Job;
use crate::gate::{Cancelled, Inside};
use crate::limits;
use crate::refusal::Refusal;
use crate::session::Session;

/// Carries an envelope out. Failures are answers, too. `share` covers the envelope; an upload takes it along.
pub(crate) async fn run(session: &Session, envelope: Envelope, share: &mut Share) -> Reply {
    let auth = envelope.auth.as_ref().map(|token| token.expose());
    let result = match envelope.command {
        Command::Call(call) => self::call(session, call, auth).await,
        Command::List => list(session, auth),
        Command::Load(load) => {
            let fresh = session.share(limits::ALLOWANCE);
            let share = std::mem::replace(share, fresh);
            match may_load(session, &load.name, auth) {
                Ok(grant) => self::load(session, load, share, &grant).await,
                Err(refusal) => Err(refusal),
            }
        }
        Command::Unload(unload) => self::unload(session, unload.name, auth).await,
        Command::Schema(schema) => self::schema(session, &schema.app, auth),
        Command::Challenge => challenge(session),
        Command::Attest(attest) => attest::attest(session, &attest, auth).await,
    };
    result.unwrap_or_else(Refusal::into_reply)
}

pub(crate) async fn call(session: &Session, call: Call, auth: Option<&str>) -> Result<Reply, Refusal> {
    let services = &session.services;
    session.in_scope(&call.app)?;
    if call.command.is_some() && !call.params.is_empty() {
        let message = "a program takes `command.args` and `command.stdin`, no `params`";
        return Err(Refusal::new("bad-request", message));
    }
    let host = CallHost { handle: session.handle.clone(), backend: services.backend.clone() };
    let (app, inside) = enter(session, Operation::Call, &call.app, auth).await?;
    let answer = async {
        match call.command {
            None => app.call(&host, &call.function, &call.params).await.map(|returns| Reply::Ok { returns }),
            Some(input) => app.run(&host, &call.function, input).await.map(exited),
        }
    };
    match inside.run(answer).await {
        Ok(answer) => answer.map_err(|error| Refusal::new(error.code(), error.to_string())),
        Err(Cancelled) => Err(app_changing(&call.app)),
    }
}

fn exited(Ran { end, output }: Ran) -> Reply {
    let (exit_code, error) = match end {
        Ok(code) => (Some(code), None),
        Err(error) => (None, Some(ErrorReply { code: error.code().to_owned(), message: error.to_string() })),
    };
    let Output { stdout, stderr, truncated } = output;
    Reply::Exited(Exited { exit_code, stdout, stderr, truncated, error })
}

/// The app of that name, for one call or request, if whoever asks may have it and it is what the connection's
/// handshake attested.
pub(crate) async fn enter(
    session: &Session,
    operation: Operation,
    name: &str,
    auth: Option<&str>,
) -> Result<(Arc<App>, Inside), Refusal> {
    let services = &session.services;
    let mut admitted = false;
    loop {
        let entry = services.catalog.entry(name)?;
        // A token that is good for one time is shown once, even if the app is replaced meanwhile.
        if !admitted {
            session.decide_on(operation, &entry, auth)?;
            admitted = entry.access == Access::Token;
        }
        let (app, gate) = entry.ready()?;
        session.check_fresh(&entry)?;
        match gate.enter() {
            Ok(inside) => return Ok((Arc::clone(app), inside)),
            // The app is being replaced or unloaded: look again when that is done.
            Err(changed) => {
                let _permit = services.waiting.take().ok_or_else(|| {
                    let message =
                        "too many calls wait for apps that are being replaced; try again in a moment";
                    Refusal::new("overloaded", message)
                })?;
                let _gone = changed.await.is_err();
            }
        }
    }
}

pub(crate) fn app_changing(name: &str) -> Refusal {
    Refusal::new(
        "app-changing",
        format!(
            "app {name:?} is being replaced or unloaded and this call did not end in time: what it did last may be lost; \
             connect again and repeat it"
        ),
    )
}

pub(crate) fn list(session: &Session, auth: Option<&str>) -> Result<Reply, Refusal> {
    session.enclave_only()?;
    session.decide(Wish::new(Operation::List), auth)?;
    let apps = session.services.catalog.snapshot();
    Ok(Reply::Apps { apps: apps.values().map(crate::catalog::Entry::listed).collect() })
}

pub(crate) fn schema(session: &Session, name: &str, auth: Option<&str>) -> Result<Reply, Refusal> {
    session.in_scope(name)?;
    let entry = session.services.catalog.entry(name)?;
    session.decide_on(Operation::Schema, &entry, auth)?;
    let (app, _) = entry.ready()?;
    session.check_fresh(&entry)?;
    Ok(Reply::Schema { app: name.to_owned(), schema: app.schema() })
}

/// Whether an app of that name may be loaded here. Asked once for each load: a manager's token is good for one.
pub(crate) fn may_load(session: &Session, name: &str, auth: Option<&str>) -> Result<Grant, Refusal> {
    session.enclave_only()?;
    session.decide(Wish::on(Operation::Load, name), auth)
}

pub(crate) async fn load(
    session: &Session,
    mut load: Box<Load>,
    share: Share,
    grant: &Grant,
) -> Result<Reply, Refusal> {
    let services = &session.services;
    session.enclave_only()?;
    let bytes = std::mem::take(&mut load.bytes);
    let artifact = enclave_access::code_policy::approve(&services.policy, grant, bytes)?;
    let (app, change) = services.control.ask(|done| Job::Load { load, artifact, share, done }).await?;
    session.accept_own_change(&change);
    Ok(Reply::Loaded { app })
}

/// Why no credential whatever lets anybody load; `None`: there are some that do.
pub(crate) fn nobody_loads(session: &Session) -> Option<Refusal> {
    let denied = session.decide(Wish::new(Operation::Load), None).err()?;
    (denied.code() == "no-operators").then_some(denied)
}

pub(crate) async fn unload(session: &Session, name: String, auth: Option<&str>) -> Result<Reply, Refusal> {
    let services = &session.services;
    session.enclave_only()?;
    session.decide(Wish::on(Operation::Unload, &name), auth)?;
    if !services.catalog.snapshot().contains_key(&name) {
        return Ok(Reply::NotFound { name });
    }
    let app = name.clone();
    let Some(change) = services.control.ask(|done| Job::Unload { name: app, done }).await? else {
        return Ok(Reply::NotFound { name });
    };
    session.accept_own_change(&change);
    Ok(Reply::Unloaded { name })
}

pub(crate) fn challenge(session: &Session) -> Result<Reply, Refusal> {
    session.enclave_only()?;
    Ok(Reply::Challenge { nonce: session.challenge()? })
}

/// One app as the list shows it.
pub(crate) fn describe(
    session: &Session,
    name: &str,
    auth: Option<&str>,
) -> Result<serde_json::Value, Refusal> {
    session.enclave_only()?;
    session.decide(Wish::on(Operation::List, name), auth)?;
    let entry = session.services.catalog.entry(name)?;
    let mut shown =
        serde_json::to_value(entry.listed()).map_err(|error| Refusal::new("internal", error.to_string()))?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("route_prefix".into(), entry.route_prefix.clone().into());
        members.insert("access".into(), serde_json::json!(entry.access));
        if let State::Damaged(why) = &entry.state {
            members.insert("damage".into(), why.clone().into());
        }
    }
    Ok(shown)
}
