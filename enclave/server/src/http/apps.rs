//! Requests to the HTTP handlers of apps (PROTOCOL "HTTP").

use std::collections::BTreeMap;

use boundary_wire::client::Secret;
use enclave_access::Operation;
use enclave_ratls::Scope;
use enclave_runtime::{CallHost, Delivered, HttpFailure};
use enclave_wasi::http::{Answer, Arriving, ErrorCode};
use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::path::Path;
use super::{Cut, Response, credential, problem, trailers};
use crate::catalog::Entry;
use crate::commands;
use crate::refusal::Refusal;
use crate::session::Session;

/// What stood in front of the path that an app sees.
pub(super) const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Who answered.
pub(super) enum Answered {
    App(http::Response<Answer>),
    Enclave(Response),
}

/// Gives a request to the app that its path or the connection's name belongs to.
pub(super) async fn serve(
    session: &Session,
    cut: &Cut,
    path: &Path<'_>,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<Answered, Refusal> {
    if head.method == Method::CONNECT {
        // A tunnel: its answer would have no end that a client could see (RFC 9112 §6.3).
        return Err(Refusal::new("method-not-allowed", "this is no proxy: apps take no CONNECT"));
    }
    // Owned: whoever waits for an app keeps no other one from going.
    let (name, prefix) = {
        let apps = session.services.catalog.snapshot();
        let found = route(session, &apps, path);
        let (name, prefix) = found.ok_or_else(|| Refusal::new("not-found", "no app has a route here"))?;
        (name.to_owned(), prefix.map(str::to_owned))
    };
    let (name, prefix) = (name.as_str(), prefix.as_deref());
    let auth = credential::bearer(&head.headers).map(Secret::new);
    let auth = auth.as_ref().map(Secret::expose);
    let (app, inside) = commands::enter(session, Operation::AppHttp, name, auth).await?;
    let most = app.spec().limits.http.request_bytes;
    if body.size_hint().lower() > most {
        let message = format!("the body is longer than the {most} bytes that this app takes");
        return Err(Refusal::new("too-large", message));
    }
    let request = request(session, prefix, head, body)?;
    let host = CallHost { handle: session.handle.clone(), backend: session.services.backend.clone() };
    let serving = match app.serve(&host, request) {
        Ok(serving) => serving,
        Err(failure) => return failed(name, failure),
    };
    let (run, cut) = (serving.run, cut.clone());
    // A task of its own: the app goes on reading while its answer is sent, and after.
    let guest = async move {
        if inside.run(run).await == Ok(Delivered::Stuck) {
            cut.now();
        }
    };
    session.handle.spawn(guest).detach();
    match serving.answer.wait().await {
        Ok(response) => Ok(Answered::App(response)),
        Err(failure) => failed(name, failure),
    }
}

/// The app of a path, and its prefix unless the connection is the app's own.
fn route<'a>(
    session: &'a Session,
    apps: &'a BTreeMap<String, Entry>,
    path: &Path<'_>,
) -> Option<(&'a str, Option<&'a str>)> {
    if let Scope::App(app) = &session.scope {
        return Some((app, None));
    }
    let prefixes = apps.iter().map(|(name, entry)| (name.as_str(), entry.route_prefix.as_str()));
    longest(prefixes, path).map(|(name, prefix)| (name, Some(prefix)))
}

/// The longest prefix that the path lies under.
fn longest<'a>(
    prefixes: impl Iterator<Item = (&'a str, &'a str)>,
    path: &Path<'_>,
) -> Option<(&'a str, &'a str)> {
    prefixes
        .filter(|(_, prefix)| !prefix.is_empty() && path.is_under(prefix))
        .max_by_key(|(_, prefix)| prefix.len())
}

