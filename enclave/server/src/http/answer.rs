//! From a request to its answer.

use boundary_wire::client::{Attest, Call, CommandInput, Load, Params, Reply, encode_text};
use enclave_access::{Operation, Wish};
use enclave_platform::ThreadIndex;
use enclave_ratls::Scope;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

use super::apps::{self, Answered};
use super::authority;
use super::body::{self, Body, extend};
use super::held::Content;
use super::multipart::{Event, Multipart, MultipartError};
use super::outgoing::{Counted, Outgoing};
use super::path::{self, Path, PathError};
use super::routes::{self, Found, Route};
use super::{Activity, Answer, Request, Response, credential, json, options, problem};
use crate::control::{Job, MAX_ARTIFACT};
use crate::refusal::{Refusal, unknown_app};
use crate::session::Session;
use crate::{attest, catalog, commands, limits};

/// Answers one request. The answer counts against the budget until the client has taken it.
pub(super) async fn answer(session: &Session, activity: &Activity, request: Request) -> Answer {
    let version = request.version();
    let mut response = match respond(session, activity, request).await {
        Ok(Answered::App(response)) => {
            response.map(|body| Outgoing::App(body, Counted::new(session, activity), None))
        }
        Ok(Answered::Enclave(response)) => own(session, activity, response),
        Err(failure) => own(session, activity, refused(failure)),
    };
    if session.is_closing() && version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refused(failure: Failure) -> Response {
    match failure {
        Failure::Refused(refusal) => problem::problem(&refusal),
        Failure::Method(methods) => {
            let allowed = methods.join(", ");
            let message = format!("this path takes {allowed}");
            let mut response = problem::problem(&Refusal::new("method-not-allowed", message));
            if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            response
        }
    }
}

/// An answer of the enclave's own.
fn own(session: &Session, activity: &Activity, response: Response) -> Answer {
    let mut response = hold(session, activity, response);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

fn hold(session: &Session, activity: &Activity, response: Response) -> Answer {
    let answers = &activity.answers;
    let (share, now) = (|| session.share(limits::SMALL_ANSWER), session.handle.monotonic());
    let (head, content) = response.into_parts();
    match answers.hold(share(), now, content) {
        Ok(bytes) => http::Response::from_parts(head, Outgoing::Made(Full::new(bytes))),
        Err(overloaded) => {
            let (head, content) = problem::problem(&overloaded.into()).into_parts();
            // A problem as short as this one is outside the budget.
            let bytes = answers.hold(share(), now, content).unwrap_or_default();
            http::Response::from_parts(head, Outgoing::Made(Full::new(bytes)))
        }
    }
}

enum Failure {
    Refused(Refusal),
    Method(Vec<&'static str>),
}

impl<T: Into<Refusal>> From<T> for Failure {
    fn from(refusal: T) -> Failure {
        Failure::Refused(refusal.into())
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Refusal {
        Refusal::new("bad-path", error.to_string())
    }
}

impl From<MultipartError> for Refusal {
    fn from(error: MultipartError) -> Refusal {
        Refusal::new("bad-request", error.to_string())
    }
}

async fn respond(session: &Session, activity: &Activity, request: Request) -> Result<Answered, Failure> {
    authority::check(session, &request)?;
    body::check_coding(session, request.headers())?;
    let (head, body) = request.into_parts();
    let path = Path::parse(head.uri.path())?;
    match routes::find(&head.method, path.segments()) {
        Found::Route(route, names) => {
            let names: Vec<String> = names.into_iter().map(path::decode).collect::<Result<_, _>>()?;
            Ok(Answered::Enclave(operate(session, route, &names, &head, body).await?))
        }
        Found::Methods(methods) => Err(Failure::Method(methods)),
        Found::Nothing => {
            Err(Refusal::new("not-found", "there is no such path; /.enclave/v1/openapi.json lists them")
                .into())
        }
        Found::Outside => Ok(apps::serve(session, &activity.cut, &path, &head, body).await?),
    }
}

async fn operate(
    session: &Session,
    route: Route,
    names: &[String],
    head: &http::request::Parts,
    body: Incoming,
) -> Result<Response, Refusal> {
    let auth = credential::bearer(&head.headers);
    let name = names.first().map(String::as_str).unwrap_or_default();
    match route {
        Route::Health => {
            session.decide(Wish::new(Operation::Health), auth)?;
            Ok(json_value(&json!({ "status": "ok" })))
        }
        Route::Ready => {
            session.decide(Wish::new(Operation::Health), auth)?;
            Ok(ready(session).await)
        }
        Route::Manifest => manifest(session, auth),
        Route::Proof => proof(session, name, auth),
        Route::OpenApi => Ok(typed(Content::Static(crate::OPENAPI), "application/json")),
        Route::List => commands::list(session, auth).map(reply),
        Route::Describe => commands::describe(session, name, auth).map(|shown| json_value(&shown)),
        Route::Schema => commands::schema(session, name, auth).map(reply),
        Route::Challenge => commands::challenge(session).map(reply),
        Route::Load => load(session, name, head, body).await,
        Route::Unload => match commands::unload(session, name.to_owned(), auth).await? {
            Reply::NotFound { name } => Err(unknown_app(&name)),
            done => Ok(reply(done)),
        },
        Route::Call => {
            let function = names.get(1).cloned().unwrap_or_default();
            session.in_scope(name)?;
            let (bytes, mut share) = Body::new(session, body, limits::MAX_JSON)?.read_all().await?;
            share.cover(bytes.capacity().saturating_add(json::cost(&bytes)?))?;
            let call = Call::new(name, &function, params(&bytes)?);
            drop(bytes);
            commands::call(session, call, auth).await.map(reply)
        }
        Route::Run => {
            session.in_scope(name)?;
            let (bytes, mut share) = Body::new(session, body, limits::MAX_JSON)?.read_all().await?;
            share.cover(bytes.capacity().saturating_add(json::cost(&bytes)?))?;
            let call = Call::run(name, command_input(&bytes)?);
            drop(bytes);
            commands::call(session, call, auth).await.map(reply)
        }
        Route::CaCsr => {
            session.enclave_only()?;
            session.decide(Wish::new(Operation::CaCsr), auth)?;
            let csr = session.services.identities.csr_pem();
            let csr = csr.map_err(|error| Refusal::new("certificate-failed", error.to_string()))?;
            Ok(typed(Content::Made(csr.into_bytes()), "application/x-pem-file"))
        }
        Route::CaInstall => install_ca(session, body, auth).await,
        Route::Attest => {
            let (bytes, _share) = Body::new(session, body, limits::ALLOWANCE)?.read_all().await?;
            let attest: Attest = serde_json::from_slice(&bytes).map_err(|error| {
                let message = format!("the body is {{\"nonce\":\"<base64url of 32 bytes>\"}}: {error}");
                Refusal::new("bad-request", message)
            })?;
            attest::attest(session, &attest, auth).await.map(reply)
        }
        Route::Evidence => {
            let interoperable = wants_interoperable(head)?;
            let document = attest::evidence(session, interoperable, auth).await?;
            Ok(typed(Content::Made(document.into_bytes()), "application/json"))
        }
        Route::Metrics | Route::Logs => {
            session.enclave_only()?;
            let wish = match route {
                Route::Logs => Wish::on(Operation::Logs, name),
                _ => Wish::new(Operation::Metrics),
            };
            session.decide(wish, auth)?;
            Err(Refusal::new("not-available", "this build does not offer this operation"))
        }
    }
}

/// `?interop=1`.
fn wants_interoperable(head: &http::request::Parts) -> Result<bool, Refusal> {
    let mut wanted = false;
    for (option, value) in path::query(head.uri.query())? {
        wanted = match (option.as_str(), value.as_str()) {
            ("interop", "0") => false,
            ("interop", "1") => true,
            _ => return Err(Refusal::new("bad-option", "evidence takes one option: interop=1 (or 0)")),
        };
    }
    Ok(wanted)
}

fn command_input(bytes: &[u8]) -> Result<CommandInput, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Ok(CommandInput::default());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the body is {{\"args\":[…],\"stdin\":\"<base64>\"}}, both optional: {error}");
        Refusal::new("bad-request", message)
    })
}

fn params(bytes: &[u8]) -> Result<Params, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Params::default());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the body is the function's arguments as a JSON array or object: {error}");
        Refusal::new("bad-request", message)
    })
}

