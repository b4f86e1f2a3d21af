//! Errors as `application/problem+json` (RFC 9457).

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

use super::credential;
use super::held::Content;
use crate::refusal::Refusal;

/// The answer to a request that was refused or failed.
pub(super) fn problem(refusal: &Refusal) -> Response<Content> {
    let status = refusal.status();
    let document = json!({
        "type": format!("urn:enclave-os:problem:{}", refusal.code()),
        "title": title(status),
        "status": status.as_u16(),
        "detail": refusal.message(),
        "code": refusal.code(),
    });
    let mut response = Response::new(Content::Made(document.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if refusal.code() == "overloaded" {
        // RFC 9110 §10.2.3, in seconds.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(challenge) = credential::challenge(refusal) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}
