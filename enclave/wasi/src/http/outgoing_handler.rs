//! `outgoing-handler`: an application's requests to others, over TLS that ends inside the enclave.
//!
//! The rules are those of `privasys:enclave-os/https`: only `https`, only hosts that the measured egress list allows,
//! certificates by the enclave's own roots. Redirects are returned, not followed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use boundary_wire::frame::DialFailure;
use bytes::Bytes;
use enclave_worker::{DialError, Handle, Sleep};
use futures_lite::future;
use http::header::{ACCEPT, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRAILER, USER_AGENT};
use http::uri::Authority;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::connections::{Connection, Connections};
use super::incoming_body::Arriving;
use super::pipe::{Meter, Reader};
use super::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest, RequestOptions, Scheme, method, types, word,
};
use crate::WasiCtx;
use crate::bindings::wasi::http::outgoing_handler;
use crate::cli::Lines;
use crate::egress::{self, ConnectError, Destination, EgressPolicy};

const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_PATH: usize = 8 << 10;
/// A request in units of work ([`Turn`](crate::turn::Turn)), what it waits for aside.
const REQUEST_UNITS: u32 = 16;

impl outgoing_handler::Host for WasiCtx {
    async fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> Result<Result<Resource<FutureIncomingResponse>, ErrorCode>> {
        let request = self.table.delete(request)?;
        let options = options.map(|options| self.table.delete(options)).transpose()?.unwrap_or_default();
        self.turn.spend(REQUEST_UNITS).await;
        let (to, message) = match message(request, &self.egress) {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error)),
        };
        let record = Record {
            lines: self.requests.clone(),
            method: message.method().clone(),
            to: to.clone(),
            sent: message.body().meter(),
            outcome: "given up".to_owned(),
            received: 0,
        };
        let sending = Sending {
            host: self.host.clone(),
            egress: Arc::clone(&self.egress),
            connections: Arc::clone(&self.http.connections),
            to,
            options,
        };
        let task = self.host.spawn(sending.send(message, record));
        Ok(Ok(self.table.push(FutureIncomingResponse::new(task))?))
    }
}

/// The request as it goes out, and where.
fn message(
    request: OutgoingRequest,
    egress: &EgressPolicy,
) -> Result<(Destination, http::Request<Reader>), ErrorCode> {
    match &request.scheme {
        None | Some(Scheme::Https) => {}
        Some(Scheme::Http) => return Err(ErrorCode::HttpRequestDenied),
        Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
    }
    let authority = request.authority.as_deref().unwrap_or_default();
    let authority: Authority = authority.parse().map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    let to = Destination::parse(&authority).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    if !to.is_allowed_by(egress) {
        return Err(ErrorCode::HttpRequestDenied);
    }
    let path = match request.path.as_deref() {
        None | Some("") => "/".to_owned(),
        Some(query) if query.starts_with('?') => format!("/{query}"),
        Some(path) => path.to_owned(),
    };
    if path.len() > MAX_PATH {
        return Err(ErrorCode::HttpRequestUriTooLong);
    }
    let method = method::sent(&request.method).ok_or(ErrorCode::HttpRequestMethodInvalid)?;
    if method == http::Method::CONNECT {
        return Err(ErrorCode::HttpRequestMethodInvalid);
    }
    let length = request.headers.content_length();
    if request.body.is_none() && length.is_some_and(|length| length > 0) {
        return Err(ErrorCode::HttpRequestBodySize(Some(0)));
    }
    let mut headers = request.headers.into_map();
    // They are about one connection, and what is on it is the enclave's to say.
    for ours in [EXPECT, TE, TRAILER] {
        headers.remove(ours);
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || size > MAX_HEADER_BYTES {
        return Err(ErrorCode::HttpRequestHeaderSectionSize(u32::try_from(size).ok()));
    }
    let named = HeaderValue::from_str(&to.authority).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    headers.insert(HOST, named);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    let agent = HeaderValue::from_static(concat!("enclave-os/", env!("CARGO_PKG_VERSION")));
    headers.entry(USER_AGENT).or_insert(agent);

    let body = request.body.unwrap_or_else(Reader::empty);
    body.start(None);
    let mut message = http::Request::new(body);
    *message.method_mut() = method;
    *message.uri_mut() = path.parse().map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    *message.headers_mut() = headers;
    Ok((to, message))
}

/// What a request needs on its way.
struct Sending {
    host: Handle,
    egress: Arc<EgressPolicy>,
    connections: Arc<Connections>,
    to: Destination,
    options: RequestOptions,
}

impl Sending {
    async fn send(
        self,
        message: http::Request<Reader>,
        mut record: Record,
    ) -> Result<http::Response<Arriving>, ErrorCode> {
        match self.exchange(message).await {
            Ok((response, connection)) => {
                record.outcome = response.status().as_u16().to_string();
                Ok(response.map(|incoming| self.receive(incoming, connection, record)))
            }
            Err(error) => {
                record.outcome = word(&error);
                Err(error)
            }
        }
    }

    async fn exchange(
        &self,
        mut message: http::Request<Reader>,
    ) -> Result<(http::Response<Incoming>, Connection), ErrorCode> {
        loop {
            let kept = self.connections.reuse(&self.host, &self.to);
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    let limit = self.options.connect();
                    self.connections.open(&self.host, &self.egress, &self.to, limit).await?
                }
            };
            let late = async {
                self.host.sleep(self.options.first_byte()).await;
                None
            };
            let answer = async { Some(connection.sender.try_send_request(message).await) };
            match future::or(answer, late).await {
                None => return Err(ErrorCode::HttpResponseTimeout),
                Some(Ok(response)) => return Ok((response, connection)),
                Some(Err(mut failed)) => match failed.take_message() {
                    // The other side closed it before any of the request was sent.
                    Some(unsent) if was_kept => message = unsent,
                    _ => return Err(protocol(failed.error())),
                },
            }
        }
    }

    fn receive(self, incoming: Incoming, connection: Connection, record: Record) -> Arriving {
        let between = self.options.between_bytes();
        let patience = self.host.sleep(between);
        Received { incoming, patience, between, connection: Some(connection), sending: self, record }
            .boxed_unsync()
    }
}

