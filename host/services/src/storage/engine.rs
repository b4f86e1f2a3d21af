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

/// Opens what the engine keeps its pages in.
type Opener = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

pub(super) struct Redb {
    path: PathBuf,
    opener: Opener,
    /// `None` after a write failed: redb asks to be reopened then, and the next call does.
    database: RwLock<Option<Database>>,
}

impl Redb {
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let file = path.to_owned();
        Self::new(path, Box::new(move || open_file(&file)))
    }

    fn new(path: &Path, opener: Opener) -> Result<Self, StorageError> {
        let database = opener().map_err(|error| typed(path, error))?;
        Ok(Self { path: path.to_owned(), opener, database: RwLock::new(Some(database)) })
    }

    /// Runs `work` on the open database, which is reopened before if an earlier write failed.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StorageError> {
        loop {
            if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
                return work(database).map_err(|error| self.error(error));
            }
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some((self.opener)().map_err(|error| self.error(error))?);
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

fn open_file(path: &Path) -> Result<Database, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    with_table(Database::builder().set_cache_size(CACHE_BYTES).create_file(file)?)
}

/// The table exists from here on, so that reading an empty store is no special case. Where it exists already
/// nothing is written: a full disk can be opened.
fn with_table(database: Database) -> Result<Database, redb::Error> {
    match database.begin_read()?.open_table(RECORDS) {
        Ok(_) => return Ok(database),
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::{fs, io};

    use boundary_wire::rpc::{self, FailureCode, RECORD_OVERHEAD};
    use proptest::prelude::*;
    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;
    use crate::storage::{STORE_FILE, answer, open};

    fn put(key: u8, len: usize) -> KvOp {
        KvOp::Put { key: [key; 32], value: vec![key; len] }
    }

    #[test]
    fn pages_hold_what_fits_and_at_least_one() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path()).unwrap();
        assert_eq!(engine.scan(None, 1000).unwrap(), Page::default());
        engine.batch(&[put(2, 100), put(1, 100), put(3, 5000)]).unwrap();
        let keys = |page: &Page| page.records.iter().map(|(key, _)| key[0]).collect::<Vec<_>>();
        let page = engine.scan(None, 2 * (100 + RECORD_OVERHEAD)).unwrap();
        assert_eq!((keys(&page), page.more), (vec![1, 2], true));
        let page = engine.scan(Some(&[2; 32]), 1).unwrap();
        assert_eq!((keys(&page), page.more), (vec![3], false));
        assert_eq!(engine.scan(Some(&[3; 32]), 1).unwrap(), Page::default());
        let mut between = [1; 32];
        between[31] = 2;
        assert_eq!(keys(&engine.scan(Some(&between), usize::MAX).unwrap()), [2, 3]);
    }

    #[test]
    fn a_page_of_the_largest_records_fits_into_a_response() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path()).unwrap();
        engine.batch(&(0..8).map(|n| put(n, rpc::MAX_RECORD)).collect::<Vec<_>>()).unwrap();
        let request = rpc::Request::KvScan { after: None, max_bytes: u32::MAX };
        let response = answer(&*engine, &request).unwrap();
        assert!(matches!(&response, rpc::Response::KvPage { records, more: true } if records.len() == 3));
        assert!(response.encode().unwrap().len() <= rpc::MAX_RESPONSE);
    }

    #[test]
    fn a_store_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        let Err(error) = open(dir.path()) else { panic!("opened twice") };
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("in use by another process"));
        drop(first);
        open(dir.path()).unwrap();
    }

    #[test]
    fn what_is_no_store_is_refused_and_left_alone() {
        for content in [b"not a database, and long enough to have a header of one".repeat(200), vec![7]] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(STORE_FILE);
            fs::write(&path, &content).unwrap();
            let Err(error) = open(dir.path()) else { panic!("opened") };
            assert!(matches!(error, StorageError::Corrupted { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_missing_directory_and_a_forbidden_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(open(&dir.path().join("none")), Err(StorageError::Io { .. })));
        let path = dir.path().join(STORE_FILE);
        drop(open(dir.path()).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        // Root may write it all the same.
        match open(dir.path()) {
            Err(error) => assert!(matches!(error, StorageError::ReadOnly { .. }), "{error}"),
            Ok(_) => assert!(rustix::process::geteuid().is_root()),
        }
    }

    #[test]
    fn failures_reach_the_enclave_by_kind() {
        let code = |error: StorageError| match error.to_response() {
            rpc::Response::Failed { code, message } => {
                assert!(message.contains("store"), "{message}");
                code
            }
            other => panic!("{other:?}"),
        };
        let io = |kind| typed(Path::new("store"), redb::Error::Io(std::io::Error::from(kind)));
        assert_eq!(code(io(std::io::ErrorKind::StorageFull)), FailureCode::Full);
        assert_eq!(code(io(std::io::ErrorKind::QuotaExceeded)), FailureCode::Full);
        assert_eq!(code(io(std::io::ErrorKind::ReadOnlyFilesystem)), FailureCode::Io);
        assert_eq!(code(io(std::io::ErrorKind::Other)), FailureCode::Io);
        assert_eq!(
            code(typed(Path::new("store"), redb::Error::DatabaseAlreadyOpen)),
            FailureCode::Unavailable
        );
    }

    /// A disk that has no room behind `end`. As on a real one, the file may have holes, and what lies before
    /// can be overwritten.
    #[derive(Debug)]
    struct Disk {
        file: FileBackend,
        end: Arc<AtomicU64>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> Result<u64, io::Error> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.file.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            if offset + data.len() as u64 > self.end.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.write(offset, data)
        }

        fn close(&self) -> Result<(), io::Error> {
            self.file.close()
        }
    }

    #[test]
    fn a_full_disk_refuses_the_batch_keeps_the_rest_readable_and_recovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(STORE_FILE);
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let (file, disk_end) = (path.clone(), end.clone());
        let opener = move || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file)?;
            let disk = Disk { file: FileBackend::new(file)?, end: disk_end.clone() };
            with_table(Database::builder().create_with_backend(disk)?)
        };
        let engine = Redb::new(&path, Box::new(opener)).unwrap();
        engine.batch(&[put(1, 1000)]).unwrap();
        let large: Vec<_> = (1..40).map(|n| put(n, rpc::MAX_RECORD)).collect();

        end.store(fs::metadata(&path).unwrap().len(), Ordering::Relaxed);
        for _ in 0..2 {
            let refused = engine.batch(&large).unwrap_err();
            assert!(matches!(refused, StorageError::Full { .. }), "{refused}");
            assert_eq!(engine.get(&[1; 32]).unwrap(), Some(vec![1; 1000]), "as it was");
            assert_eq!(engine.get(&[2; 32]).unwrap(), None, "nothing of a refused batch");
        }

        end.store(u64::MAX, Ordering::Relaxed);
        engine.batch(&large).unwrap();
        assert_eq!(engine.get(&[39; 32]).unwrap(), Some(vec![39; rpc::MAX_RECORD]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn it_is_a_map_that_survives_reopening(
            batches in proptest::collection::vec(
                proptest::collection::vec((0..20_u8, proptest::option::of(0..300_usize)), 0..8), 1..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut oracle = BTreeMap::new();
            for batch in batches {
                let engine = open(dir.path()).unwrap();
                let ops: Vec<_> = batch.iter().map(|(key, len)| match len {
                    Some(len) => put(*key, *len),
                    None => KvOp::Delete { key: [*key; 32] },
                }).collect();
                engine.batch(&ops).unwrap();
                for (key, len) in batch {
                    match len {
                        Some(len) => oracle.insert([key; 32], vec![key; len]),
                        None => oracle.remove(&[key; 32]),
                    };
                }
                for key in 0..20 {
                    prop_assert_eq!(engine.get(&[key; 32]).unwrap(), oracle.get(&[key; 32]).cloned());
                }
            }
            let all = open(dir.path()).unwrap().scan(None, usize::MAX).unwrap();
            prop_assert_eq!(all.records, oracle.into_iter().collect::<Vec<_>>());
        }
    }
}
