//! Names: paths, lookup and every change of a directory. Operations for [`Cache::run`].
//!
//! [`Cache::run`]: super::cache::Cache::run

use super::ErrorCode;
use super::cache::{Stop, Transaction};
use super::chunks;
use super::record::{
    Body, Entry, FileId, Inode, Key, Kind, Leaf, MAX_LEVEL, NODE_BYTES, NODE_BYTES_MAX, Node, Place,
    Position, Record, name_hash,
};

/// Longest path, in bytes.
pub(crate) const MAX_PATH: usize = 4096;
/// Longest name, in bytes.
const MAX_NAME: usize = 255;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The path ends in `.` or `..`: a directory on the way, reached without its name.
    Directory(FileId),
    /// A name in a directory, which may be free.
    Name { parent: FileId, name: String, entry: Option<Entry>, wants_directory: bool },
}

/// Follows `path` from the directory `base`, never above it.
pub(crate) fn resolve(tx: &mut Transaction<'_>, base: FileId, path: &str) -> Result<Target, Stop> {
    if path.is_empty() {
        return Err(ErrorCode::NoEntry.into());
    }
    if path.len() > MAX_PATH {
        return Err(ErrorCode::NameTooLong.into());
    }
    if path.contains('\0') {
        return Err(ErrorCode::Invalid.into());
    }
    if path.starts_with('/') {
        return Err(ErrorCode::NotPermitted.into());
    }
    let (path, wants_directory) = match path.strip_suffix('/') {
        Some(path) => (path.trim_end_matches('/'), true),
        None => (path, false),
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    let mut above = Vec::new();
    let mut here = base;
    while let Some(part) = parts.next() {
        match part {
            "." => {}
            ".." => here = above.pop().ok_or(Stop::Refused(ErrorCode::NotPermitted))?,
            name => {
                let entry = lookup(tx, here, name)?;
                if parts.peek().is_none() {
                    return Ok(Target::Name { parent: here, name: name.to_owned(), entry, wants_directory });
                }
                let entry = entry.ok_or(Stop::Refused(ErrorCode::NoEntry))?;
                if entry.kind != Kind::Directory {
                    return Err(ErrorCode::NotDirectory.into());
                }
                above.push(here);
                here = entry.id;
            }
        }
    }
    directory(tx, here)?;
    Ok(Target::Directory(here))
}

/// What `path` leads to, which must exist.
pub(crate) fn existing(tx: &mut Transaction<'_>, base: FileId, path: &str) -> Result<Entry, Stop> {
    match resolve(tx, base, path)? {
        Target::Directory(id) => Ok(Entry { id, kind: Kind::Directory }),
        Target::Name { entry: None, .. } => Err(ErrorCode::NoEntry.into()),
        Target::Name { entry: Some(entry), wants_directory, .. } => {
            if wants_directory && entry.kind != Kind::Directory {
                return Err(ErrorCode::NotDirectory.into());
            }
            Ok(entry)
        }
    }
}

/// How to open a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Open {
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) directory: bool,
    pub(crate) write: bool,
}

