//! fjall behind the host's trait, with the same promises: atomic, durable when acknowledged.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::ops::Bound;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use host_services::storage::{Engine, Key, KvOp, Page, StorageError};

pub(crate) struct Fjall {
    database: Database,
    records: Keyspace,
}

impl Fjall {
    pub(crate) fn open(path: &Path) -> fjall::Result<Self> {
        let database = Database::builder(path).cache_size(64 * 1024 * 1024).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self { database, records })
    }
}

fn error(error: fjall::Error) -> StorageError {
    StorageError::Io { path: "fjall".into(), what: error.to_string() }
}

impl Engine for Fjall {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.records.get(key).map_err(error)?.map(|value| value.to_vec()))
    }

    fn scan(&self, after: Option<&Key>, max_bytes: usize) -> Result<Page, StorageError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_slice()));
        let mut page = Page::default();
        let mut bytes = 0;
        for record in self.records.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, value) = record.into_inner().map_err(error)?;
            bytes += 37 + value.len();
            if bytes > max_bytes && !page.records.is_empty() {
                page.more = true;
                break;
            }
            page.records.push((key.as_ref().try_into().expect("our keys"), value.to_vec()));
        }
        Ok(page)
    }

    fn batch(&self, ops: &[KvOp]) -> Result<(), StorageError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for op in ops {
            match op {
                KvOp::Put { key, value } => batch.insert(&self.records, key.as_slice(), value.as_slice()),
                KvOp::Delete { key } => batch.remove(&self.records, key.as_slice()),
            }
        }
        batch.commit().map_err(error)
    }
}
