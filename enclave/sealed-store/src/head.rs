//! The head: what the store holds as a whole, sealed anew in every batch.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | format, 1, LE |
//! | 4 | 32 | salt |
//! | 36 | 64 | AES-256-GCM ciphertext of the fields below |
//! | 100 | 16 | GCM tag |
//!
//! Fields, LE: commit counter (8), live records (8), next version (8), last time claimed by the host in
//! nanoseconds since 1970 (8), multiset hash over the live records (32).

use graviola::aead::AesGcm;
use zeroize::Zeroizing;

use crate::backend::RecordId;
use crate::error::Misbehaviour;
use crate::keys::{RootKeys, SALT};
use crate::multiset::Multiset;

/// Where the head lies: right behind the anchor.
pub(crate) const HEAD_ID: RecordId = {
    let mut id = [0; 32];
    id[31] = 1;
    id
};

const FORMAT: [u8; 4] = [1, 0, 0, 0];
const FIELDS: usize = 4 * 8 + Multiset::LEN;
const LEN: usize = 4 + SALT + FIELDS + 16;
/// The key of a head encrypts once, so the nonce is a constant.
const NONCE: [u8; 12] = [0; 12];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// How many batches were tried; grows with each.
    pub(crate) counter: u64,
    pub(crate) records: u64,
    /// No record has this version or a later one.
    pub(crate) next_version: u64,
    pub(crate) unix_ns: u64,
    pub(crate) multiset: Multiset,
}

impl Head {
    /// Seals the head of the store with this anchor.
    pub(crate) fn seal(&self, root: &RootKeys, anchor: &[u8], salt: &[u8; SALT]) -> Vec<u8> {
        let mut fields = Zeroizing::new([0; FIELDS]);
        let numbers = [self.counter, self.records, self.next_version, self.unix_ns];
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).chain(self.multiset.to_bytes());
        fields.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let mut tag = [0; 16];
        AesGcm::new(&*root.head_key(salt)).encrypt(
            &NONCE,
            &[FORMAT.as_slice(), anchor].concat(),
            &mut *fields,
            &mut tag,
        );
        [FORMAT.as_slice(), salt, &*fields, &tag].concat()
    }

    pub(crate) fn open(root: &RootKeys, anchor: &[u8], value: &[u8]) -> Result<Self, Misbehaviour> {
        let opened = || {
            let value: &[u8; LEN] = value.try_into().ok()?;
            let (format, rest) = value.split_first_chunk::<4>()?;
            let (salt, rest) = rest.split_first_chunk::<SALT>()?;
            let (fields, tag) = rest.split_first_chunk::<FIELDS>()?;
            if *format != FORMAT {
                return None;
            }
            let mut fields = Zeroizing::new(*fields);
            AesGcm::new(&*root.head_key(salt))
                .decrypt(&NONCE, &[FORMAT.as_slice(), anchor].concat(), &mut *fields, tag)
                .ok()?;
            let (numbers, multiset) = fields.split_last_chunk::<{ Multiset::LEN }>()?;
            let mut numbers = numbers.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n));
            Some(Self {
                counter: numbers.next()?,
                records: numbers.next()?,
                next_version: numbers.next()?,
                unix_ns: numbers.next()?,
                multiset: Multiset::from_bytes(multiset),
            })
        };
        opened().ok_or(Misbehaviour::HeadForged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_opens_only_whole_and_for_its_store() {
        let root = RootKeys::from_seal_key(&[1; 16]);
        let mut multiset = Multiset::default();
        multiset.add(&[0xab; 32]);
        let head = Head { counter: 1, records: 2, next_version: 3, unix_ns: 4, multiset };
        let sealed = head.seal(&root, b"anchor", &[7; 32]);
        assert_eq!(sealed.len(), LEN);
        assert_eq!(Head::open(&root, b"anchor", &sealed), Ok(head));

        let forged = Err(Misbehaviour::HeadForged);
        for i in 0..LEN {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert_eq!(Head::open(&root, b"anchor", &bad), forged, "byte {i}");
            assert_eq!(Head::open(&root, b"anchor", &sealed[..i]), forged, "cut at {i}");
        }
        assert_eq!(Head::open(&root, b"other anchor", &sealed), forged);
        assert_eq!(Head::open(&RootKeys::from_seal_key(&[2; 16]), b"anchor", &sealed), forged);
    }
}
