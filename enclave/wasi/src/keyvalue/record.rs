//! What the store holds for buckets: names and byte formats of its records.
//!
//! | key after `kv1/` | value |
//! |---|---|
//! | `m` | about all buckets: `01`, 32 bytes of salt, number of keys u64 |
//! | `v` bucket key | a value: `01`, its length u32, then its first 120 KiB |
//! | `p` n bucket key | 120 KiB more of it, bare; `n` (u8) counts from 1 |
//! | `l` bucket level path | leaf of the index: `01`, then {hash u64, length u16, key} in the order of hash and key |
//! | `s` bucket level path | that this node of the index is split: `01` |
//!
//! `bucket` is its length (u8) and its name. Integers in keys are big-endian, in values little-endian. The hash of a key
//! is the first 8 bytes, big-endian, of SHA-256(salt ‖ bucket ‖ key): whoever chooses keys cannot choose where they
//! stand.

use graviola::hashing::{Hash, HashContext, Sha256};

use super::error::UnknownFormat;
use super::index::Place;

/// Bytes of a value in one record.
pub(crate) const PIECE: usize = 120 << 10;

/// Names a record of a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    Meta,
    Value(&'a str, &'a str),
    Piece(u8, &'a str, &'a str),
    Leaf(&'a str, Place),
    Split(&'a str, Place),
    /// Of a record that there never is.
    Never,
}

impl Key<'_> {
    /// The key in the application's namespace.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = b"kv1/".to_vec();
        match self {
            Key::Meta => bytes.push(b'm'),
            Key::Never => bytes.push(b'x'),
            Key::Value(bucket, key) => {
                bytes.push(b'v');
                push_bucket(&mut bytes, bucket);
                bytes.extend_from_slice(key.as_bytes());
            }
            Key::Piece(n, bucket, key) => {
                bytes.extend_from_slice(&[b'p', n]);
                push_bucket(&mut bytes, bucket);
                bytes.extend_from_slice(key.as_bytes());
            }
            Key::Leaf(bucket, place) => push_place(&mut bytes, b'l', bucket, place),
            Key::Split(bucket, place) => push_place(&mut bytes, b's', bucket, place),
        }
        bytes
    }
}

fn push_bucket(bytes: &mut Vec<u8>, bucket: &str) {
    // Names are at most 255 bytes long when a bucket is opened.
    bytes.push(u8::try_from(bucket.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(bucket.as_bytes());
}

fn push_place(bytes: &mut Vec<u8>, kind: u8, bucket: &str, place: Place) {
    bytes.push(kind);
    push_bucket(bytes, bucket);
    bytes.push(place.level);
    bytes.extend_from_slice(&place.path.to_be_bytes());
}

/// About all buckets of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) salt: [u8; 32],
    pub(crate) keys: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[1], self.salt.as_slice(), &self.keys.to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, UnknownFormat> {
        let bytes: &[u8; 41] = bytes.try_into().map_err(|_| UnknownFormat)?;
        let ([1], rest) = bytes.split_first_chunk().ok_or(UnknownFormat)? else { return Err(UnknownFormat) };
        let (salt, keys) = rest.split_first_chunk().ok_or(UnknownFormat)?;
        let keys = keys.try_into().map_err(|_| UnknownFormat)?;
        Ok(Meta { salt: *salt, keys: u64::from_le_bytes(keys) })
    }

    /// Where a key stands in the order of its bucket.
    pub(crate) fn hash(&self, bucket: &str, key: &str) -> u64 {
        let mut name = Vec::with_capacity(1 + bucket.len());
        push_bucket(&mut name, bucket);
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        hash.update(&name);
        hash.update(key.as_bytes());
        let digest = hash.finish();
        digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

/// The records of a value: the first one, and what the others hold.
pub(crate) fn encode_value(value: &[u8]) -> (Vec<u8>, impl Iterator<Item = &[u8]>) {
    let (first, rest) = value.split_at(value.len().min(PIECE));
    let mut record = Vec::with_capacity(5 + first.len());
    record.push(1);
    // At most MAX_VALUE.
    record.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(first);
    (record, rest.chunks(PIECE))
}

/// Length of a value, and what its first record holds of it.
pub(crate) fn decode_value(record: &[u8]) -> Result<(usize, &[u8]), UnknownFormat> {
    let (head, first) = record.split_first_chunk::<5>().ok_or(UnknownFormat)?;
    let [1, length @ ..] = head else { return Err(UnknownFormat) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| UnknownFormat)?;
    if length > super::MAX_VALUE || first.len() != length.min(PIECE) {
        return Err(UnknownFormat);
    }
    Ok((length, first))
}
