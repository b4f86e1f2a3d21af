//! Lowercase hexadecimal, and nothing else: one value has one spelling.

use serde::{Deserialize, Deserializer, Serializer};

/// Two digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
    out
}

/// Any number of bytes; `None` for anything but pairs of `0-9a-f`.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    fn nibble(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// Exactly `N` bytes.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    decode(text)?.try_into().ok()
}

pub(crate) fn decode_32(text: &str) -> Option<[u8; 32]> {
    decode_array(text)
}

/// For `#[serde(with)]`: 32 bytes as 64 digits.
pub(crate) mod bytes_32 {
    use super::{Deserialize, Deserializer, Serializer, decode_32, encode};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        decode_32(&text).ok_or_else(|| D::Error::custom("not 64 lowercase hexadecimal digits"))
    }
}

/// For `#[serde(with)]`: any number of bytes.
pub(crate) mod bytes {
    use super::{Deserialize, Deserializer, Serializer, decode, encode};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        decode(&text).ok_or_else(|| D::Error::custom("not pairs of lowercase hexadecimal digits"))
    }
}

/// For `#[serde(with)]`: a list of 32-byte values.
pub(crate) mod list_32 {
    use super::{Deserialize, Deserializer, Serializer, decode_32, encode};
    use serde::{de::Error as _, ser::SerializeSeq};

    pub(crate) fn serialize<S: Serializer>(list: &[[u8; 32]], s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(Some(list.len()))?;
        for bytes in list {
            seq.serialize_element(&encode(bytes))?;
        }
        seq.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<[u8; 32]>, D::Error> {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|text| {
                decode_32(text).ok_or_else(|| D::Error::custom("not 64 lowercase hexadecimal digits"))
            })
            .collect()
    }
}
