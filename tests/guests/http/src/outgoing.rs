//! Requests of its own.

use crate::text;
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, IncomingResponse, OutgoingRequest, ResponseOutparam, Scheme,
};
use crate::wasi::io::streams::StreamError;

/// `?URL`: status and body, or the error.
pub fn fetch(url: &str, out: ResponseOutparam) {
    let answer = match get(url) {
        Ok(response) => format!("{} {}", response.status(), body(&response)),
        Err(error) => format!("{error:?}"),
    };
    text(out, 200, &answer);
}

fn get(url: &str) -> Result<IncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let future = outgoing_handler::handle(request, None)?;
    future.subscribe().block();
    future.get().unwrap().unwrap()
}

fn body(response: &IncomingResponse) -> String {
    let incoming = response.consume().unwrap();
    let stream = incoming.stream().unwrap();
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return String::from_utf8_lossy(&all).into_owned(),
            Err(StreamError::LastOperationFailed(error)) => return error.to_debug_string(),
        }
    }
}
