//! `GET /` greets, `POST /shout` sends the body back in capitals while it arrives, `GET /visits` counts.

use std::fs;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

struct HelloHttp;

wasip2::http::proxy::export!(HelloHttp);

impl Guest for HelloHttp {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match (request.method(), path) {
            (Method::Get | Method::Head, "/") => answer(out, 200, "Hello from inside the enclave!\n"),
            (Method::Get, "/visits") => match visits() {
                Ok(visits) => answer(out, 200, &format!("{visits}\n")),
                Err(error) => answer(out, 500, &format!("{error}\n")),
            },
            (Method::Post, "/shout") => shout(request, out),
            _ => answer(out, 404, "There is /, /visits and, by POST, /shout.\n"),
        }
    }
}

/// Counts in a file: sealed, of this app alone, and there again after a restart.
fn visits() -> std::io::Result<u64> {
    let before = fs::read_to_string("visits").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    fs::write("visits", (before + 1_u64).to_string())?;
    Ok(before + 1)
}

fn shout(request: IncomingRequest, out: ResponseOutparam) {
    let (Ok(incoming), (body, to)) = (request.consume(), begin(out, 200)) else { return };
    if let Ok(from) = incoming.stream() {
        loop {
            match from.blocking_read(16 * 1024) {
                Ok(bytes) if write(&to, &bytes.to_ascii_uppercase()).is_ok() => {}
                Err(StreamError::Closed) => break,
                // The client is gone: the answer is left open, so that nobody takes it for complete.
                _ => return,
            }
        }
    }
    drop((IncomingBody::finish(incoming), to));
    // Fails only if another length had been announced.
    if OutgoingBody::finish(body, None).is_err() {}
}

fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let (body, to) = begin(out, status);
    if write(&to, text.as_bytes()).is_err() {
        return;
    }
    drop(to);
    if OutgoingBody::finish(body, None).is_err() {}
}

/// Sends the head of the answer.
fn begin(out: ResponseOutparam, status: u16) -> (OutgoingBody, OutputStream) {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain; charset=utf-8").expect("a header that may be set");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("taken once");
    let to = body.write().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    (body, to)
}

/// Writes as fast as it is taken.
fn write(to: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(4096).try_for_each(|piece| to.blocking_write_and_flush(piece))
}
