//! What the store holds for a filesystem: names and byte formats of its records.
//!
//! | key after `fs1/` | value |
//! |---|---|
//! | `o` | orphans: `01`, then 16-byte ids of files that have no name any more and are not wholly erased |
//! | `i` id | inode: `01`, kind, accessed, modified, changed (u64 ns since 1970), then for a file (`01`) its size u64, for a directory (`02`) its parent's id and its number of entries u32 |
//! | `d` id level path | directory node: `02` if it is split, else `01` and entries {name length u16, name, kind, id} |
//! | `c` id index | chunk `index` (u32) of a file, bare; missing chunks and missing ends read as zeros |
//!
//! Integers in keys are big-endian, in values little-endian. Ids are random, the root's is zero. A directory
//! is a tree of nodes with sixteen children each, walked by the nibbles of a hash of the name; a node that
//! grows beyond [`NODE_BYTES`] is split.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Bytes in one chunk of a file.
pub(crate) const CHUNK: usize = 32 << 10;
/// A directory node beyond this size is split.
pub(crate) const NODE_BYTES: usize = 16 << 10;
/// Deepest level of a directory: the hash has no more nibbles.
pub(crate) const MAX_LEVEL: u8 = 8;
/// A node that cannot be split any more may grow to this.
pub(crate) const NODE_BYTES_MAX: usize = 96 << 10;

/// Identity of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) [u8; 16]);

impl FileId {
    pub(crate) const ROOT: FileId = FileId([0; 16]);
}

/// Names a record of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Orphans,
    Inode(FileId),
    Node(FileId, Place),
    Chunk(FileId, u32),
}

/// Where in its directory a node stands: `path` is the first `level` nibbles of the hashes below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) level: u8,
    pub(crate) path: u32,
}

impl Place {
    pub(crate) const TOP: Place = Place { level: 0, path: 0 };

    /// The child that leads to `hash`.
    pub(crate) fn child(self, hash: u32) -> Place {
        let level = self.level + 1;
        Place { level, path: hash >> (32 - 4 * u32::from(level)) }
    }

    /// The first hash behind everything below this node.
    pub(crate) fn end(self) -> Option<u32> {
        if self.level == 0 {
            return None;
        }
        let end = (u64::from(self.path) + 1) << (32 - 4 * u32::from(self.level));
        u32::try_from(end).ok()
    }
}

impl Key {
    /// The key in the application's namespace.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = b"fs1/".to_vec();
        match self {
            Key::Orphans => bytes.push(b'o'),
            Key::Inode(id) => {
                bytes.push(b'i');
                bytes.extend_from_slice(&id.0);
            }
            Key::Node(id, place) => {
                bytes.push(b'd');
                bytes.extend_from_slice(&id.0);
                bytes.push(place.level);
                bytes.extend_from_slice(&place.path.to_be_bytes());
            }
            Key::Chunk(id, index) => {
                bytes.push(b'c');
                bytes.extend_from_slice(&id.0);
                bytes.extend_from_slice(&index.to_be_bytes());
            }
        }
        bytes
    }
}

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// One name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: FileId,
    pub(crate) kind: Kind,
}

/// What is known about a file or directory, beside its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
    pub(crate) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    File { size: u64 },
    Directory { parent: FileId, entries: u32 },
}

impl Inode {
    pub(crate) fn kind(&self) -> Kind {
        match self.body {
            Body::File { .. } => Kind::File,
            Body::Directory { .. } => Kind::Directory,
        }
    }

    pub(crate) fn new(body: Body, now: u64) -> Self {
        Inode { accessed: now, modified: now, changed: now, body }
    }
}

/// A position in a directory's order: by hash, then by name.
pub(crate) type Position = (u32, String);

/// A node of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Leaf(Leaf),
    Split,
}

/// Entries of a directory in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaf {
    entries: BTreeMap<Position, Entry>,
    bytes: usize,
}

impl Leaf {
    fn entry_bytes(name: &str) -> usize {
        name.len() + 19
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, at: &Position) -> Option<Entry> {
        self.entries.get(at).copied()
    }

