//! Contents of files: reading, writing and resizing in chunks. Operations for [`Cache::run`].
//!
//! [`Cache::run`]: super::cache::Cache::run

use wasmtime_wasi_io::bytes::Bytes;

use super::ErrorCode;
use super::cache::{Stop, Transaction};
use super::record::{Body, CHUNK, FileId, Inode, Key, Record};

/// Files end here.
pub(crate) const MAX_FILE: u64 = 4 << 30;
/// One operation moves at most this.
pub(crate) const MAX_TRANSFER: usize = 64 << 10;
/// Chunks that one operation erases, or finds missing.
const ERASED_CHUNKS: u64 = 1024;
/// Files that are open and have no name any more.
const MAX_ORPHANS: usize = 4096;

/// Where to write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Offset(u64),
    End,
}

fn file(tx: &mut Transaction<'_>, id: FileId) -> Result<(Inode, u64), Stop> {
    let inode = tx.inode(id)?;
    match inode.body {
        Body::File { size } => Ok((inode, size)),
        Body::Directory { .. } => Err(ErrorCode::IsDirectory.into()),
    }
}

fn index(offset: u64) -> (u32, usize) {
    let chunk = CHUNK as u64;
    // Offsets end at MAX_FILE, so the quotient always fits.
    (u32::try_from(offset / chunk).unwrap_or(u32::MAX), (offset % chunk) as usize)
}

/// At most `length` bytes from `offset` on, and whether the file ends behind them.
pub(crate) fn read(
    tx: &mut Transaction<'_>,
    id: FileId,
    offset: u64,
    length: u64,
) -> Result<(Vec<u8>, bool), Stop> {
    let (_, size) = file(tx, id)?;
    let left = size.saturating_sub(offset);
    let length = length.min(left).min(MAX_TRANSFER as u64) as usize;
    let mut out = vec![0; length];
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let (chunk, at) = index(offset + done as u64);
        let wanted = rest.len().min(CHUNK - at);
        if let Some(Record::Chunk(bytes)) = tx.get(Key::Chunk(id, chunk))? {
            let bytes = bytes.get(at..).unwrap_or_default();
            for (to, from) in rest.iter_mut().take(wanted).zip(bytes) {
                *to = *from;
            }
        }
        done += wanted;
    }
    Ok((out, length as u64 == left))
}

/// Writes `bytes` and returns the offset behind them.
pub(crate) fn write(tx: &mut Transaction<'_>, id: FileId, at: At, bytes: &Bytes) -> Result<u64, Stop> {
    let (mut inode, size) = file(tx, id)?;
    let start = match at {
        At::Offset(offset) => offset,
        At::End => size,
    };
    if bytes.is_empty() {
        return Ok(start);
    }
    let end = start.checked_add(bytes.len() as u64).filter(|end| *end <= MAX_FILE);
    let Some(end) = end else { return Err(ErrorCode::FileTooLarge.into()) };

    let mut offset = start;
    while offset < end {
        let (chunk, at) = index(offset);
        let length = (end - offset).min((CHUNK - at) as u64) as usize;
        let key = Key::Chunk(id, chunk);
        let replaces_all = at == 0 && offset + length as u64 >= size.min(offset - at as u64 + CHUNK as u64);
        if !replaces_all {
            tx.get(key)?;
        }
        let from = (offset - start) as usize;
        tx.write_chunk(key, at, bytes.slice(from..from + length));
        offset += length as u64;
    }
    inode.modified = tx.now();
    inode.changed = tx.now();
    inode.body = Body::File { size: size.max(end) };
    tx.put_inode(id, inode);
    Ok(end)
}

/// Cuts the file, or lets it grow by zeros. What is too much to cut at once is cut by [`cut_some`] first.
pub(crate) fn resize(tx: &mut Transaction<'_>, id: FileId, to: u64) -> Result<(), Stop> {
    let (mut inode, size) = file(tx, id)?;
    if to > MAX_FILE {
        return Err(ErrorCode::FileTooLarge.into());
    }
    if to < size {
        if size.div_ceil(CHUNK as u64) - to.div_ceil(CHUNK as u64) > ERASED_CHUNKS {
            return Err(Stop::TooMuchToCut { id, to });
        }
        drop_chunks(tx, id, to.div_ceil(CHUNK as u64), size);
        let (last, length) = index(to);
        if length > 0 {
            let key = Key::Chunk(id, last);
            if tx.get(key)?.is_some() {
                tx.cut_chunk(key, length);
            }
        }
    }
    inode.modified = tx.now();
    inode.changed = tx.now();
    inode.body = Body::File { size: to };
    tx.put_inode(id, inode);
    Ok(())
}

