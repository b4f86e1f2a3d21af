//! The few DER forms that the SGX extension of a PCK certificate is made of (X.690 §8, §10).

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

pub(super) fn boolean(value: bool) -> Vec<u8> {
    tagged(BOOLEAN, &[if value { 0xff } else { 0 }])
}

pub(super) fn integer(value: u16) -> Vec<u8> {
    tagged(INTEGER, &unsigned(value))
}

pub(super) fn enumerated(value: u8) -> Vec<u8> {
    tagged(ENUMERATED, &unsigned(u16::from(value)))
}

pub(super) fn octet_string(value: &[u8]) -> Vec<u8> {
    tagged(OCTET_STRING, value)
}

pub(super) fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &items.concat())
}

/// An OID of at least two arcs, the first of them 1.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let second = arcs.get(1).copied().unwrap_or(0);
    let mut body = base128(40 + second);
    for arc in arcs.iter().skip(2) {
        body.extend(base128(*arc));
    }
    tagged(OBJECT_IDENTIFIER, &body)
}

/// The shortest two's complement form of a number that is not negative.
fn unsigned(value: u16) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&value.to_be_bytes());
    while bytes.len() > 1 && bytes[0] == 0 && bytes[1] < 0x80 {
        bytes.remove(0);
    }
    bytes
}

fn base128(mut arc: u32) -> Vec<u8> {
    let mut digits = vec![(arc & 0x7f) as u8];
    arc >>= 7;
    while arc > 0 {
        digits.push((arc & 0x7f) as u8 | 0x80);
        arc >>= 7;
    }
    digits.reverse();
    digits
}

/// Definite length, in the shortest form.
fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let first = length.iter().position(|&byte| byte != 0).unwrap_or(length.len() - 1);
    let digits = &length[first..];
    let mut out = vec![tag];
    if body.len() >= 0x80 {
        out.push(0x80 | digits.len() as u8);
    }
    out.extend_from_slice(digits);
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_those_of_x690() {
        assert_eq!(boolean(true), [1, 1, 0xff]);
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(127), [2, 1, 127]);
        assert_eq!(integer(128), [2, 2, 0, 128]);
        assert_eq!(integer(0xffff), [2, 3, 0, 0xff, 0xff]);
        assert_eq!(enumerated(1), [10, 1, 1]);
        assert_eq!(octet_string(&[]), [4, 0]);
        assert_eq!(octet_string(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octet_string(&[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(sequence(&[integer(1), integer(2)]), [0x30, 6, 2, 1, 1, 2, 1, 2]);
        // 1.2.840.113741.1.13.1, as Intel's certificates have it.
        let expected = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1];
        assert_eq!(oid(&[1, 2, 840, 113_741, 1, 13, 1]), expected);
    }
}
