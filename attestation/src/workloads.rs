//! One hash that names every app and its code: extension `.2.5`.

use sha2::{Digest, Sha256};

/// SHA-256 over `u16 BE name length ‖ name ‖ code hash` of every app, in name order.
///
/// The caller passes each app once; order does not matter. `None` when a name is longer than 65,535 bytes.
pub fn hash<'a>(apps: impl IntoIterator<Item = (&'a str, [u8; 32])>) -> Option<[u8; 32]> {
    let mut apps: Vec<_> = apps.into_iter().collect();
    apps.sort_unstable();
    let mut hash = Sha256::new();
    for (name, code_hash) in apps {
        hash.update(u16::try_from(name.len()).ok()?.to_be_bytes());
        hash.update(name);
        hash.update(code_hash);
    }
    Some(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_answer() {
        // python: hashlib.sha256(b"\0\1a"+b"\x11"*32+b"\0\3bcd"+b"\x22"*32).hexdigest()
        let hash = super::hash([("bcd", [0x22; 32]), ("a", [0x11; 32])]).unwrap();
        assert_eq!(
            crate::hex::encode(&hash),
            "e6208fe99647e668dbde5c5d1e02af9397d93ce7d45dfa17d299d8957a7d0cbc"
        );
        assert_eq!(crate::hex::encode(&super::hash([]).unwrap())[..8], *"e3b0c442");
    }
}
