//! Frames written: answers of the enclave, requests of a client.

use serde::Deserialize;

use super::reply::Reply;
use super::request::Request;
use super::{LENGTH_PREFIX, MAX_FRAME};

/// Code of the error that stands in for an answer that does not fit a frame.
pub const REPLY_TOO_LARGE: &str = "reply-too-large";

/// The whole frame of an answer: length prefix and JSON in one buffer. `wrapped` puts it inside `Data`, as its
/// request was. An answer beyond [`MAX_FRAME`] is replaced by an error that says so.
pub fn encode_reply(reply: &Reply, wrapped: bool) -> Vec<u8> {
    let text = encode_text(reply);
    let wrapped = wrapped && !matches!(reply, Reply::Pong | Reply::Healthz);
    frame(&text, wrapped).unwrap_or_else(|| {
        let error = Reply::error(
            REPLY_TOO_LARGE,
            "the answer is longer than a frame may be: ask over HTTP, or for less",
        );
        frame(&encode_text(&error), wrapped).unwrap_or_default()
    })
}

/// The JSON text of an answer without any framing.
pub fn encode_text(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Pong => b"\"Pong\"".to_vec(),
        Reply::Healthz => br#"{"Healthz":{"status":"ok"}}"#.to_vec(),
        // Strings, numbers and JSON values cannot fail to be written to memory.
        reply => serde_json::to_vec(reply).unwrap_or_default(),
    }
}

/// The whole frame of a request, or `None` if it would be longer than [`MAX_FRAME`].
pub fn encode_request(request: &Request, wrapped: bool) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(request).ok()?;
    frame(&text, wrapped && matches!(request, Request::Envelope(_)))
}

/// The answer in a frame's JSON (without its length), wrapped in `Data` or not.
pub fn decode_reply(body: &[u8]) -> Result<Reply, serde_json::Error> {
    if body.trim_ascii() == b"\"Pong\"" {
        return Ok(Reply::Pong);
    }
    let outer: Outer = serde_json::from_slice(body)?;
    match (outer.data, outer.healthz) {
        (Some(text), _) => serde_json::from_slice(&text),
        (None, Some(_)) => Ok(Reply::Healthz),
        (None, None) => serde_json::from_slice(body),
    }
}

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "Data")]
    data: Option<Vec<u8>>,
    #[serde(rename = "Healthz")]
    healthz: Option<serde::de::IgnoredAny>,
}

fn frame(text: &[u8], wrapped: bool) -> Option<Vec<u8>> {
    const OPEN: &[u8] = br#"{"Data":["#;
    const CLOSE: &[u8] = b"]}";
    let length = if wrapped {
        let digits: usize = text.iter().map(|byte| digits(*byte)).sum();
        OPEN.len() + digits + text.len().saturating_sub(1) + CLOSE.len()
    } else {
        text.len()
    };
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME)?;
    let mut out = Vec::with_capacity(LENGTH_PREFIX + length);
    out.extend_from_slice(&prefix.to_be_bytes());
    if !wrapped {
        out.extend_from_slice(text);
        return Some(out);
    }
    out.extend_from_slice(OPEN);
    for (index, byte) in text.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_decimal(&mut out, *byte);
    }
    out.extend_from_slice(CLOSE);
    Some(out)
}

fn digits(byte: u8) -> usize {
    match byte {
        0..=9 => 1,
        10..=99 => 2,
        _ => 3,
    }
}

fn push_decimal(out: &mut Vec<u8>, byte: u8) {
    if byte >= 100 {
        out.push(b'0' + byte / 100);
    }
    if byte >= 10 {
        out.push(b'0' + byte / 10 % 10);
    }
    out.push(b'0' + byte % 10);
}
