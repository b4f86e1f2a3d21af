//! Which keys a bucket has: a tree of nodes with sixteen children each, walked by the nibbles of a key's hash.
//!
//! A leaf holds the keys whose hashes begin with its path; one that grows beyond [`LEAF_BYTES`] is split. That a node is
//! split is a record of its own without contents: the store knows in enclave memory which records there are, so the way
//! to a leaf asks the host for nothing but the leaf.

use super::error::{KvError, UnknownFormat};

/// A leaf beyond this size is split.
pub(crate) const LEAF_BYTES: usize = 4 << 10;
/// Deepest level: the hash has no more nibbles.
const MAX_LEVEL: u8 = 16;

/// Where a node stands: `path` is the first `level` nibbles of the hashes below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) level: u8,
    pub(crate) path: u64,
}

impl Place {
    pub(crate) const TOP: Place = Place { level: 0, path: 0 };

    /// The child that leads to `hash`.
    pub(crate) fn child(self, hash: u64) -> Place {
        let level = self.level + 1;
        Place { level, path: hash >> (64 - 4 * u32::from(level)) }
    }

    pub(crate) fn parent(self) -> Option<Place> {
        (self.level > 0).then(|| Place { level: self.level - 1, path: self.path >> 4 })
    }

    pub(crate) fn children(self) -> impl Iterator<Item = Place> {
        let level = self.level + 1;
        (0..16).map(move |nibble| Place { level, path: self.path << 4 | nibble })
    }

    /// The first hash behind everything below this node.
    pub(crate) fn end(self) -> Option<u64> {
        if self.level == 0 {
            return None;
        }
        (u128::from(self.path) + 1).checked_shl(64 - 4 * u32::from(self.level))?.try_into().ok()
    }

    pub(crate) fn can_split(self) -> bool {
        self.level < MAX_LEVEL
    }
}

/// Knows which nodes are split.
pub(crate) trait Splits {
    fn is_split(&self, bucket: &str, place: Place) -> Result<bool, KvError>;
}

/// Where the leaf stands, or would stand, that holds keys of this hash.
pub(crate) fn leaf_place<S: Splits + ?Sized>(splits: &S, bucket: &str, hash: u64) -> Result<Place, KvError> {
    let mut place = Place::TOP;
    while place.can_split() && splits.is_split(bucket, place)? {
        place = place.child(hash);
    }
    Ok(place)
}

/// Keys in the order of hash and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaf {
    entries: Vec<(u64, String)>,
    bytes: usize,
}

impl Leaf {
    fn entry_bytes(key: &str) -> usize {
        key.len() + 10
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes > LEAF_BYTES
    }

    /// Adds a key that is not there.
    pub(crate) fn insert(&mut self, hash: u64, key: &str) {
        let at = self.entries.partition_point(|(h, k)| (*h, k.as_str()) < (hash, key));
        self.bytes += Self::entry_bytes(key);
        self.entries.insert(at, (hash, key.to_owned()));
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &str) {
        let found = self.entries.binary_search_by(|(h, k)| (*h, k.as_str()).cmp(&(hash, key)));
        if let Ok(at) = found {
            self.entries.remove(at);
            self.bytes -= Self::entry_bytes(key);
        }
    }

    pub(crate) fn entries(&self) -> &[(u64, String)] {
        &self.entries
    }

    /// What each child of `place` holds of it.
    pub(crate) fn split(self, place: Place) -> Vec<(Place, Leaf)> {
        let mut children: Vec<(Place, Leaf)> = Vec::new();
        for (hash, key) in self.entries {
            let child = place.child(hash);
            if children.last().is_none_or(|(last, _)| *last != child) {
                children.push((child, Leaf::default()));
            }
            if let Some((_, leaf)) = children.last_mut() {
                leaf.bytes += Self::entry_bytes(&key);
                leaf.entries.push((hash, key));
            }
        }
        children
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.bytes);
        out.push(1);
        for (hash, key) in &self.entries {
            out.extend_from_slice(&hash.to_le_bytes());
            // Keys are at most 1024 bytes long when they are made.
            out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(key.as_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Leaf, UnknownFormat> {
        let ([1], mut rest) = bytes.split_first_chunk().ok_or(UnknownFormat)? else {
            return Err(UnknownFormat);
        };
        let mut leaf = Leaf { entries: Vec::new(), bytes: bytes.len() - 1 };
        while !rest.is_empty() {
            let (hash, after) = rest.split_first_chunk().ok_or(UnknownFormat)?;
            let (length, after) = after.split_first_chunk().ok_or(UnknownFormat)?;
            let length = usize::from(u16::from_le_bytes(*length));
            let (key, after) = after.split_at_checked(length).ok_or(UnknownFormat)?;
            let key = std::str::from_utf8(key).map_err(|_| UnknownFormat)?;
            leaf.entries.push((u64::from_le_bytes(*hash), key.to_owned()));
            rest = after;
        }
        Ok(leaf)
    }
}