/// Opens what `path` leads to, or makes a file with the id `new` there. An open file is kept until
/// [`Cache::release`](super::cache::Cache::release).
pub(crate) fn open(
    tx: &mut Transaction<'_>,
    base: FileId,
    path: &str,
    how: Open,
    new: FileId,
) -> Result<Entry, Stop> {
    if how.directory && (how.create || how.exclusive || how.truncate) {
        return Err(ErrorCode::Invalid.into());
    }
    let entry = match resolve(tx, base, path)? {
        // What ends in a slash is a directory, there or not, and none is made here.
        Target::Name { wants_directory: true, .. } if how.create => {
            return Err(ErrorCode::IsDirectory.into());
        }
        Target::Directory(id) => Some(Entry { id, kind: Kind::Directory }),
        Target::Name { entry: Some(entry), wants_directory, .. } => {
            if wants_directory && entry.kind != Kind::Directory {
                return Err(ErrorCode::NotDirectory.into());
            }
            Some(entry)
        }
        Target::Name { parent, name, entry: None, .. } => {
            if !how.create {
                return Err(ErrorCode::NoEntry.into());
            }
            let entry = Entry { id: new, kind: Kind::File };
            insert(tx, parent, &name, entry)?;
            tx.put_inode(new, Inode::new(Body::File { size: 0 }, tx.now()));
            tx.retain(new);
            return Ok(entry);
        }
    };
    let entry = entry.ok_or(Stop::Refused(ErrorCode::NoEntry))?;
    if how.create && how.exclusive {
        return Err(ErrorCode::Exist.into());
    }
    match entry.kind {
        Kind::Directory if how.write || how.create || how.truncate => Err(ErrorCode::IsDirectory.into()),
        Kind::Directory => Ok(entry),
        Kind::File if how.directory => Err(ErrorCode::NotDirectory.into()),
        Kind::File => {
            if how.truncate {
                chunks::resize(tx, entry.id, 0)?;
            }
            tx.retain(entry.id);
            Ok(entry)
        }
    }
}

/// Makes an empty directory with the id `new`.
pub(crate) fn make_directory(
    tx: &mut Transaction<'_>,
    base: FileId,
    path: &str,
    new: FileId,
) -> Result<(), Stop> {
    match resolve(tx, base, path)? {
        Target::Name { parent, name, entry: None, .. } => {
            insert(tx, parent, &name, Entry { id: new, kind: Kind::Directory })?;
            tx.put_inode(new, Inode::new(Body::Directory { parent, entries: 0 }, tx.now()));
            Ok(())
        }
        _ => Err(ErrorCode::Exist.into()),
    }
}

/// Takes a file's name away.
pub(crate) fn unlink(tx: &mut Transaction<'_>, base: FileId, path: &str) -> Result<(), Stop> {
    match resolve(tx, base, path)? {
        Target::Directory(_) => Err(ErrorCode::IsDirectory.into()),
        Target::Name { entry: None, .. } => Err(ErrorCode::NoEntry.into()),
        Target::Name { parent, name, entry: Some(entry), wants_directory } => match entry.kind {
            Kind::Directory => Err(ErrorCode::IsDirectory.into()),
            Kind::File if wants_directory => Err(ErrorCode::NotDirectory.into()),
            Kind::File => {
                remove(tx, parent, &name)?;
                chunks::discard(tx, entry.id)
            }
        },
    }
}

/// Removes an empty directory.
pub(crate) fn remove_directory(tx: &mut Transaction<'_>, base: FileId, path: &str) -> Result<(), Stop> {
    match resolve(tx, base, path)? {
        Target::Directory(_) => Err(ErrorCode::Invalid.into()),
        Target::Name { entry: None, .. } => Err(ErrorCode::NoEntry.into()),
        Target::Name { parent, name, entry: Some(entry), .. } => {
            if entry.kind != Kind::Directory {
                return Err(ErrorCode::NotDirectory.into());
            }
            remove(tx, parent, &name)?;
            erase_directory(tx, entry.id)
        }
    }
}

