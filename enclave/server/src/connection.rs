//! From an accepted connection to the protocol it speaks.

use std::io;
use std::sync::Arc;

use boundary_wire::client::LENGTH_PREFIX;
use enclave_ratls::{Alert, Identity};
use enclave_worker::{Connection, Handle};
use futures_channel::mpsc;
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future};
use futures_rustls::LazyConfigAcceptor;

use crate::places::{Place, Places};
use crate::prefixed::Prefixed;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::shared::Shared;
use crate::timeout::within;
use crate::{Services, attest, framed, http, limits};

/// Serves the connections of one worker until it drains; returns when they have ended or their grace is over.
pub(crate) async fn accept_all(services: Arc<Services>, handle: Handle) {
    let places = Places::new(handle.clone());
    // Every connection holds a sender: the receiver ends when the last one has.
    let (open, mut closed) = mpsc::channel::<()>(0);
    loop {
        let draining = async {
            handle.draining().await;
            None
        };
        let Some(place) = future::or(async { Some(places.take().await) }, draining).await else { break };
        let Some(connection) = handle.accept().await else { break };
        let (services, worker, open) = (services.clone(), handle.clone(), open.clone());
        handle
            .spawn(async move {
                serve(services, worker, connection, place).await;
                drop(open);
            })
            .detach();
    }
    drop(open);
    let grace = async {
        let grace = handle.draining().await;
        handle.sleep(grace).await;
    };
    let all_closed = async {
        // Nothing is ever sent: this is the end of the last one.
        closed.next().await;
    };
    future::or(all_closed, grace).await;
}

async fn serve(services: Arc<Services>, handle: Handle, connection: Connection, place: Place) {
    let place = Arc::new(place);
    let handshake =
        within(&handle, limits::HANDSHAKE_TIME, handshake(&services, &handle, connection, &place));
    let gives_way = async {
        place.asked_to_leave().await;
        None
    };
    let accepted = future::or(handshake, gives_way).await;
    // A handshake that fails was answered by an alert; who did not finish one is told nothing.
    let Some(Ok((session, protocol, stream))) = accepted else { return };
    demultiplex(Arc::new(session), protocol, stream).await;
}

/// The protocol that ALPN selected.
type Protocol = Option<Vec<u8>>;

async fn handshake(
    services: &Arc<Services>,
    handle: &Handle,
    mut connection: Connection,
    place: &Arc<Place>,
) -> io::Result<(Session, Protocol, Shared)> {
    // A handshake that fails drops it right behind the alert that says why.
    connection.set_close_on_drop(true);
    let started = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), connection).await?;
    let (sni, nonce) = {
        let hello = started.client_hello();
        let offered = hello.alpn().into_iter().flatten();
        (hello.server_name().map(str::to_ascii_lowercase), enclave_ratls::nonce(offered))
    };
    let identity = match nonce {
        Ok(None) => Ok(services.identities.select(sni.as_deref())),
        Ok(Some(nonce)) => {
            let _serving = place.serve();
            challenged(services, handle, sni.as_deref(), nonce).await
        }
        Err(_) => Err(Alert::NoApplicationProtocol),
    };
    let identity = match identity {
        Ok(identity) => identity,
        // Never another certificate than the one that was asked for: it would pass for an answer.
        Err(alert) => {
            let refusing = enclave_ratls::refusing(alert, handle.clock()).map_err(io::Error::other)?;
            started.into_stream(refusing).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    };
    let mut stream = started.into_stream(identity.config.clone()).await?;
    // From here on TLS has an end of its own, and less than that is to look like a failure.
    stream.get_mut().0.set_close_on_drop(false);
    let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let (stream, channel) = Shared::new(stream);
    place.has_arrived();
    let session = Session::new(services.clone(), handle.clone(), sni, identity, channel, place.clone());
    Ok((session, protocol, stream))
}

/// The identity for a client that wants its nonce in the quote.
async fn challenged(
    services: &Services,
    handle: &Handle,
    sni: Option<&str>,
    nonce: [u8; 32],
) -> Result<Identity, Alert> {
    attest::challenge(services, handle, sni, nonce).await.map_err(|refusal: Refusal| {
        services.refused.add(handle, &refusal);
        Alert::HandshakeFailure
    })
}

/// Looks at ALPN and the first byte (PROTOCOL "Port and demultiplexing").
async fn demultiplex(session: Arc<Session>, protocol: Protocol, mut stream: Shared) {
    match protocol.as_deref() {
        Some(b"h2") => return http::serve_http2(session, stream).await,
        Some(b"http/1.1" | b"privasys-ratls/1") => return http::serve_http1(session, stream).await,
        // `enclave-os/1` and none: by the first byte.
        Some(_) | None => {}
    }
    let framed_only = protocol.is_some();
    let Some(first) = first_bytes(&session, &mut stream, 1).await else { return };
    let is_frame = first.first().is_some_and(|byte| *byte < 0x20);
    if is_frame || framed_only {
        let mut stream = Prefixed::new(first, stream);
        framed::serve(&session, &mut stream).await;
        // The answer may have to reach a client that has not read it yet: end in order.
        within(&session.handle, limits::CLOSE_TIME, stream.close()).await;
        return;
    }
    // `PRI * HTTP/2.0` (RFC 9113 §3.4): no method of HTTP/1 begins with "PRI ".
    let Some(more) = first_bytes(&session, &mut stream, LENGTH_PREFIX - first.len().min(LENGTH_PREFIX)).await
    else {
        return;
    };
    let first = [first, more].concat();
    let is_http2 = first.starts_with(b"PRI ");
    let stream = Prefixed::new(first, stream);
    if is_http2 {
        http::serve_http2(session, stream).await;
    } else {
        http::serve_http1(session, stream).await;
    }
}

/// Resolves when a connection that waits for a request has to end: the worker drains, or others need its place.
pub(crate) async fn asked_to_stop<T>(session: &Session) -> Option<T> {
    let drains = async {
        session.handle.draining().await;
    };
    future::or(drains, session.place.asked_to_leave()).await;
    None
}

/// Exactly `count` bytes, unless the client is too slow or gone.
async fn first_bytes(session: &Session, stream: &mut Shared, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let read = within(&session.handle, limits::IDLE_TIME, stream.read_exact(&mut bytes));
    match future::or(read, asked_to_stop(session)).await {
        Some(Ok(())) => Some(bytes),
        _ => None,
    }
}