    pub(crate) fn insert(&mut self, at: Position, entry: Entry) -> Option<Entry> {
        let bytes = Self::entry_bytes(&at.1);
        let old = self.entries.insert(at, entry);
        if old.is_none() {
            self.bytes += bytes;
        }
        old
    }

    pub(crate) fn remove(&mut self, at: &Position) -> Option<Entry> {
        let old = self.entries.remove(at);
        if old.is_some() {
            self.bytes -= Self::entry_bytes(&at.1);
        }
        old
    }

    /// The first entry behind `after`.
    pub(crate) fn next(&self, after: Option<&Position>) -> Option<(&Position, Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((from, Bound::Unbounded)).next().map(|(at, entry)| (at, *entry))
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (Position, Entry)> {
        self.entries.into_iter()
    }
}

/// FNV-1a with a final mix. Part of the format.
pub(crate) fn name_hash(name: &str) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Orphans(Vec<FileId>),
    Inode(Inode),
    Node(Node),
    Chunk(Vec<u8>),
}

/// A record that this code did not write: it was authentic and does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the sealed filesystem has a format that this version does not know")]
pub struct UnknownFormat;

impl Record {
    /// What it takes in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Record::Orphans(ids) => 16 * ids.len(),
            Record::Inode(_) => 64,
            Record::Node(Node::Split) => 0,
            Record::Node(Node::Leaf(leaf)) => 3 * leaf.bytes,
            Record::Chunk(bytes) => bytes.capacity(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Record::Orphans(ids) => {
                let mut out = vec![1];
                ids.iter().for_each(|id| out.extend_from_slice(&id.0));
                out
            }
            Record::Inode(inode) => encode_inode(inode),
            Record::Node(Node::Split) => vec![2],
            Record::Node(Node::Leaf(leaf)) => {
                let mut out = Vec::with_capacity(1 + leaf.bytes);
                out.push(1);
                for ((_, name), entry) in &leaf.entries {
                    // Names are at most 255 bytes long when they are made.
                    out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
                    out.extend_from_slice(name.as_bytes());
                    out.push(kind_byte(entry.kind));
                    out.extend_from_slice(&entry.id.0);
                }
                out
            }
            Record::Chunk(bytes) => bytes.clone(),
        }
    }

    /// Reads the record of `key`.
    pub(crate) fn decode(key: Key, bytes: &[u8]) -> Result<Record, UnknownFormat> {
        let mut reader = Reader(bytes);
        let record = match key {
            Key::Chunk(..) if bytes.len() <= CHUNK => return Ok(Record::Chunk(bytes.to_vec())),
            Key::Chunk(..) => return Err(UnknownFormat),
            Key::Orphans => {
                reader.expect(1)?;
                let mut ids = Vec::with_capacity(reader.0.len() / 16);
                while !reader.0.is_empty() {
                    ids.push(FileId(reader.array()?));
                }
                Record::Orphans(ids)
            }
            Key::Inode(_) => Record::Inode(decode_inode(&mut reader)?),
            Key::Node(..) => match reader.array::<1>()? {
                [2] => Record::Node(Node::Split),
                [1] => {
                    let mut leaf = Leaf::default();
                    while !reader.0.is_empty() {
                        let length = u16::from_le_bytes(reader.array()?);
                        let name = reader.take(usize::from(length))?;
                        let name = std::str::from_utf8(name).map_err(|_| UnknownFormat)?.to_owned();
                        let kind = kind_of(reader.array()?)?;
                        let id = FileId(reader.array()?);
                        leaf.insert((name_hash(&name), name), Entry { id, kind });
                    }
                    Record::Node(Node::Leaf(leaf))
                }
                _ => return Err(UnknownFormat),
            },
        };
        if reader.0.is_empty() { Ok(record) } else { Err(UnknownFormat) }
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
    }
}

fn kind_of(byte: [u8; 1]) -> Result<Kind, UnknownFormat> {
    match byte {
        [1] => Ok(Kind::File),
        [2] => Ok(Kind::Directory),
        _ => Err(UnknownFormat),
    }
}

