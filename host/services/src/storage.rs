//! Where the enclave's records lie: an embedded transactional engine behind a narrow trait.
//!
//! The host sees keyed hashes and ciphertext. It keeps them in the order of their keys, and a batch is on
//! disk, whole, before it is acknowledged. Which engine, and why: `docs/decisions/0001-storage-engine.md`.

mod engine;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boundary_wire::rpc::{self, FailureCode, RECORD_OVERHEAD};
pub use boundary_wire::rpc::{Key, KvOp};

/// The file that holds the records, in the data directory.
pub const STORE_FILE: &str = "store.redb";

/// Records in the ascending order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Key and value.
    pub records: Vec<(Key, Vec<u8>)>,
    /// Whether there are records behind these.
    pub more: bool,
}

/// A transactional key-value engine. Every method may be called from any thread.
pub trait Engine: Send + Sync {
    /// One record, of the last batch that was acknowledged or of a later one.
    ///
    /// # Errors
    /// [`StorageError`].
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StorageError>;

    /// The records behind `after` (from the first one if `None`), as many as fit into `max_bytes` of an
    /// encoded page, but at least one if there is one.
    ///
    /// # Errors
    /// [`StorageError`].
    fn scan(&self, after: Option<&Key>, max_bytes: usize) -> Result<Page, StorageError>;

    /// Applies all changes in order, or none. They are durable when this returns `Ok`. After an error they
    /// are visible or not, but never in part.
    ///
    /// # Errors
    /// [`StorageError`].
    fn batch(&self, ops: &[KvOp]) -> Result<(), StorageError>;
}

/// Opens the records in `dir`, which must exist; makes an empty store if there is none.
///
/// # Errors
/// [`StorageError`], with the path and how to mend it.
pub fn open(dir: &Path) -> Result<Arc<dyn Engine>, StorageError> {
    Ok(Arc::new(engine::Redb::open(&dir.join(STORE_FILE))?))
}

/// Why storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has the store open.
    #[error("{path} is in use by another process: stop it, or choose another data directory")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// No room is left.
    #[error("no room for {path}: free some space; nothing that was acknowledged is lost ({source})")]
    Full {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store cannot be written here.
    #[error(
        "{path} cannot be written: mount its file system read-write and give this user access ({source})"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not a store, or is damaged.
    #[error("{path} is damaged or no store of this version: restore it from a backup ({what})")]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// What the engine found.
        what: String,
    },
    /// Reading or writing failed otherwise.
    #[error("{path}: {what}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the engine or the operating system said.
        what: String,
    },
}

impl StorageError {
    /// The error as the enclave is told.
    pub fn to_response(&self) -> rpc::Response {
        let code = match self {
            Self::Full { .. } => FailureCode::Full,
            Self::Locked { .. } => FailureCode::Unavailable,
            Self::ReadOnly { .. } | Self::Corrupted { .. } | Self::Io { .. } => FailureCode::Io,
        };
        rpc::Response::failed(code, &self.to_string())
    }

    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { path, what: source.to_string() },
        }
    }
}

/// Answers the three storage requests; `None` for any other request.
pub fn answer(engine: &dyn Engine, request: &rpc::Request) -> Option<rpc::Response> {
    let answered = match request {
        rpc::Request::KvGet { key } => engine.get(key).map(rpc::Response::KvValue),
        rpc::Request::KvScan { after, max_bytes } => {
            let most = usize::try_from(*max_bytes).unwrap_or(usize::MAX).min(PAGE_ROOM);
            engine
                .scan(after.as_ref(), most)
                .map(|page| rpc::Response::KvPage { records: page.records, more: page.more })
        }
        rpc::Request::KvBatch { ops } => engine.batch(ops).map(|()| rpc::Response::Done),
        _ => return None,
    };
    Some(answered.unwrap_or_else(|error| error.to_response()))
}

/// What records may take of a response, with room for what the page itself costs.
const PAGE_ROOM: usize = rpc::MAX_RESPONSE - 64;

/// Collects records up to `max_bytes`; the first one is always taken.
fn page<E>(records: impl Iterator<Item = Result<(Key, Vec<u8>), E>>, max_bytes: usize) -> Result<Page, E> {
    let mut page = Page::default();
    let mut bytes = 0;
    for record in records {
        let (key, value) = record?;
        bytes += RECORD_OVERHEAD + value.len();
        if bytes > max_bytes && !page.records.is_empty() {
            page.more = true;
            break;
        }
        page.records.push((key, value));
    }
    Ok(page)
}