/// Gives `old` the name `new`. A file replaces a file, a directory an empty directory.
pub(crate) fn rename(
    tx: &mut Transaction<'_>,
    old_base: FileId,
    old: &str,
    new_base: FileId,
    new: &str,
) -> Result<(), Stop> {
    // Both ways are walked before anything is said of what stands at their ends.
    let (from, to) = (resolve(tx, old_base, old)?, resolve(tx, new_base, new)?);
    let (
        Target::Name { parent: old_parent, name: old_name, entry, wants_directory },
        Target::Name { parent, name, entry: replaced, wants_directory: new_wants_directory },
    ) = (from, to)
    else {
        return Err(ErrorCode::Busy.into());
    };
    let moved = entry.ok_or(Stop::Refused(ErrorCode::NoEntry))?;
    if moved.kind == Kind::File && (wants_directory || new_wants_directory) {
        return Err(ErrorCode::NotDirectory.into());
    }
    if replaced.is_some_and(|replaced| replaced.id == moved.id) {
        return Ok(());
    }
    if moved.kind == Kind::Directory && is_within(tx, parent, moved.id)? {
        return Err(ErrorCode::Invalid.into());
    }
    if let Some(Entry { id, kind: Kind::Directory }) = replaced
        && is_within(tx, old_parent, id)?
    {
        return Err(ErrorCode::NotEmpty.into());
    }
    match (moved.kind, replaced) {
        (_, None) => {}
        (Kind::File, Some(Entry { kind: Kind::Directory, .. })) => return Err(ErrorCode::IsDirectory.into()),
        (Kind::Directory, Some(Entry { kind: Kind::File, .. })) => {
            return Err(ErrorCode::NotDirectory.into());
        }
        (Kind::File, Some(file)) => {
            remove(tx, parent, &name)?;
            chunks::discard(tx, file.id)?;
        }
        (Kind::Directory, Some(empty)) => {
            remove(tx, parent, &name)?;
            erase_directory(tx, empty.id)?;
        }
    }
    remove(tx, old_parent, &old_name)?;
    insert(tx, parent, &name, moved)?;
    let mut inode = tx.inode(moved.id)?;
    inode.changed = tx.now();
    if let Body::Directory { entries, .. } = inode.body {
        inode.body = Body::Directory { parent, entries };
    }
    tx.put_inode(moved.id, inode);
    Ok(())
}

/// The entry behind `after` in the directory's order.
pub(crate) fn next_entry(
    tx: &mut Transaction<'_>,
    id: FileId,
    after: Option<&Position>,
) -> Result<Option<(Position, Entry)>, Stop> {
    directory(tx, id)?;
    let mut from = after.map_or(0, |(hash, _)| *hash);
    loop {
        let place = leaf_place(tx, id, from)?;
        if let Some(Record::Node(Node::Leaf(leaf))) = tx.get(Key::Node(id, place))?
            && let Some((at, entry)) = leaf.next(after)
        {
            return Ok(Some((at.clone(), entry)));
        }
        match place.end() {
            Some(end) => from = end,
            None => return Ok(None),
        }
    }
}

fn directory(tx: &mut Transaction<'_>, id: FileId) -> Result<(Inode, FileId, u32), Stop> {
    let inode = tx.inode(id)?;
    match inode.body {
        Body::Directory { parent, entries } => Ok((inode, parent, entries)),
        Body::File { .. } => Err(ErrorCode::NotDirectory.into()),
    }
}

/// Whether `id` is `ancestor` or lies somewhere below it.
fn is_within(tx: &mut Transaction<'_>, mut id: FileId, ancestor: FileId) -> Result<bool, Stop> {
    loop {
        if id == ancestor {
            return Ok(true);
        }
        if id == FileId::ROOT {
            return Ok(false);
        }
        (_, id, _) = directory(tx, id)?;
    }
}

fn lookup(tx: &mut Transaction<'_>, id: FileId, name: &str) -> Result<Option<Entry>, Stop> {
    if name.len() > MAX_NAME {
        return Err(ErrorCode::NameTooLong.into());
    }
    directory(tx, id)?;
    let at = (name_hash(name), name.to_owned());
    let place = leaf_place(tx, id, at.0)?;
    match tx.get(Key::Node(id, place))? {
        Some(Record::Node(Node::Leaf(leaf))) => Ok(leaf.get(&at)),
        _ => Ok(None),
    }
}