fn encode_inode(inode: &Inode) -> Vec<u8> {
    let mut out = vec![1, kind_byte(inode.kind())];
    for time in [inode.accessed, inode.modified, inode.changed] {
        out.extend_from_slice(&time.to_le_bytes());
    }
    match inode.body {
        Body::File { size } => out.extend_from_slice(&size.to_le_bytes()),
        Body::Directory { parent, entries } => {
            out.extend_from_slice(&parent.0);
            out.extend_from_slice(&entries.to_le_bytes());
        }
    }
    out
}

fn decode_inode(reader: &mut Reader<'_>) -> Result<Inode, UnknownFormat> {
    reader.expect(1)?;
    let kind = kind_of(reader.array()?)?;
    let accessed = u64::from_le_bytes(reader.array()?);
    let modified = u64::from_le_bytes(reader.array()?);
    let changed = u64::from_le_bytes(reader.array()?);
    let body = match kind {
        Kind::File => Body::File { size: u64::from_le_bytes(reader.array()?) },
        Kind::Directory => {
            Body::Directory { parent: FileId(reader.array()?), entries: u32::from_le_bytes(reader.array()?) }
        }
    };
    Ok(Inode { accessed, modified, changed, body })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], UnknownFormat> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(UnknownFormat)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnknownFormat> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(UnknownFormat)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn expect(&mut self, byte: u8) -> Result<(), UnknownFormat> {
        if self.array()? == [byte] { Ok(()) } else { Err(UnknownFormat) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(names: &[&str]) -> Leaf {
        let mut leaf = Leaf::default();
        for (n, name) in names.iter().enumerate() {
            let id = FileId([u8::try_from(n).unwrap(); 16]);
            leaf.insert((name_hash(name), (*name).to_owned()), Entry { id, kind: Kind::File });
        }
        leaf
    }

    #[test]
    fn records_come_back_as_they_were() {
        let id = FileId([7; 16]);
        let cases = [
            (Key::Orphans, Record::Orphans(vec![id, FileId::ROOT])),
            (Key::Inode(id), Record::Inode(Inode::new(Body::File { size: 1 << 40 }, 5))),
            (Key::Inode(id), Record::Inode(Inode::new(Body::Directory { parent: id, entries: 9 }, 6))),
            (Key::Node(id, Place::TOP), Record::Node(Node::Split)),
            (Key::Node(id, Place::TOP), Record::Node(Node::Leaf(leaf(&["a", "ä", "Ж"])))),
            (Key::Chunk(id, 3), Record::Chunk(vec![1, 2, 3])),
        ];
        for (key, record) in cases {
            let bytes = record.encode();
            assert_eq!(Record::decode(key, &bytes), Ok(record.clone()));
            if !matches!(key, Key::Chunk(..)) {
                // Cut anywhere, it is refused or, between two list items, shorter: never a panic.
                for end in 0..bytes.len() {
                    assert_ne!(Record::decode(key, &bytes[..end]), Ok(record.clone()));
                }
            }
        }
    }

    #[test]
    fn a_leaf_knows_its_encoded_size() {
        let mut leaf = leaf(&["one", "two", "three"]);
        leaf.remove(&(name_hash("two"), "two".to_owned()));
        leaf.insert((name_hash("one"), "one".to_owned()), Entry { id: FileId::ROOT, kind: Kind::Directory });
        let bytes = leaf.bytes();
        assert_eq!(Record::Node(Node::Leaf(leaf)).encode().len(), 1 + bytes);
    }

    #[test]
    fn children_share_out_all_hashes_in_order() {
        let mut place = Place::TOP;
        for _ in 0..MAX_LEVEL {
            place = place.child(0x1234_5678);
        }
        assert_eq!(place, Place { level: 8, path: 0x1234_5678 });
        assert_eq!(place.end(), Some(0x1234_5679));
        assert_eq!(Place::TOP.child(0xffff_ffff).end(), None);
        assert_eq!(Place::TOP.child(0x1fff_ffff).end(), Some(0x2000_0000));
    }
}
