//! The host's store as the host sees it: keys and ciphertext.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use host_services::storage::{Engine, Key, KvOp, open};

/// All records by key.
pub(crate) type Records = BTreeMap<Key, Vec<u8>>;

/// Every record in the store. No host may be running.
pub(crate) fn records(data_dir: &Path) -> Result<Records> {
    let engine = engine(data_dir)?;
    let mut all = Records::new();
    let mut after = None;
    loop {
        let page = engine.scan(after.as_ref(), 1 << 20)?;
        after = page.records.last().map(|(key, _)| *key);
        all.extend(page.records);
        if !page.more || after.is_none() {
            return Ok(all);
        }
    }
}

/// Writes one record as a dishonest host would.
pub(crate) fn plant(data_dir: &Path, key: Key, value: Vec<u8>) -> Result<()> {
    Ok(engine(data_dir)?.batch(&[KvOp::Put { key, value }])?)
}

/// Takes one record away.
pub(crate) fn remove(data_dir: &Path, key: Key) -> Result<()> {
    Ok(engine(data_dir)?.batch(&[KvOp::Delete { key }])?)
}

/// True if any file under the data directory contains these bytes.
pub(crate) fn contains(folder: &Path, bytes: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            contains(&path, bytes)?
        } else {
            std::fs::read(&path)?.windows(bytes.len()).any(|window| window == bytes)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn engine(data_dir: &Path) -> Result<Arc<dyn Engine>> {
    open(data_dir).with_context(|| format!("cannot open the store in {}", data_dir.display()))
}
