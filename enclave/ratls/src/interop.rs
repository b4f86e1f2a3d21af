//! Interoperable RA-TLS of the CCC and TCG (DICE Attestation Architecture, "tagged evidence"):
//! `#6.60000([quote, claims])`, the claims `{"pubkey-hash": [1, SHA-256(SPKI)]}` as a byte string.
//!
//! CBOR in its deterministic form (RFC 8949 §4.2.1); these few items are all that is ever written.

use graviola::hashing::{Hash, Sha256};

/// Tag of an SGX quote with its claims.
const TAG: u64 = 60000;
/// SHA-256 in the Named Information Hash Algorithm Registry (RFC 6920 §9.4).
const SHA_256: u64 = 1;

/// RFC 8949 §3.1.
#[repr(u8)]
#[derive(Clone, Copy)]
enum Major {
    Unsigned = 0,
    Bytes = 2,
    Text = 3,
    Array = 4,
    Map = 5,
    Tag = 6,
}

/// `{"pubkey-hash": [1, SHA-256(SPKI)]}`.
pub(crate) fn claims(spki_der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, Major::Map, 1);
    string(&mut out, Major::Text, b"pubkey-hash");
    head(&mut out, Major::Array, 2);
    head(&mut out, Major::Unsigned, SHA_256);
    string(&mut out, Major::Bytes, Sha256::hash(spki_der).as_ref());
    out
}

/// `#6.60000([quote, claims])`: the content of extension `2.23.133.5.4.9`.
pub(crate) fn evidence(quote: &[u8], claims: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, Major::Tag, TAG);
    head(&mut out, Major::Array, 2);
    string(&mut out, Major::Bytes, quote);
    string(&mut out, Major::Bytes, claims);
    out
}

/// Major type and argument, the argument as short as it can be.
fn head(out: &mut Vec<u8>, major: Major, argument: u64) {
    let major = (major as u8) << 5;
    let bytes = argument.to_be_bytes();
    let (information, from) = match argument {
        // Below 24 it stands in the first byte.
        0..24 => return out.push(major | bytes[7]),
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    out.push(major | information);
    out.extend(bytes.iter().skip(from));
}

fn string(out: &mut Vec<u8>, major: Major, content: &[u8]) {
    head(out, major, content.len() as u64);
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn arguments_are_as_short_as_they_can_be() {
        // RFC 8949 appendix A.
        for (value, expected) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
        ] {
            let mut out = Vec::new();
            head(&mut out, Major::Unsigned, value);
            assert_eq!(hex(&out), expected);
        }
    }

    #[test]
    fn known_bytes() {
        // map(1), text(11) "pubkey-hash", array(2), 1, bytes(32) SHA-256("spki").
        let hash = "6feecc8c16c5551d9feb3eb5f77e2da773bf68bd9ef9c52927ceb2c86e56892b";
        assert_eq!(hex(&claims(b"spki")), format!("a16b7075626b65792d6861736882015820{hash}"));
        // tag(60000), array(2), bytes(300), bytes(1).
        assert_eq!(hex(&evidence(&[0; 300], &[1])), format!("d9ea608259012c{}4101", "00".repeat(300)));
    }
}