/// Where the leaf stands, or would stand, that holds names of this hash.
fn leaf_place(tx: &mut Transaction<'_>, id: FileId, hash: u32) -> Result<Place, Stop> {
    let mut place = Place::TOP;
    while let Some(Record::Node(Node::Split)) = tx.get(Key::Node(id, place))? {
        if place.level >= MAX_LEVEL {
            break;
        }
        place = place.child(hash);
    }
    Ok(place)
}

fn leaf(tx: &mut Transaction<'_>, id: FileId, place: Place) -> Result<Leaf, Stop> {
    match tx.get(Key::Node(id, place))? {
        Some(Record::Node(Node::Leaf(leaf))) => Ok(leaf.clone()),
        _ => Ok(Leaf::default()),
    }
}

/// Adds a name that is free.
fn insert(tx: &mut Transaction<'_>, id: FileId, name: &str, entry: Entry) -> Result<(), Stop> {
    let (mut inode, parent, entries) = directory(tx, id)?;
    let hash = name_hash(name);
    let place = leaf_place(tx, id, hash)?;
    let mut leaf = leaf(tx, id, place)?;
    leaf.insert((hash, name.to_owned()), entry);
    if leaf.bytes() > NODE_BYTES_MAX {
        return Err(ErrorCode::InsufficientSpace.into());
    }
    put_leaf(tx, id, place, leaf);
    inode.modified = tx.now();
    inode.changed = tx.now();
    inode.body = Body::Directory { parent, entries: entries.saturating_add(1) };
    tx.put_inode(id, inode);
    Ok(())
}

/// Stores a leaf, split as often as it is too large.
fn put_leaf(tx: &mut Transaction<'_>, id: FileId, place: Place, leaf: Leaf) {
    if leaf.bytes() <= NODE_BYTES || place.level >= MAX_LEVEL {
        tx.put(Key::Node(id, place), Record::Node(Node::Leaf(leaf)));
        return;
    }
    let mut children: std::collections::BTreeMap<Place, Leaf> = std::collections::BTreeMap::new();
    for (at, entry) in leaf.into_entries() {
        children.entry(place.child(at.0)).or_default().insert(at, entry);
    }
    tx.put(Key::Node(id, place), Record::Node(Node::Split));
    for (child, leaf) in children {
        put_leaf(tx, id, child, leaf);
    }
}

/// Removes a name that is there.
fn remove(tx: &mut Transaction<'_>, id: FileId, name: &str) -> Result<(), Stop> {
    let (mut inode, parent, entries) = directory(tx, id)?;
    let at = (name_hash(name), name.to_owned());
    let place = leaf_place(tx, id, at.0)?;
    let mut leaf = leaf(tx, id, place)?;
    leaf.remove(&at);
    if leaf.is_empty() {
        tx.delete(Key::Node(id, place));
    } else {
        tx.put(Key::Node(id, place), Record::Node(Node::Leaf(leaf)));
    }
    inode.modified = tx.now();
    inode.changed = tx.now();
    inode.body = Body::Directory { parent, entries: entries.saturating_sub(1) };
    tx.put_inode(id, inode);
    Ok(())
}

/// Erases the records of a directory that has no entries.
fn erase_directory(tx: &mut Transaction<'_>, id: FileId) -> Result<(), Stop> {
    let (_, _, entries) = directory(tx, id)?;
    if entries > 0 {
        return Err(ErrorCode::NotEmpty.into());
    }
    let mut places = vec![Place::TOP];
    while let Some(place) = places.pop() {
        match tx.get(Key::Node(id, place))? {
            Some(Record::Node(Node::Split)) if place.level < MAX_LEVEL => {
                let shift = 32 - 4 * (u32::from(place.level) + 1);
                places.extend((0..16).map(|nibble| place.child((place.path << 4 | nibble) << shift)));
                tx.delete(Key::Node(id, place));
            }
            Some(_) => tx.delete(Key::Node(id, place)),
            None => {}
        }
    }
    tx.delete(Key::Inode(id));
    Ok(())
}
