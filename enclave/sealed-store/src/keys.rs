//! The key hierarchy: one key, one purpose.
//!
//! ```text
//! EGETKEY(anchor's request) --HKDF--> anchor-mac, record-id, namespace-tag, record-mac, multiset, head, core
//! core | the application's key | the caller's key (BYOK) = namespace key
//! namespace key --HKDF(record's salt, record's id)--> the record's key, used for one encryption
//! ```

use std::fmt;

use enclave_platform::{Platform, RandomError};
use graviola::hashing::hmac::Hmac;
use graviola::hashing::{HashOutput, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::backend::RecordId;

/// A 256-bit secret.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Bytes of fresh randomness in each record and head.
pub(crate) const SALT: usize = 32;

/// Names a namespace in records, without saying its name.
pub(crate) type NamespaceTag = [u8; 16];

/// The first bytes of an HMAC: enough to authenticate, short enough to keep for every record.
pub(crate) type RecordMac = [u8; 16];

/// The key that a namespace's values are encrypted under.
#[derive(Clone)]
pub struct NamespaceKey(Key);

impl NamespaceKey {
    /// A new key for a namespace whose owner brought none.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate(platform: &dyn Platform) -> Result<Self, RandomError> {
        let mut key = Zeroizing::new([0; 32]);
        platform.entropy(&mut *key)?;
        Ok(Self(key))
    }

    /// A key that was brought, or comes from the sealed registry.
    pub fn from_bytes(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The key itself, to be kept in a sealed record.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<Zeroizing<[u8; 32]>> for NamespaceKey {
    fn from(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }
}

impl fmt::Debug for NamespaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NamespaceKey(..)")
    }
}

/// The keys of one store, from its sealing key.
pub(crate) struct RootKeys {
    anchor_mac: Key,
    record_id: Key,
    namespace_tag: Key,
    record_mac: Key,
    multiset: Key,
    head: Key,
    core: Key,
}

impl RootKeys {
    pub(crate) fn from_seal_key(seal_key: &[u8; 16]) -> Self {
        let secret = hkdf_extract(b"enclave-os sealed store v1", seal_key);
        let purpose = |label: &str| hkdf_expand(&secret, &[label.as_bytes()]);
        Self {
            anchor_mac: purpose("anchor mac"),
            record_id: purpose("record id"),
            namespace_tag: purpose("namespace tag"),
            record_mac: purpose("record mac"),
            multiset: purpose("multiset element"),
            head: purpose("head"),
            core: purpose("core namespace"),
        }
    }

    pub(crate) fn core(&self) -> NamespaceKey {
        NamespaceKey(self.core.clone())
    }

    pub(crate) fn namespace_tag(&self, name: &str) -> NamespaceTag {
        first(&hmac(&*self.namespace_tag, &[name.as_bytes()]))
    }

    /// Namespace and key are told apart by the length in front of each.
    pub(crate) fn record_id(&self, namespace: &str, key: &[u8]) -> RecordId {
        let mac =
            hmac(&*self.record_id, &[&length(namespace.as_bytes()), namespace.as_bytes(), &length(key), key]);
        first(&mac)
    }

    /// Over everything in a record that the host keeps, and where it keeps it.
    pub(crate) fn record_mac(&self, id: &RecordId, record: &[u8]) -> RecordMac {
        first(&hmac(&*self.record_mac, &[id, record]))
    }

    pub(crate) fn record_mac_holds(&self, id: &RecordId, record: &[u8], mac: &[u8]) -> bool {
        hmac(&*self.record_mac, &[id, record]).truncated_ct_equal::<16>(mac)
    }

    /// The PRF of the multiset hash. The MAC stands for the record: it covers all of it.
    pub(crate) fn multiset_element(&self, id: &RecordId, version: u64, mac: &RecordMac) -> [u8; 32] {
        first(&hmac(&*self.multiset, &[id, &version.to_le_bytes(), mac]))
    }

    pub(crate) fn anchor_mac(&self, anchor: &[u8]) -> [u8; 32] {
        first(&hmac(&*self.anchor_mac, &[anchor]))
    }

    pub(crate) fn anchor_mac_holds(&self, anchor: &[u8], mac: &[u8]) -> bool {
        hmac(&*self.anchor_mac, &[anchor]).ct_equal(mac)
    }

    pub(crate) fn head_key(&self, salt: &[u8; SALT]) -> Key {
        hkdf_expand(&hkdf_extract(salt, &*self.head), &[b"enclave-os head v1"])
    }
}

/// The key of one record: fresh with its salt, whatever was rolled back.
pub(crate) fn record_key(namespace: &NamespaceKey, salt: &[u8; SALT], id: &RecordId) -> Key {
    hkdf_expand(&hkdf_extract(salt, &*namespace.0), &[b"enclave-os record v1", id])
}

/// The length of a part, in front of it wherever parts of variable length are put together.
pub(crate) fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_le_bytes()
}

/// RFC 5869, section 2.2, with SHA-256.
fn hkdf_extract(salt: &[u8], secret: &[u8]) -> Key {
    secret_of(hmac(salt, &[secret]))
}

/// RFC 5869, section 2.3, for one block of output.
fn hkdf_expand(key: &Key, info: &[&[u8]]) -> Key {
    let mut parts = info.to_vec();
    parts.push(&[1]);
    secret_of(hmac(&**key, &parts))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> HashOutput {
    let mut mac = Hmac::<Sha256>::new(key);
    for part in parts {
        mac.update(part);
    }
    mac.finish()
}

fn first<const N: usize>(mac: &HashOutput) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(mac.as_ref()) {
        *to = *from;
    }
    out
}

fn secret_of(mut mac: HashOutput) -> Key {
    let key = Zeroizing::new(first(&mac));
    mac.as_mut().zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, test case 1, first block.
    #[test]
    fn hkdf_is_hkdf() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let out = hkdf_expand(&hkdf_extract(&salt, &[0x0b; 22]), &[&info]);
        let expected = [
            0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a,
            0x2d, 0x2d, 0x0a, 0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf,
        ];
        assert_eq!(*out, expected);
    }

    #[test]
    fn no_two_purposes_share_a_key() {
        let k = RootKeys::from_seal_key(&[1; 16]);
        let all =
            [&k.anchor_mac, &k.record_id, &k.namespace_tag, &k.record_mac, &k.multiset, &k.head, &k.core];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| **a != **b));
        }
        assert_ne!(*RootKeys::from_seal_key(&[2; 16]).core, *k.core);
    }

    #[test]
    fn what_is_cut_differently_is_filed_differently() {
        let k = RootKeys::from_seal_key(&[1; 16]);
        assert_ne!(k.record_id("app:a", b"bc"), k.record_id("app:ab", b"c"));
        assert_ne!(k.record_id("app:a", b""), k.record_id("app:", b"a"));
        assert_eq!(k.record_id("app:a", b"x"), k.record_id("app:a", b"x"));
    }

    #[test]
    fn a_record_key_changes_with_salt_id_and_namespace() {
        let ns = NamespaceKey::from_bytes([1; 32]);
        let key = record_key(&ns, &[2; 32], &[3; 32]);
        assert_ne!(*key, *record_key(&ns, &[9; 32], &[3; 32]));
        assert_ne!(*key, *record_key(&ns, &[2; 32], &[9; 32]));
        assert_ne!(*key, *record_key(&NamespaceKey::from_bytes([9; 32]), &[2; 32], &[3; 32]));
    }
}
