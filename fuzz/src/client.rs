//! Framed JSON of clients.

use boundary_wire::client::{Decoded, FrameDecoder, Limits, decode_reply};

/// However the stream is cut, the same requests come out of it, and what is held stays within limits.
///
/// The first byte says into which pieces the rest is cut.
pub(crate) fn requests(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let limits = Limits { frame: 1 << 20, text: 1 << 12, values: 1 << 16, ..Limits::default() };
    let whole = decode(stream, stream.len().max(1), limits);
    let cut = decode(stream, usize::from(*piece).max(1), limits);
    assert_eq!(whole, cut);
}

fn decode(stream: &[u8], piece: usize, limits: Limits) -> Vec<Decoded> {
    let mut decoder = FrameDecoder::new(limits);
    let mut out = Vec::new();
    for mut rest in stream.chunks(piece) {
        while !rest.is_empty() {
            let fed = decoder.feed(rest);
            assert!(fed.consumed <= rest.len());
            assert!(fed.decoded.is_some() || fed.consumed == rest.len(), "bytes are left over");
            rest = rest.get(fed.consumed..).unwrap_or_default();
            let fatal = matches!(&fed.decoded, Some(Err(bad)) if bad.fatal);
            out.extend(fed.decoded);
            if fatal {
                return out;
            }
        }
        // The text and its values, and the artifact with the slack of a growing vector.
        let most = limits.text * 4 + limits.values + stream.len() * 2 + 4096;
        assert!(decoder.held_bytes() <= most, "{} held", decoder.held_bytes());
    }
    out
}

pub(crate) fn reply(input: &[u8]) {
    if let Ok(reply) = decode_reply(input) {
        let again = boundary_wire::client::encode_text(&reply);
        assert!(decode_reply(&again).is_ok_and(|second| second == reply));
    }
}