/// The request as the app sees it.
fn request(
    session: &Session,
    prefix: Option<&str>,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<http::Request<Arriving>, Refusal> {
    let body = body.map_frame(trailers::proper).map_err(|_| ErrorCode::HttpProtocolError).boxed_unsync();
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri(prefix, head, session.sni.as_deref())?;
    let headers = request.headers_mut();
    *headers = head.headers.clone();
    headers.remove(FORWARDED_PREFIX);
    if let Some(prefix) = prefix
        && let Ok(prefix) = HeaderValue::from_str(prefix)
    {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
    credential::keep_from_guest(headers);
    Ok(request)
}

/// What is left of path and query below the prefix, and the authority that the client named.
fn uri(prefix: Option<&str>, head: &http::request::Parts, sni: Option<&str>) -> Result<Uri, Refusal> {
    let bad = |_| Refusal::new("bad-path", "the request target is not a path with a query");
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = target.get(prefix.map_or(0, str::len)..).unwrap_or_default();
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(rest.parse::<PathAndQuery>().map_err(bad)?);
    let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = match head.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => named.or(sni).and_then(|named| named.parse::<Authority>().ok()),
    };
    if let Some(authority) = authority {
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(authority);
    }
    Uri::from_parts(parts)
        .map_err(|_| Refusal::new("bad-path", "the request target is not a path with a query"))
}

/// What a client is told of an app that gave no answer.
fn failed(name: &str, failure: HttpFailure) -> Result<Answered, Refusal> {
    match failure {
        HttpFailure::NoHandler => Err(Refusal::new(
            "not-found",
            format!(
                "app {name:?} takes no HTTP requests: it exports no wasi:http/incoming-handler. Its functions are called \
                 by POST /.enclave/v1/apps/{name}/call/<function>"
            ),
        )),
        HttpFailure::Overloaded(message) => Err(Refusal::new("overloaded", message)),
        HttpFailure::Late(why) => {
            Err(Refusal::new("deadline", format!("app {name:?} gave no answer: {why}")))
        }
        HttpFailure::Ended => Err(commands::app_changing(name)),
        HttpFailure::Failed { code, id } => Ok(Answered::Enclave(problem::app_failed(name, code, &id))),
        HttpFailure::Refused(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(Answered::Enclave(problem::app_error(name, status, &error.word)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, host: Option<&str>) -> http::request::Parts {
        let mut request = http::Request::new(());
        *request.uri_mut() = target.parse().unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn an_app_sees_what_is_below_its_prefix() {
        for (target, prefix, seen) in [
            ("/shop", Some("/shop"), "/"),
            ("/shop/", Some("/shop"), "/"),
            ("/shop?x=1", Some("/shop"), "/?x=1"),
            ("/shop/a/b%2F?x=/shop", Some("/shop"), "/a/b%2F?x=/shop"),
            ("/a/b/c", Some("/a/b"), "/c"),
            ("/shop/a", None, "/shop/a"),
        ] {
            let uri = uri(prefix, &head(target, Some("h.example")), None).unwrap();
            assert_eq!(uri.path_and_query().unwrap().as_str(), seen, "{target}");
            assert_eq!(uri.authority().unwrap().as_str(), "h.example");
        }
    }

    #[test]
    fn the_authority_is_what_the_client_named() {
        let of = |target, host, sni| uri(None, &head(target, host), sni).unwrap().authority().cloned();
        assert_eq!(of("/", Some("a.example:8443"), Some("b")).unwrap(), "a.example:8443");
        assert_eq!(of("https://c.example/x", Some("a.example"), None).unwrap(), "c.example");
        assert_eq!(of("/", None, Some("b.example")).unwrap(), "b.example");
        assert_eq!(of("/", None, None), None);
    }

    #[test]
    fn the_longest_prefix_wins_on_the_borders_of_segments() {
        let apps = [("one", "/a"), ("two", "/a/b"), ("three", "/ab"), ("none", "")];
        let found = |path| longest(apps.into_iter(), &Path::parse(path).unwrap()).map(|(name, _)| name);
        assert_eq!(found("/a"), Some("one"));
        assert_eq!(found("/a/b/c"), Some("two"));
        assert_eq!(found("/a/bc"), Some("one"));
        assert_eq!(found("/ab/c"), Some("three"));
        assert_eq!(found("/abc"), None);
        assert_eq!(found("/"), None);
    }
}
