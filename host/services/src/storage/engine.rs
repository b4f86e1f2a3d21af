//! The engine: redb, one table in one file.

use std::fs::OpenOptions;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadableDatabase, TableDefinition};

use super::{Engine, Key, KvOp, Page, StorageError, page};

const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");

/// Pages kept in memory. The operating system caches the file too.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

pub(super) struct Redb {
    path: PathBuf,
    /// `None` after a write failed: redb asks to be reopened then, and the next call does.
    database: RwLock<Option<Database>>,
}

impl Redb {
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let database = open_database(path, true)?;
        Ok(Self { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    /// Runs `work` on the open database, which is reopened before if an earlier write failed.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StorageError> {
        loop {
            if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
                return work(database).map_err(|error| self.error(error));
            }
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some(open_database(&self.path, false)?);
            }
        }
    }

    fn error(&self, error: redb::Error) -> StorageError {
        typed(&self.path, error)
    }
}

impl Engine for Redb {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StorageError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, after: Option<&Key>, max_bytes: usize) -> Result<Page, StorageError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let records = table.range::<&Key>((from, Bound::Unbounded))?.map(|record| {
                let (key, value) = record?;
                Ok::<_, redb::Error>((*key.value(), value.value().to_vec()))
            });
            page(records, max_bytes)
        })
    }

    fn batch(&self, ops: &[KvOp]) -> Result<(), StorageError> {
        let written = self.with(|database| write(database, ops));
        if written.is_err() {
            // What the engine remembers may not be what is on disk: start again from the disk.
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        written
    }
}

fn write(database: &Database, ops: &[KvOp]) -> Result<(), redb::Error> {
    // The default durability is Immediate: on disk when `commit` returns.
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for op in ops {
            match op {
                KvOp::Put { key, value } => drop(table.insert(key, value.as_slice())?),
                KvOp::Delete { key } => drop(table.remove(key)?),
            }
        }
    }
    Ok(transaction.commit()?)
}

fn open_database(path: &Path, create: bool) -> Result<Database, StorageError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
        .map_err(|source| StorageError::from_io(path, source))?;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(|error| typed(path, error.into()))?;
    // The table exists from here on, so that reading an empty store is no special case.
    let transaction = database.begin_write().map_err(|error| typed(path, error.into()))?;
    transaction.open_table(RECORDS).map_err(|error| typed(path, error.into()))?;
    transaction.commit().map_err(|error| typed(path, error.into()))?;
    Ok(database)
}

fn typed(path: &Path, error: redb::Error) -> StorageError {
    let owned = path.to_owned();
    match error {
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::Corrupted { path: owned, what: source.to_string() }
        }
        redb::Error::Io(source) => StorageError::from_io(path, source),
        redb::Error::DatabaseAlreadyOpen => StorageError::Locked { path: owned },
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }) => {
            StorageError::Corrupted { path: owned, what: error.to_string() }
        }
        error => StorageError::Io { path: owned, what: error.to_string() },
    }
}
