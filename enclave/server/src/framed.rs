//! Framed JSON: `[u32 big-endian length][JSON]` both ways, answered in order.
//!
//! Requests of one connection are carried out one after the other, so that a client may send a load and its
//! first call at once. What a client sends ahead waits in the stream, where credit bounds it.

use boundary_wire::client::{Command, Decoded, Frame, FrameDecoder, Limits, Reply, encode_reply};
use enclave_platform::clock::Monotonic;
use enclave_worker::Handle;
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use crate::budget::{Overloaded, Share};
use crate::commands;
use crate::connection::asked_to_stop;
use crate::limits;
use crate::places::Serving;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::timeout::within;

/// Serves a connection until it ends, idles too long, or has to be closed.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(session: &Session, stream: &mut S) {
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut share = session.share(limits::ALLOWANCE);
    let mut buffer = vec![0; limits::RECORD];
    let nobody_loads = commands::nobody_loads(session);
    let mut arriving: Option<Arriving> = None;
    loop {
        let Some(read) = read(session, stream, &mut share, &mut buffer, &decoder, arriving.as_ref()).await
        else {
            return;
        };
        let mut input = buffer.get(..read).unwrap_or_default();
        if let Some(arriving) = &mut arriving {
            arriving.received = arriving.received.saturating_add(read);
        }
        while !input.is_empty() {
            let held = decoder.held_bytes();
            let fed = decoder.feed(input);
            input = input.get(fed.consumed..).unwrap_or_default();
            // Until its answer is there, a command counts as what its frame took.
            let beside = held_by(&fed.decoded, held, fed.consumed);
            if let Err(overloaded) = share.cover(decoder.held_bytes().max(beside)) {
                session.close();
                let reply = Refusal::from(overloaded).into_reply();
                write(session, stream, &mut share, reply, decoder.is_wrapped()).await;
                return;
            }
            let _serving = session.place.serve();
            if fed.decoded.is_some() {
                arriving = None;
            }
            let (reply, wrapped) = match fed.decoded {
                None => match nobody_loads.as_ref().filter(|_| decoder.is_loading()) {
                    // Nothing that may still come could make it good.
                    Some(denied) => (denied.clone().into_reply(), decoder.skip()),
                    None => continue,
                },
                Some(Ok(Frame::Ping)) => (Reply::Pong, false),
                Some(Ok(Frame::Healthz)) => (Reply::Healthz, false),
                Some(Ok(Frame::Envelope { envelope, wrapped })) => {
                    let run = async { Some(commands::run(session, envelope, &mut share).await) };
                    let left = async {
                        session.client_gone().await;
                        None
                    };
                    // Nobody is there any more for the answer: what was begun for it ends.
                    let Some(reply) = future::or(run, left).await else { return };
                    (reply, wrapped)
                }
                Some(Err(bad)) => {
                    if bad.fatal {
                        session.close();
                    }
                    (Reply::error(bad.error.code(), bad.error.to_string()), bad.wrapped)
                }
            };
            if !write(session, stream, &mut share, reply, wrapped).await || session.is_closing() {
                return;
            }
        }
        arriving = match arriving {
            _ if decoder.is_idle() => None,
            Some(arriving) => Some(arriving),
            None => Some(Arriving {
                begun: session.handle.monotonic(),
                received: 0,
                _serving: session.place.serve(),
            }),
        };
        // A long frame must not keep the worker's other connections waiting.
        Handle::yield_now().await;
    }
}

/// A frame of which a part is there.
struct Arriving {
    begun: Monotonic,
    received: usize,
    _serving: Serving,
}

/// Bytes for the decoder. `None`: the connection ends.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    stream: &mut S,
    share: &mut Share,
    buffer: &mut [u8],
    decoder: &FrameDecoder,
    arriving: Option<&Arriving>,
) -> Option<usize> {
    let handle = &session.handle;
    let read = if decoder.is_idle() {
        let next = within(handle, limits::IDLE_TIME, stream.read(buffer));
        future::or(next, asked_to_stop(session)).await
    } else {
        let now = handle.monotonic();
        let time =
            arriving.map_or(limits::STALL_TIME, |frame| limits::read_time(frame.begun, now, frame.received));
        within(handle, time, stream.read(buffer)).await
    };
    match read {
        Some(Ok(read)) if read > 0 => Some(read),
        // The end of the stream, or a connection that failed: nobody is there to be answered.
        Some(_) => None,
        None => {
            if !decoder.is_idle() {
                let late = Refusal::new("timeout", "the rest of the frame did not arrive in time");
                write(session, stream, share, late.into_reply(), decoder.is_wrapped()).await;
            }
            None
        }
    }
}

