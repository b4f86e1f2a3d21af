//! Object identifiers of the certificate extensions, as arcs.
//!
//! Each extension's value (the content of its OCTET STRING) is the raw value of the table in
//! `docs/formats/certificates.md`, with no inner encoding.

/// The raw DCAP quote.
pub const QUOTE: &[u64] = &[1, 2, 840, 113741, 1, 13, 1, 0];
/// Interoperable RA-TLS of the CCC and TCG: CBOR `#6.60000([quote, claims])`.
pub const INTEROPERABLE_EVIDENCE: &[u64] = &[2, 23, 133, 5, 4, 9];
/// Everything below is ours.
pub const ARC: &[u64] = &[1, 3, 6, 1, 4, 1, 65230];
/// Root of the configuration tree, 32 bytes.
pub const CONFIGURATION_ROOT: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 1, 1];
/// Names of the apps, joined by `\n`.
pub const APP_NAMES: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 2, 1];
/// Route prefixes of the apps, joined by `\n`.
pub const ROUTE_PREFIXES: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 2, 2];
/// SHA-256 code hashes of the apps, concatenated.
pub const CODE_HASHES: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 2, 3];
/// Combined workloads hash, see [`crate::workloads`].
pub const WORKLOADS_HASH: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 2, 5];
/// App leaf only: root of the app's own configuration tree, 32 bytes.
pub const APP_CONFIGURATION_ROOT: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 3, 1];
/// App leaf only: SHA-256 code hash.
pub const APP_CODE_HASH: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 3, 2];
/// App leaf only: `generated` or `byok:<16 hexadecimal digits>`.
pub const APP_KEY_SOURCE: &[u64] = &[1, 3, 6, 1, 4, 1, 65230, 3, 4];

/// The usual spelling with dots.
pub fn dotted(oid: &[u64]) -> String {
    oid.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// The content bytes of the DER encoding (X.690 §8.19), without tag and length.
///
/// Empty for an arc that is not an object identifier: fewer than two numbers, or first numbers out of range.
pub fn der_content(oid: &[u64]) -> Vec<u8> {
    let [first, second, rest @ ..] = oid else {
        return Vec::new();
    };
    if *first > 2 || (*first < 2 && *second > 39) || *second > u64::MAX - 80 {
        return Vec::new();
    }
    let mut out = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(rest.iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            out.push((arc >> (group * 7)) as u8 & 0x7f | more);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_other_tools_do() {
        assert_eq!(dotted(CODE_HASHES), "1.3.6.1.4.1.65230.2.3");
        // `openssl asn1parse -genstr OID:1.3.6.1.4.1.65230.2.3` and the same for the quote's.
        assert_eq!(der_content(CODE_HASHES), [0x2b, 6, 1, 4, 1, 0x83, 0xfd, 0x4e, 2, 3]);
        assert_eq!(der_content(QUOTE), [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 0x0d, 1, 0]);
        assert_eq!(der_content(&[2, 5, 29, 14]), [0x55, 0x1d, 0x0e]);
        assert!(der_content(&[1]).is_empty());
        assert!(der_content(&[1, 40]).is_empty());
    }
}
