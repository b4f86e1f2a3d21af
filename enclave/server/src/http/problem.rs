//! Errors as `application/problem+json` (RFC 9457).

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

use super::credential;
use super::held::Content;
use crate::refusal::Refusal;

/// The answer to a request that was refused or failed.
pub(super) fn problem(refusal: &Refusal) -> Response<Content> {
    let mut response = document(refusal.status(), refusal.code(), refusal.message(), &[]);
    if refusal.code() == "overloaded" {
        // RFC 9110 §10.2.3, in seconds.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(challenge) = credential::challenge(refusal) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The answer in place of an app that failed. What happened is for its log.
pub(super) fn app_failed(app: &str, reason: &str, id: &str) -> Response<Content> {
    let message = format!("app {app:?} failed before it answered; its log says more under error id {id}");
    let members = [("reason", reason), ("error_id", id)];
    document(StatusCode::INTERNAL_SERVER_ERROR, "app-failed", &message, &members)
}

/// The answer of an app that answered with an error of `wasi:http`.
pub(super) fn app_error(app: &str, status: StatusCode, word: &str) -> Response<Content> {
    let message = format!("app {app:?} answered with the error {word}");
    document(status, "app-error", &message, &[("reason", word)])
}

fn document(status: StatusCode, code: &str, detail: &str, members: &[(&str, &str)]) -> Response<Content> {
    let mut document = json!({
        "type": format!("urn:enclave-os:problem:{code}"),
        "title": title(status),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    for (name, value) in members {
        document[*name] = (*value).into();
    }
    let mut response = Response::new(Content::Made(document.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}
