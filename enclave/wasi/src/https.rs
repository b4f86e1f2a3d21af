//! `privasys:enclave-os/https@0.1.0`: one request, one response, TLS ending inside the enclave.
//!
//! The host resolves names and carries ciphertext; it can delay, cut or misroute, and then the certificate
//! does not match. Redirects are returned, not followed; nothing is kept from one request to the next.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use enclave_worker::{Handle, HyperIo};
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1;
use wasmtime_wasi_io::bytes::Bytes;

use crate::WasiCtx;
use crate::bindings::privasys::enclave_os::https as wit;
use crate::egress::{self, ConnectError, Destination, EgressPolicy};
use crate::room::{Full as NoRoom, Place};

const MAX_URL: usize = 8 << 10;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_REQUEST_BODY: usize = 8 << 20;
const MAX_RESPONSE_BODY: usize = 8 << 20;
/// What the response's head may take, and what is read ahead of the body.
const READ_BUFFER: usize = 64 << 10;
/// What a field costs beside its name and value.
const FIELD_COST: usize = 32;
/// A request in units of work ([`Turn`](crate::turn::Turn)), what it waits for aside.
const FETCH_UNITS: u32 = 16;
/// Until TLS stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For everything.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no response. The guest gets it as text, the code first.
#[derive(Debug)]
struct FetchError {
    code: &'static str,
    message: String,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

fn error(code: &'static str, message: impl Into<String>) -> FetchError {
    FetchError { code, message: message.into() }
}

/// Bytes that a request came in.
fn handed(request: &wit::Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| FIELD_COST + name.len() + value.len());
    let body = request.body.as_ref().map_or(0, Vec::len);
    headers.fold(request.url.len().saturating_add(body), usize::saturating_add)
}

impl wit::Host for WasiCtx {
    async fn fetch(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, String>> {
        self.turn.take_in(handed(&request)).await;
        let target = match Target::parse(&request.url).and_then(|target| target.allowed_by(&self.egress)) {
            Ok(target) => target,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.turn.spend(FETCH_UNITS).await;
        let method = method(request.method);
        let sent = request.body.as_ref().map_or(0, Vec::len);
        let result = fetch(&self.host, &self.egress, &target, request).await;
        let (outcome, received) = match &result {
            Ok(response) => (response.status.to_string(), response.body.len()),
            Err(error) => (error.code.to_owned(), 0),
        };
        let bytes = [sent as u64, received as u64];
        egress::log(&self.requests, method.as_str(), &target.destination, &outcome, bytes);
        Ok(result.map_err(|error| error.to_string()))
    }
}

async fn fetch(
    host: &Handle,
    egress: &EgressPolicy,
    target: &Target,
    request: wit::Request,
) -> Result<wit::Response, FetchError> {
    let mut place = egress.tls().bodies().place();
    let message = message(target, request)?;
    place.grow(message.body().size_hint().exact().map_or(0, |bytes| bytes as usize)).map_err(no_room)?;
    within(host, TOTAL_TIMEOUT, "the whole exchange", async {
        let to = &target.destination;
        let stream =
            egress::connect(host, egress, to, CONNECT_TIMEOUT).await.map_err(|cause| match cause {
                ConnectError::Dial(cause) => {
                    error("dial-failed", format!("{}:{} cannot be reached: {cause}", to.host, to.port))
                }
                ConnectError::Tls(cause) => {
                    error("tls-failed", format!("no TLS connection with {}: {cause}", to.host))
                }
                ConnectError::Late(limit) => late("connecting", limit),
            })?;
        exchange(stream, message, &mut place, |driver| host.spawn(driver)).await
    })
    .await
}

fn no_room(_: NoRoom) -> FetchError {
    error("overloaded", "the enclave holds as many bodies of HTTPS requests as it can: try again later")
}

/// Waits for `what` for at most `limit`.
async fn within<T>(
    host: &Handle,
    limit: Duration,
    what: &str,
    doing: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    let late = async {
        host.sleep(limit).await;
        Err(late(what, limit))
    };
    future::or(doing, late).await
}

fn late(what: &str, limit: Duration) -> FetchError {
    error("timeout", format!("{what} took longer than {} s", limit.as_secs()))
}

/// Sends `message` over `stream` and reads the response. `spawn` runs the connection until its result, the
/// task, is dropped.
async fn exchange<S, T>(
    stream: S,
    message: http::Request<Full<Bytes>>,
    place: &mut Place,
    spawn: impl FnOnce(future::Boxed<()>) -> T,
) -> Result<wit::Response, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |cause: hyper::Error| error("http-failed", format!("the server's answer: {cause}"));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .max_headers(MAX_HEADERS)
        .handshake(HyperIo(stream))
        .await
        .map_err(failed)?;
    let _connection = spawn(Box::pin(async move {
        // Its error reaches the request as well.
        if connection.await.is_err() {}
    }));
    let response = sender.send_request(message).await.map_err(failed)?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(failed)?.into_data() {
            if bytes.len() + data.len() > MAX_RESPONSE_BODY {
                let limit = MAX_RESPONSE_BODY >> 20;
                return Err(error("response-too-large", format!("the body is larger than {limit} MiB")));
            }
            place.grow(data.len()).map_err(no_room)?;
            bytes.extend_from_slice(&data);
        }
    }
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Ok(wit::Response { status: head.status.as_u16(), headers: headers.collect(), body: bytes })
}

