//! Reading: values, and pages of keys. Nothing is kept in memory; what is not in the store's table does not exist, so
//! only what there is costs a question to the host.

use futures_lite::future::yield_now;

use super::error::{KvError, UnknownFormat};
use super::index::{Leaf, Splits, leaf_place};
use super::record::{Key, decode_value};
use super::records::Records;

/// Most keys of a page.
pub(crate) const PAGE_KEYS: usize = 1000;
/// A page ends after this many bytes of keys.
const PAGE_BYTES: usize = 64 << 10;
/// A page ends after this many leaves, however few keys they hold.
const PAGE_LEAVES: usize = 256;

/// A value, and the version of its first record. `admit` is told of all bytes of the value before they are read.
pub(crate) async fn value(
    records: &dyn Records,
    bucket: &str,
    key: &str,
    mut admit: impl FnMut(usize) -> Result<(), KvError>,
) -> Result<Option<(u64, Vec<u8>)>, KvError> {
    let name = Key::Value(bucket, key).to_bytes();
    let mut admitted = 0;
    'anew: loop {
        let Some(head) = records.get(&name).await? else { return Ok(None) };
        let (length, first) = decode_value(&head.value)?;
        // Once, also where the value is replaced while it is read.
        admit(length.saturating_sub(admitted))?;
        admitted = admitted.max(length);
        let mut value = Vec::with_capacity(length);
        value.extend_from_slice(first);
        let mut n = 0_u8;
        while value.len() < length {
            n += 1;
            match records.get(&Key::Piece(n, bucket, key).to_bytes()).await? {
                // All records of a commit have its version: this piece is of this value.
                Some(piece) if piece.version == head.version && !piece.value.is_empty() => {
                    value.extend_from_slice(&piece.value);
                }
                _ if records.version(&name)? == Some(head.version) => return Err(UnknownFormat.into()),
                // Replaced while it was read.
                _ => {
                    yield_now().await;
                    continue 'anew;
                }
            }
        }
        if value.len() > length {
            return Err(UnknownFormat.into());
        }
        return Ok(Some((head.version, value)));
    }
}

/// Keys from `from` on in the order of their hashes, and where the next page begins.
pub(crate) async fn page(
    records: &dyn Records,
    bucket: &str,
    from: u64,
) -> Result<(Vec<String>, Option<u64>), KvError> {
    let (mut keys, mut bytes, mut from) = (Vec::new(), 0, from);
    for _ in 0..PAGE_LEAVES {
        let (end, leaf) = leaf_at(records, bucket, from).await?;
        let mut last = None;
        for (hash, key) in leaf.entries().iter().filter(|(hash, _)| *hash >= from) {
            // Between two hashes: a cursor is one.
            if (keys.len() >= PAGE_KEYS || bytes >= PAGE_BYTES) && last != Some(hash) {
                return Ok((keys, Some(*hash)));
            }
            bytes += key.len();
            keys.push(key.clone());
            last = Some(hash);
        }
        match end {
            Some(end) => from = end,
            None => return Ok((keys, None)),
        }
    }
    Ok((keys, Some(from)))
}

/// The keys whose hashes begin like this one, and the first hash behind them.
async fn leaf_at(records: &dyn Records, bucket: &str, hash: u64) -> Result<(Option<u64>, Leaf), KvError> {
    loop {
        let place = leaf_place(records, bucket, hash)?;
        let found = records.get(&Key::Leaf(bucket, place).to_bytes()).await?;
        match found {
            Some(leaf) => return Ok((place.end(), Leaf::decode(&leaf.value)?)),
            // It was split between the two questions: its keys are further down.
            None if records.is_split(bucket, place)? => {
                yield_now().await;
            }
            None => return Ok((place.end(), Leaf::default())),
        }
    }
}
