//! HTTP/2 by hand: a client library would refuse to send this.

use std::io::{Read, Write};

use enclave_os_client::Connection;

/// What a client begins with (RFC 9113 §3.4).
pub(crate) fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat()
}

/// A frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A whole header block on a stream.
pub(crate) fn headers(stream: u32, block: &[u8], is_end: bool) -> Vec<u8> {
    frame(1, 0x04 | u8::from(is_end), stream, block)
}

/// The header block of a request: literals without indexing (RFC 7541 §6.2.2).
pub(crate) fn request(method: &str, authority: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)];
    let mut block = Vec::new();
    for (name, value) in fields.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            assert!(text.len() < 127, "longer ones need more than a byte");
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The status of the answer to one request without a body. `None`: the stream or the connection ended without
/// one.
pub(crate) fn status(connection: &mut Connection, block: &[u8]) -> Option<u16> {
    let bytes = [preface(), headers(1, block, true)].concat();
    connection.write_all(&bytes).ok()?;
    connection.flush().ok()?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload).ok()?;
        match head[3] {
            // RST_STREAM, GOAWAY.
            3 | 7 => return None,
            1 => return Some(decode(&payload)),
            _ => {}
        }
    }
}

/// `:status` stands first: an entry of the static table, or a literal with the name of one.
fn decode(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => {
            let length = usize::from(block[1] & 0x7f);
            let value = &block[2..2 + length];
            if block[1] & 0x80 == 0 {
                return std::str::from_utf8(value).unwrap().parse().unwrap();
            }
            digits(value)
        }
    }
}

/// Three digits in the Huffman code (RFC 7541 appendix B): five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let take =
            |count: usize| bits[at..at + count].iter().fold(0_u16, |value, bit| value << 1 | u16::from(*bit));
        let five = take(5);
        let (digit, length) = if five < 3 { (five, 5) } else { (take(6) - 0x19 + 3, 6) };
        at += length;
        number = number * 10 + digit;
    }
    number
}
