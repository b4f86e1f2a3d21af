//! Framed JSON: `[u32 big-endian length][JSON]` both ways, answered in order.
//!
//! Requests of one connection are carried out one after the other, so that a client may send a load and its
//! first call at once. What a client sends ahead waits in the stream, where credit bounds it.

use boundary_wire::client::{Command, Decoded, Frame, FrameDecoder, Limits, Reply, encode_reply};
use enclave_platform::clock::Monotonic;
use enclave_worker::Handle;
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::commands;
use crate::limits;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::timeout::within;

/// Serves a connection until it ends, idles too long, or has to be closed.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(session: &Session, stream: &mut S) {
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut share = session.services.budget.share(limits::ALLOWANCE);
    let mut buffer = vec![0; limits::RECORD];
    let mut deadline = None;
    loop {
        let Some(read) = read(session, stream, &mut buffer, &decoder, deadline).await else { return };
        let mut input = buffer.get(..read).unwrap_or_default();
        while !input.is_empty() {
            let fed = decoder.feed(input);
            input = input.get(fed.consumed..).unwrap_or_default();
            if let Err(overloaded) = share.cover(decoder.held_bytes().max(held_by(&fed.decoded))) {
                session.close();
                write(session, stream, Refusal::from(overloaded).into_reply(), decoder.is_wrapped()).await;
                return;
            }
            let (reply, wrapped) = match fed.decoded {
                None => continue,
                Some(Ok(Frame::Ping)) => (Reply::Pong, false),
                Some(Ok(Frame::Healthz)) => (Reply::Healthz, false),
                Some(Ok(Frame::Envelope { envelope, wrapped })) => {
                    (commands::run(session, envelope).await, wrapped)
                }
                Some(Err(bad)) => {
                    if bad.fatal {
                        session.close();
                    }
                    (Reply::error(bad.error.code(), bad.error.to_string()), bad.wrapped)
                }
            };
            if !write(session, stream, reply, wrapped).await || session.is_closing() {
                return;
            }
        }
        deadline = match (decoder.is_idle(), deadline) {
            (true, _) => None,
            (false, Some(deadline)) => Some(deadline),
            (false, None) => Some(session.handle.monotonic().after(limits::REQUEST_TIME)),
        };
        // A long frame must not keep the worker's other connections waiting.
        Handle::yield_now().await;
    }
}

/// Bytes for the decoder. `None`: the connection ends.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    stream: &mut S,
    buffer: &mut [u8],
    decoder: &FrameDecoder,
    deadline: Option<Monotonic>,
) -> Option<usize> {
    let handle = &session.handle;
    let read = if decoder.is_idle() {
        let asked_to_stop = async {
            handle.draining().await;
            Some(Ok(0))
        };
        let next = within(handle, limits::IDLE_TIME, stream.read(buffer));
        futures_lite::future::or(next, asked_to_stop).await
    } else {
        let left = deadline.map_or(limits::STALL_TIME, |at| at.since(handle.monotonic()));
        within(handle, limits::STALL_TIME.min(left), stream.read(buffer)).await
    };
    match read {
        Some(Ok(read)) if read > 0 => Some(read),
        // The end of the stream, or a connection that failed: nobody is there to be answered.
        Some(_) => None,
        None => {
            if !decoder.is_idle() {
                let late = Refusal::new("timeout", "the rest of the frame did not arrive in time");
                write(session, stream, late.into_reply(), decoder.is_wrapped()).await;
            }
            None
        }
    }
}

/// Writes an answer; one that fits goes as one TLS record. `false`: the client does not take it.
async fn write<S: AsyncWrite + Unpin>(
    session: &Session,
    stream: &mut S,
    reply: Reply,
    wrapped: bool,
) -> bool {
    let frame = encode_reply(&reply, wrapped);
    for record in frame.chunks(limits::RECORD) {
        let sent = within(&session.handle, limits::WRITE_TIME, stream.write_all(record)).await;
        if !matches!(sent, Some(Ok(()))) {
            return false;
        }
    }
    matches!(within(&session.handle, limits::WRITE_TIME, stream.flush()).await, Some(Ok(())))
}

/// What a complete frame keeps beside the decoder.
fn held_by(decoded: &Option<Decoded>) -> usize {
    match decoded {
        Some(Ok(Frame::Envelope { envelope, .. })) => match &envelope.command {
            Command::Load(load) => load.bytes.capacity(),
            _ => 0,
        },
        _ => 0,
    }
}