/// Writes an answer; one that fits goes as one TLS record. `false`: the client does not take it, or not fast
/// enough.
async fn write<S: AsyncWrite + Unpin>(
    session: &Session,
    stream: &mut S,
    share: &mut Share,
    reply: Reply,
    wrapped: bool,
) -> bool {
    let frame = encode(share, reply, wrapped);
    let sent = within(&session.handle, limits::write_time(frame.len()), async {
        for record in frame.chunks(limits::RECORD) {
            stream.write_all(record).await?;
        }
        stream.flush().await
    });
    let taken = matches!(sent.await, Some(Ok(())));
    drop(frame);
    // Nothing is held between two frames.
    let _shrinks = share.cover(0).is_ok();
    taken
}

/// The frame of an answer, covered by `share`; in place of one that does not fit, that it does not.
fn encode(share: &mut Share, reply: Reply, wrapped: bool) -> Vec<u8> {
    let frame = encode_reply(&reply, wrapped);
    drop(reply);
    match share.cover(frame.capacity()) {
        Ok(()) => frame,
        Err(Overloaded) => encode_reply(&Refusal::from(Overloaded).into_reply(), wrapped),
    }
}

/// Memory of a complete command, whose frame held `held` bytes before its last `consumed` ones.
fn held_by(decoded: &Option<Decoded>, held: usize, consumed: usize) -> usize {
    match decoded {
        Some(Ok(Frame::Envelope { envelope, .. })) => match &envelope.command {
            Command::Load(load) => held.max(load.bytes.capacity()),
            _ => held.saturating_add(consumed.saturating_mul(limits::JSON_COST)),
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    /// The most that the decoder held, and what the complete command counts as.
    fn decode(frame: &[u8]) -> (usize, usize) {
        let mut decoder = FrameDecoder::new(Limits::default());
        let bytes = [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat();
        let mut most = 0;
        for piece in bytes.chunks(limits::RECORD) {
            let held = decoder.held_bytes();
            most = most.max(held);
            let fed = decoder.feed(piece);
            assert_eq!(fed.consumed, piece.len());
            if fed.decoded.is_some() {
                assert!(matches!(fed.decoded, Some(Ok(_))), "{:?}", fed.decoded);
                return (most, held_by(&fed.decoded, held, fed.consumed));
            }
        }
        unreachable!("the frame is complete");
    }

    #[test]
    fn a_command_counts_until_it_has_run() {
        let text = "x".repeat(100_000);
        let call = format!(r#"{{"wasm_call":{{"app":"a","function":"f","params":["{text}"]}}}}"#);
        let (most, counted) = decode(call.as_bytes());
        assert!(most > 90_000 && counted >= most, "{most} {counted}");
        let small = br#"{"wasm_call":{"app":"a","function":"f","params":[1,2,3]}}"#;
        let (_, counted) = decode(small);
        assert!((1..=limits::ALLOWANCE).contains(&counted), "{counted}");
    }

    #[test]
    fn an_answer_is_covered_until_it_is_taken() {
        let budget = Budget::new(200_000);
        let mut share = budget.share(1000);
        let reply = |size| Reply::error("trap", "x".repeat(size));
        let frame = encode(&mut share, reply(50_000), false);
        assert!(frame.len() > 50_000 && budget.free() <= 200_000 + 1000 - frame.len());
        let mut second = budget.share(1000);
        let refused = encode(&mut second, reply(90_000), false);
        assert!(refused.len() < 500 && String::from_utf8_lossy(&refused).contains("\"overloaded\""));
        drop((share, frame));
        assert!(encode(&mut second, reply(90_000), false).len() > 90_000);
    }

    #[test]
    fn the_time_to_take_an_answer_is_for_all_of_it() {
        let record = limits::write_time(limits::RECORD);
        assert_eq!(record, limits::WRITE_TIME);
        let most = 64 * 1024 * 1024;
        assert!(limits::write_time(most) < record * 20, "and not for each record");
    }
}