/// Where a request goes.
#[derive(Debug)]
struct Target {
    destination: Destination,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Target, FetchError> {
        if url.len() > MAX_URL {
            return Err(error("bad-url", format!("the URL is longer than {MAX_URL} bytes")));
        }
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("https") => {}
            Some(scheme) => {
                let message = format!("{scheme}:// is refused, only https:// URLs are fetched");
                return Err(error("scheme-refused", message));
            }
            None => return Err(error("bad-url", "give an absolute URL that begins with https://")),
        }
        let uri: Uri = url.parse().map_err(|cause| error("bad-url", format!("{cause}")))?;
        let authority = uri.authority().ok_or_else(|| error("bad-url", "the URL names no host"))?;
        let destination =
            Destination::parse(authority).map_err(|cause| error("bad-url", cause.to_string()))?;
        Ok(Target {
            destination,
            path: match uri.path_and_query().map_or("/", |path| path.as_str()) {
                query if query.starts_with('?') => format!("/{query}"),
                path => path.to_owned(),
            },
        })
    }

    fn allowed_by(self, egress: &EgressPolicy) -> Result<Target, FetchError> {
        if self.destination.is_allowed_by(egress) {
            return Ok(self);
        }
        let Destination { host, port, .. } = &self.destination;
        let message = format!("{host}:{port} is not in the application's egress list");
        Err(error("egress-denied", message))
    }
}

fn method(method: wit::Method) -> Method {
    match method {
        wit::Method::Get => Method::GET,
        wit::Method::Post => Method::POST,
        wit::Method::Put => Method::PUT,
        wit::Method::Delete => Method::DELETE,
        wit::Method::Patch => Method::PATCH,
        wit::Method::Head => Method::HEAD,
        wit::Method::Options => Method::OPTIONS,
    }
}

/// Headers that frame a message or belong to a connection: not for the guest to set.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn message(target: &Target, request: wit::Request) -> Result<http::Request<Full<Bytes>>, FetchError> {
    if request.headers.len() > MAX_HEADERS {
        return Err(error("bad-header", format!("more than {MAX_HEADERS} headers")));
    }
    let total: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if total > MAX_HEADER_BYTES {
        return Err(error("bad-header", format!("more than {MAX_HEADER_BYTES} bytes of headers")));
    }
    let body = request.body.unwrap_or_default();
    if body.len() > MAX_REQUEST_BODY {
        return Err(error(
            "request-too-large",
            format!("the body is larger than {} MiB", MAX_REQUEST_BODY >> 20),
        ));
    }

    let mut message = http::Request::new(Full::new(Bytes::from(body)));
    *message.method_mut() = method(request.method);
    *message.uri_mut() =
        target.path.parse().map_err(|cause: http::uri::InvalidUri| error("bad-url", format!("{cause}")))?;
    let headers = message.headers_mut();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| error("bad-header", format!("{name:?} is not a header name")))?;
        if OURS.contains(&name.as_str()) {
            return Err(error("bad-header", format!("`{name}` is set by the enclave")));
        }
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| error("bad-header", format!("the value of `{name}` holds control characters")))?;
        headers.append(name, value);
    }
    let authority = HeaderValue::from_str(&target.destination.authority)
        .map_err(|_| error("bad-url", "the host cannot stand in a header"))?;
    headers.insert(HOST, authority);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!("enclave-os/", env!("CARGO_PKG_VERSION"))));
    Ok(message)
}

#[cfg(test)]
mod tests;
