//! One record as the host keeps it.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format, 1 |
//! | 1 | 3 | zero |
//! | 4 | 16 | namespace tag |
//! | 20 | 8 | version, LE |
//! | 28 | 32 | salt |
//! | 60 | n | AES-256-GCM ciphertext of the value |
//! | 60 + n | 16 | GCM tag |
//! | 76 + n | 16 | record MAC over id and all of the above |

use graviola::aead::AesGcm;
use zeroize::Zeroizing;

use crate::backend::RecordId;
use crate::error::{Id, Misbehaviour, StoreError};
use crate::keys::{NamespaceKey, NamespaceTag, RecordMac, RootKeys, SALT, length, record_key};

const FORMAT: [u8; 4] = [1, 0, 0, 0];
const PREFIX: usize = 4 + 16 + 8 + SALT;
const GCM_TAG: usize = 16;
const MAC: usize = 16;

/// What a record costs beside its value.
pub(crate) const OVERHEAD: usize = PREFIX + GCM_TAG + MAC;

/// The key of a record encrypts once, so the nonce is a constant.
const NONCE: [u8; 12] = [0; 12];

/// Where a record belongs: what its value is bound to beside its version.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) tag: &'a NamespaceTag,
    pub(crate) key: &'a [u8],
    pub(crate) id: &'a RecordId,
}

impl Place<'_> {
    fn associated_data(&self, version: u64) -> Vec<u8> {
        let namespace = self.namespace.as_bytes();
        [
            FORMAT.as_slice(),
            self.id,
            &version.to_le_bytes(),
            &length(namespace),
            namespace,
            &length(self.key),
            self.key,
        ]
        .concat()
    }
}

/// A record that is authentic: this store wrote it under this id, at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) tag: NamespaceTag,
    pub(crate) version: u64,
    pub(crate) mac: RecordMac,
    salt: [u8; SALT],
}

/// Seals a value; gives the record and its MAC.
pub(crate) fn seal(
    root: &RootKeys,
    namespace_key: &NamespaceKey,
    place: Place<'_>,
    version: u64,
    salt: &[u8; SALT],
    value: &[u8],
) -> (Vec<u8>, RecordMac) {
    let mut record = Vec::with_capacity(OVERHEAD + value.len());
    record.extend_from_slice(&FORMAT);
    record.extend_from_slice(place.tag);
    record.extend_from_slice(&version.to_le_bytes());
    record.extend_from_slice(salt);
    record.extend_from_slice(value);
    let cipher = AesGcm::new(&*record_key(namespace_key, salt, place.id));
    let mut tag = [0; GCM_TAG];
    if let Some(body) = record.get_mut(PREFIX..) {
        cipher.encrypt(&NONCE, &place.associated_data(version), body, &mut tag);
    }
    record.extend_from_slice(&tag);
    let mac = root.record_mac(place.id, &record);
    record.extend_from_slice(&mac);
    (record, mac)
}

/// Reads what is outside of the encryption, after checking that this store wrote it under this id.
pub(crate) fn authenticate(root: &RootKeys, id: &RecordId, record: &[u8]) -> Result<Header, Misbehaviour> {
    let forged = Misbehaviour::RecordForged(Id(*id));
    let Some((covered, mac)) = record.split_last_chunk::<MAC>() else { return Err(forged) };
    if covered.len() < PREFIX + GCM_TAG || !root.record_mac_holds(id, covered, mac) {
        return Err(forged);
    }
    let parsed = || {
        let (format, rest) = covered.split_first_chunk::<4>()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (salt, _) = rest.split_first_chunk()?;
        (*format == FORMAT).then_some(Header {
            tag: *tag,
            version: u64::from_le_bytes(*version),
            mac: *mac,
            salt: *salt,
        })
    };
    parsed().ok_or(forged)
}

