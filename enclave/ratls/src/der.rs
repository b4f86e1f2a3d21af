//! As much of DER (X.690) as it takes to look at three extensions of a CA certificate.

/// subjectKeyIdentifier, keyUsage and basicConstraints (RFC 5280 §4.2.1), as far as they are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CaExtensions {
    pub(crate) key_identifier: Option<Vec<u8>>,
    pub(crate) may_sign_certificates: bool,
    pub(crate) is_ca: bool,
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;
const BOOLEAN: u8 = 0x01;
const EXTENSIONS: u8 = 0xa3;

const SUBJECT_KEY_IDENTIFIER: [u8; 3] = [0x55, 0x1d, 14];
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 19];
/// Bit 5 of KeyUsage, keyCertSign, counted from the highest bit of the first byte.
const KEY_CERT_SIGN: u8 = 0x80 >> 5;

/// One element: tag, contents, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = input else {
        return None;
    };
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(input)?;
    (found == tag).then_some((contents, rest))
}

/// The extensions of a certificate (RFC 5280 §4.1); `None` when it is not one.
pub(crate) fn ca_extensions(certificate: &[u8]) -> Option<CaExtensions> {
    let (certificate, _) = expect(SEQUENCE, certificate)?;
    let (mut fields, _) = expect(SEQUENCE, certificate)?;
    let mut found = CaExtensions::default();
    while !fields.is_empty() {
        let (tag, contents, rest) = element(fields)?;
        fields = rest;
        if tag == EXTENSIONS {
            let (mut list, _) = expect(SEQUENCE, contents)?;
            while !list.is_empty() {
                let (extension, rest) = expect(SEQUENCE, list)?;
                list = rest;
                read_extension(extension, &mut found)?;
            }
        }
    }
    Some(found)
}

fn read_extension(extension: &[u8], found: &mut CaExtensions) -> Option<()> {
    let (oid, rest) = expect(OBJECT_IDENTIFIER, extension)?;
    let rest = expect(BOOLEAN, rest).map_or(rest, |(_, rest)| rest);
    let (value, _) = expect(OCTET_STRING, rest)?;
    if oid == SUBJECT_KEY_IDENTIFIER {
        found.key_identifier = Some(expect(OCTET_STRING, value)?.0.to_vec());
    } else if oid == KEY_USAGE {
        let (bits, _) = expect(BIT_STRING, value)?;
        found.may_sign_certificates = bits.get(1).is_some_and(|byte| byte & KEY_CERT_SIGN != 0);
    } else if oid == BASIC_CONSTRAINTS {
        let (constraints, _) = expect(SEQUENCE, value)?;
        found.is_ca = expect(BOOLEAN, constraints).is_some_and(|(value, _)| value == [0xff]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bytes_are_answered() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x80",
            b"\x30\x85\x01\x01\x01\x01\x01",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x7f",
        ] {
            assert_eq!(ca_extensions(bytes), None, "{bytes:?}");
        }
        assert_eq!(ca_extensions(b"\x30\x02\x30\x00"), Some(CaExtensions::default()));
    }
}