async fn ready(session: &Session) -> Response {
    let absent = session.handle.absent(limits::ROLL_CALL_TIME).await;
    let services = &session.services;
    let info = &services.info;
    let draining = session.handle.is_draining();
    let store_ended = services.store.ended();
    let mut document = json!({
        "status": match (draining, absent.is_empty() && store_ended.is_none()) {
            (true, _) => "draining",
            (false, false) => "degraded",
            (false, true) => "ready",
        },
        "version": info.version,
        "platform": info.platform.name(),
        "target": info.target,
        "engine": info.engine,
        "engine_version": info.engine_version,
        "development": info.development,
        "mrenclave": info.mrenclave,
        "workers": info.workers,
        "quotes": attest::readiness(session),
        "storage": match &store_ended {
            None => json!({ "state": "ready" }),
            Some(why) => json!({ "state": "ended", "reason": why.to_string() }),
        },
    });
    if session.scope == Scope::Enclave
        && let Some(members) = document.as_object_mut()
    {
        let apps = services.catalog.snapshot();
        let of = |wanted: fn(&catalog::State) -> bool| {
            let names = apps.iter().filter(|(_, entry)| wanted(&entry.state)).map(|(name, _)| name.clone());
            serde_json::Value::from(names.collect::<Vec<_>>())
        };
        let named = |thread: &ThreadIndex| match thread.0 {
            worker if worker < info.workers => format!("worker-{worker}"),
            _ => "control".to_owned(),
        };
        members.insert("absent".into(), absent.iter().map(named).collect());
        members.insert("apps".into(), apps.len().into());
        members.insert("locked".into(), of(|state| matches!(state, catalog::State::Locked)));
        let full = apps.iter().filter(|(_, entry)| entry.storage().is_some_and(|storage| storage.is_short()));
        members.insert("short_of_storage".into(), full.map(|(name, _)| name.clone()).collect());
        members.insert("damaged".into(), of(|state| matches!(state, catalog::State::Damaged(_))));
        let damage = apps.iter().filter_map(|(name, entry)| match &entry.state {
            catalog::State::Damaged(why) => Some((name.clone(), why.clone().into())),
            _ => None,
        });
        members.insert("damage".into(), serde_json::Value::Object(damage.collect()));
    }
    let mut response = json_value(&document);
    if draining {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn manifest(session: &Session, auth: Option<&str>) -> Result<Response, Refusal> {
    session.decide(Wish::new(Operation::Evidence), auth)?;
    let manifest = session.services.identities.manifest();
    session.still_attested()?;
    let shown = match &session.scope {
        Scope::Enclave => serde_json::to_value(&*manifest),
        Scope::App(app) => {
            let own = manifest.of_app(app).map_err(internal)?;
            serde_json::to_value(&own)
        }
    };
    shown.map(|shown| json_value(&shown)).map_err(internal)
}

fn proof(session: &Session, leaf: &str, auth: Option<&str>) -> Result<Response, Refusal> {
    session.decide(Wish::new(Operation::Evidence), auth)?;
    let unknown = || {
        let leaf: String = leaf.chars().take(80).collect();
        Refusal::new("unknown-leaf", format!("the manifest has no leaf {leaf:?}"))
    };
    if let Scope::App(app) = &session.scope
        && leaf.starts_with("app.")
        && !leaf.starts_with(&format!("app.{app}."))
    {
        return Err(unknown());
    }
    let manifest = session.services.identities.manifest();
    session.still_attested()?;
    let proof = manifest.proof(leaf).ok_or_else(unknown)?;
    serde_json::to_value(&proof).map(|shown| json_value(&shown)).map_err(internal)
}

async fn load(
    session: &Session,
    name: &str,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<Response, Refusal> {
    // Before the first byte of the body is read.
    let grant = commands::may_load(session, name, credential::bearer(&head.headers))?;
    let mut load = Box::new(Load { name: name.to_owned(), ..Load::default() });
    for (option, value) in path::query(head.uri.query())? {
        options::set(&mut load, &option, value)?;
    }
    let media = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).transpose();
    let media =
        media.map_err(|_| Refusal::new("bad-request", "the content type is not text"))?.unwrap_or_default();
    let body = Body::new(session, body, MAX_ARTIFACT + limits::MAX_OPTIONS)?.trusted();
    let is_form = media.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"));
    // The share covers the component until it is loaded.
    let (bytes, share) =
        if is_form { read_form(&mut load, media, body).await? } else { body.read_all().await? };
    load.bytes = bytes;
    commands::load(session, load, share, &grant).await.map(reply)
}

/// The component is the part `component`; the other parts are options.
async fn read_form(
    load: &mut Load,
    media: &str,
    mut body: Body<'_>,
) -> Result<(Vec<u8>, crate::budget::Share), Refusal> {
    let mut share = body.share();
    let mut form = Multipart::new(media)?;
    let (mut component, mut seen_component) = (Vec::new(), false);
    let mut option: Option<(String, Vec<u8>)> = None;
    let mut options_left = limits::MAX_OPTIONS;
    while let Some(bytes) = body.next().await? {
        form.feed(&bytes);
        share.cover(component.capacity().saturating_add(form.held_bytes()))?;
        while let Some(event) = form.next()? {
            match event {
                Event::Part(part) => {
                    set_option(load, option.take())?;
                    if part != "component" {
                        option = Some((part, Vec::new()));
                    } else if std::mem::replace(&mut seen_component, true) {
                        return Err(Refusal::new("bad-request", "the form has two parts `component`"));
                    }
                }
                Event::Bytes(bytes) => match &mut option {
                    Some((_, value)) => {
                        options_left = options_left
                            .checked_sub(bytes.len())
                            .ok_or_else(|| Refusal::new("too-large", "the form's options are too long"))?;
                        value.extend_from_slice(&bytes);
                    }
                    None => extend(&mut component, &bytes, body.expected(), &mut share, form.held_bytes())?,
                },
                Event::End => set_option(load, option.take())?,
            }
        }
    }
    form.finish()?;
    if !seen_component {
        return Err(Refusal::new(
            "bad-request",
            "the form has no part `component` with the compiled component",
        ));
    }
    Ok((component, share))
}

fn set_option(load: &mut Load, option: Option<(String, Vec<u8>)>) -> Result<(), Refusal> {
    let Some((name, value)) = option else { return Ok(()) };
    let value = String::from_utf8(value)
        .map_err(|_| Refusal::new("bad-option", format!("the value of option `{name}` is not UTF-8")))?;
    options::set(load, &name, value)
}

async fn install_ca(session: &Session, body: Incoming, auth: Option<&str>) -> Result<Response, Refusal> {
    session.enclave_only()?;
    session.decide(Wish::new(Operation::CaInstall), auth)?;
    let (bytes, _share) = Body::new(session, body, limits::MAX_PEM)?.read_all().await?;
    let chain_pem =
        String::from_utf8(bytes).map_err(|_| Refusal::new("bad-certificate", "the body is PEM text"))?;
    let change = session.services.control.ask(|done| Job::InstallCa { chain_pem, done }).await?;
    session.accept_own_change(&change);
    Ok(json_value(&json!({ "status": "installed" })))
}

fn reply(reply: Reply) -> Response {
    typed(Content::Made(encode_text(&reply)), "application/json")
}

fn json_value(value: &serde_json::Value) -> Response {
    typed(Content::Made(value.to_string().into_bytes()), "application/json")
}

fn typed(content: Content, media: &'static str) -> Response {
    let mut response = Response::new(content);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new("internal", error.to_string())
}