/// The body of a response. The connection is kept when all of it is here.
struct Received {
    incoming: Incoming,
    patience: Sleep,
    between: Duration,
    connection: Option<Connection>,
    sending: Sending,
    record: Record,
}

impl Received {
    fn over(&mut self) {
        if let Some(connection) = self.connection.take() {
            let Sending { host, connections, to, .. } = &self.sending;
            connections.keep(host, to, connection);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ErrorCode>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            std::task::ready!(Pin::new(&mut this.patience).poll(cx));
            this.connection = None;
            return Poll::Ready(Some(Err(ErrorCode::ConnectionReadTimeout)));
        };
        this.patience = this.sending.host.sleep(this.between);
        Poll::Ready(match frame {
            None => {
                this.over();
                None
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.record.received = this.record.received.saturating_add(length as u64);
                if frame.is_trailers() {
                    this.over();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.connection = None;
                let error = protocol(&error);
                this.record.outcome = word(&error);
                Some(Err(error))
            }
        })
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // What ends with its length is not asked for its end.
        if self.incoming.is_end_stream() {
            self.over();
        }
    }
}

/// Logs a request when it is over, however it ends.
struct Record {
    lines: Lines,
    method: http::Method,
    to: Destination,
    sent: Meter,
    outcome: String,
    received: u64,
}

impl Drop for Record {
    fn drop(&mut self) {
        let bytes = [self.sent.taken(), self.received];
        egress::log(&self.lines, self.method.as_str(), &self.to, &self.outcome, bytes);
    }
}

/// What a failure of the connection means to the guest.
pub(super) fn protocol(error: &hyper::Error) -> ErrorCode {
    if error.is_parse_too_large() {
        ErrorCode::HttpResponseHeaderSectionSize(None)
    } else if error.is_incomplete_message() {
        ErrorCode::HttpResponseIncomplete
    } else if error.is_canceled() || error.is_closed() {
        ErrorCode::ConnectionTerminated
    } else {
        ErrorCode::HttpProtocolError
    }
}

/// Why there is no connection.
pub(super) fn unreachable(error: &ConnectError) -> ErrorCode {
    match error {
        ConnectError::Late(_) => ErrorCode::ConnectionTimeout,
        ConnectError::Dial(DialError::Failed(failure)) => match failure {
            DialFailure::Refused => ErrorCode::ConnectionRefused,
            DialFailure::Unreachable => ErrorCode::DestinationIpUnroutable,
            DialFailure::TimedOut => ErrorCode::ConnectionTimeout,
            DialFailure::NameNotFound => {
                let rcode = Some("NXDOMAIN".to_owned());
                ErrorCode::DnsError(types::DnsErrorPayload { rcode, info_code: None })
            }
            DialFailure::Denied => ErrorCode::DestinationIpProhibited,
            DialFailure::Other => ErrorCode::DestinationUnavailable,
        },
        ConnectError::Dial(DialError::BadDestination) => ErrorCode::HttpRequestUriInvalid,
        ConnectError::Dial(DialError::TooMany { .. }) => ErrorCode::ConnectionLimitReached,
        ConnectError::Dial(DialError::HostMisbehaved(_)) => ErrorCode::DestinationUnavailable,
        ConnectError::Tls(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                ErrorCode::TlsCertificateError
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                let alert_message = Some(format!("{alert:?}"));
                let alert_id = Some(u8::from(*alert));
                ErrorCode::TlsAlertReceived(types::TlsAlertReceivedPayload { alert_id, alert_message })
            }
            Some(_) => ErrorCode::TlsProtocolError,
            None => ErrorCode::ConnectionTerminated,
        },
    }
}