/// Decrypts an authenticated record.
pub(crate) fn open(
    namespace_key: &NamespaceKey,
    place: Place<'_>,
    header: &Header,
    mut record: Vec<u8>,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    record.truncate(record.len().saturating_sub(MAC));
    let tag_at = record.len().saturating_sub(GCM_TAG);
    let tag = record.split_off(tag_at);
    record.drain(..PREFIX.min(record.len()));
    let mut value = Zeroizing::new(record);
    let cipher = AesGcm::new(&*record_key(namespace_key, &header.salt, place.id));
    // The record is what this store wrote here, so what is left to be wrong is the caller's key.
    cipher
        .decrypt(&NONCE, &place.associated_data(header.version), &mut value, &tag)
        .map_err(|_| StoreError::WrongKey)?;
    Ok(value)
}

/// How long a value is, from the length of its record.
pub(crate) fn value_len(record: &[u8]) -> u64 {
    record.len().saturating_sub(OVERHEAD) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: &str = "app:a";

    fn root() -> RootKeys {
        RootKeys::from_seal_key(&[1; 16])
    }

    fn sealed(value: &[u8], version: u64, salt: u8) -> (RecordId, NamespaceTag, Vec<u8>) {
        let root = root();
        let (id, tag) = (root.record_id(NS, b"k"), root.namespace_tag(NS));
        let place = Place { namespace: NS, tag: &tag, key: b"k", id: &id };
        let key = NamespaceKey::from_bytes([5; 32]);
        (id, tag, seal(&root, &key, place, version, &[salt; 32], value).0)
    }

    #[test]
    fn opens_to_what_was_sealed_and_hides_it() {
        for value in [b"".as_slice(), b"x", b"a secret value that is longer than a block"] {
            let (id, tag, record) = sealed(value, 3, 1);
            assert_eq!(record.len(), OVERHEAD + value.len());
            assert_eq!(value_len(&record), value.len() as u64);
            let header = authenticate(&root(), &id, &record).unwrap();
            assert_eq!((header.tag, header.version), (tag, 3));
            let place = Place { namespace: NS, tag: &tag, key: b"k", id: &id };
            let opened = open(&NamespaceKey::from_bytes([5; 32]), place, &header, record.clone()).unwrap();
            assert_eq!(*opened, value);
            assert!(value.len() < 2 || !record.windows(value.len()).any(|w| w == value));
            assert_ne!(record, sealed(value, 3, 2).2, "another salt, another record");

            let wrong = NamespaceKey::from_bytes([6; 32]);
            assert_eq!(open(&wrong, place, &header, record), Err(StoreError::WrongKey));
        }
    }

    #[test]
    fn every_byte_and_every_length_counts() {
        let (id, _, record) = sealed(b"value", 3, 1);
        let forged = Misbehaviour::RecordForged(Id(id));
        for i in 0..record.len() {
            for bit in [1, 0x80] {
                let mut bad = record.clone();
                bad[i] ^= bit;
                assert_eq!(authenticate(&root(), &id, &bad).unwrap_err(), forged, "byte {i}");
            }
            assert_eq!(authenticate(&root(), &id, &record[..i]).unwrap_err(), forged, "cut at {i}");
        }
        let longer = [record.as_slice(), &[0]].concat();
        assert_eq!(authenticate(&root(), &id, &longer).unwrap_err(), forged);
        let mut elsewhere = id;
        elsewhere[31] ^= 1;
        assert!(authenticate(&root(), &elsewhere, &record).is_err(), "in another place");
    }

    #[test]
    fn a_value_is_bound_to_namespace_key_and_version() {
        let (id, tag, record) = sealed(b"value", 3, 1);
        let header = authenticate(&root(), &id, &record).unwrap();
        let key = NamespaceKey::from_bytes([5; 32]);
        let place = Place { namespace: NS, tag: &tag, key: b"k", id: &id };
        let attempts = [
            (Place { namespace: "app:b", ..place }, header),
            (Place { key: b"l", ..place }, header),
            (place, Header { version: 4, ..header }),
            (Place { id: &[0; 32], ..place }, header),
        ];
        for (place, header) in attempts {
            assert_eq!(open(&key, place, &header, record.clone()), Err(StoreError::WrongKey));
        }
    }
}