/// Cuts a part of what is behind `to` off the end of a file.
pub(crate) fn cut_some(tx: &mut Transaction<'_>, id: FileId, to: u64) -> Result<(), Stop> {
    let (mut inode, size) = file(tx, id)?;
    let chunks = size.div_ceil(CHUNK as u64);
    let from = chunks.saturating_sub(ERASED_CHUNKS).max(to.div_ceil(CHUNK as u64));
    if from < chunks {
        drop_chunks(tx, id, from, size);
        inode.modified = tx.now();
        inode.changed = tx.now();
        inode.body = Body::File { size: from * CHUNK as u64 };
        tx.put_inode(id, inode);
    }
    Ok(())
}

/// Deletes the chunks from `from` on that there are: of a sparse file few, whatever its size.
fn drop_chunks(tx: &mut Transaction<'_>, id: FileId, from: u64, size: u64) {
    for chunk in from..size.div_ceil(CHUNK as u64) {
        tx.delete_existing(Key::Chunk(id, u32::try_from(chunk).unwrap_or(u32::MAX)));
    }
}

/// The file has lost its last name: its records go now, or from the last handle's closing on part by part.
pub(crate) fn discard(tx: &mut Transaction<'_>, id: FileId) -> Result<(), Stop> {
    let is_open = tx.is_open(id);
    if !is_open {
        let (_, size) = file(tx, id)?;
        if size.div_ceil(CHUNK as u64) <= ERASED_CHUNKS {
            drop_chunks(tx, id, 0, size);
            tx.delete(Key::Inode(id));
            return Ok(());
        }
        tx.add_garbage(id)?;
    }
    let mut orphans = orphans(tx)?;
    if is_open && orphans.len() >= MAX_ORPHANS {
        return Err(ErrorCode::Busy.into());
    }
    orphans.push(id);
    tx.put(Key::Orphans, Record::Orphans(orphans));
    Ok(())
}

/// How many names a file or directory has: none only while somebody still has it open.
pub(crate) fn links(tx: &mut Transaction<'_>, id: FileId) -> Result<u64, Stop> {
    Ok(match tx.get(Key::Orphans)? {
        Some(Record::Orphans(ids)) if ids.contains(&id) => 0,
        _ => 1,
    })
}

/// Files without a name whose records are not all erased yet.
pub(crate) fn orphans(tx: &mut Transaction<'_>) -> Result<Vec<FileId>, Stop> {
    match tx.get(Key::Orphans)? {
        Some(Record::Orphans(ids)) => Ok(ids.clone()),
        _ => Ok(Vec::new()),
    }
}

/// Erases the end of a file that has neither a name nor an open handle, or the file when no more is left.
pub(crate) fn reclaim(tx: &mut Transaction<'_>) -> Result<(), Stop> {
    let Some(id) = tx.next_garbage() else { return Ok(()) };
    if let Some(Record::Inode(inode)) = tx.get(Key::Inode(id))?
        && let Body::File { size } = inode.body
    {
        let mut inode = *inode;
        let from = size.div_ceil(CHUNK as u64).saturating_sub(ERASED_CHUNKS);
        drop_chunks(tx, id, from, size);
        if from > 0 {
            inode.body = Body::File { size: from * CHUNK as u64 };
            tx.put_inode(id, inode);
            return Ok(());
        }
        tx.delete(Key::Inode(id));
    }
    let mut orphans = orphans(tx)?;
    orphans.retain(|orphan| *orphan != id);
    if orphans.is_empty() {
        tx.delete(Key::Orphans);
    } else {
        tx.put(Key::Orphans, Record::Orphans(orphans));
    }
    tx.garbage_is_erased();
    Ok(())
}
