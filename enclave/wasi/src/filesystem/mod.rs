//! `wasi:filesystem@0.2` over the sealed store. The format stands in `record`, the rules of sharing and
//! durability in `cache`.
//!
//! What a user can rely on:
//! - All calls of an application see one filesystem, at once. Every operation is atomic towards others
//!   (a stream's write in parts of at most 64 KiB, a cut in parts of at most 32 MiB).
//! - `sync` and `sync-data` return when everything written so far is durable. A call that succeeds has its
//!   writes made durable before it is answered.
//! - What a failed call wrote before it failed is kept, as with a process that dies; nobody was told that it
//!   is durable.
//! - What lost its last name is erased behind the scenes, a bounded part at a time.
//! - After a crash of the host the files are as they were at the end of some batch: never half of one.
//! - There are no links, devices or permissions. Times of access do not change by reading.

mod cache;
mod chunks;
mod descriptor;
mod record;
mod storage;
mod streams;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use enclave_sealed_store::{Backend, Namespace};
use enclave_worker::Handle;
use wasmtime::component::ResourceTableError;

use crate::bindings::wasi::filesystem::types::ErrorCode;
use crate::turn::Turn;
use cache::{Cache, Stop, Transaction, World};
pub use descriptor::{Descriptor, DirectoryCursor};
use record::{FileId, UnknownFormat};
use storage::Sealed;
pub use storage::StorageFailure;

/// Open descriptors in one call.
const MAX_OPEN: usize = 1024;
/// Bytes that the streams of one call hold before they take little at a time.
const MAX_HELD: usize = 256 << 10;

/// The files of one application. Make one when the application is prepared and give it to every call: what
/// is in memory is shared. Two of them over one namespace at the same time do not see each other's changes.
#[derive(Clone)]
pub struct Filesystem {
    namespace: Namespace,
    cache: Arc<Cache>,
}

impl Filesystem {
    /// The files kept in `namespace`. Nothing is read before the first call needs it.
    pub fn new(namespace: Namespace) -> Self {
        Filesystem { namespace, cache: Arc::default() }
    }

    /// Makes durable whatever calls have left behind. To be called when no call of the application runs,
    /// before its records are given to a successor: nothing changes them until the next call starts.
    ///
    /// # Errors
    /// [`StorageFailure`] when they did not reach the store.
    pub async fn settle(&self, host: &Handle, backend: Arc<dyn Backend>) -> Result<(), StorageFailure> {
        let storage = Arc::new(Sealed { namespace: self.namespace.clone(), backend });
        self.cache.settle(&World { storage, outside: Arc::new(host.clone()) }).await
    }

    /// Keeps whatever calls have left behind from the store. To be called when no call of the application
    /// runs, before its records are erased: nothing is written to them until the next call starts.
    pub async fn abandon(&self) {
        self.cache.abandon().await;
    }

    pub(crate) fn for_call(self, host: &Handle, backend: Arc<dyn Backend>) -> CallFiles {
        let storage = Arc::new(Sealed { namespace: self.namespace, backend });
        CallFiles::new(self.cache, World { storage, outside: Arc::new(host.clone()) })
    }
}

/// What a filesystem function answers: a code for the guest, or a trap.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The guest asked for something that cannot be done.
    #[error("{0:?}")]
    Code(ErrorCode),
    /// The records could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The records are of another version.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// The guest named a resource that does not exist, or has too many.
    #[error(transparent)]
    Table(#[from] ResourceTableError),
    /// The CPU gave no random id.
    #[error(transparent)]
    Random(#[from] enclave_platform::RandomError),
}

impl From<ErrorCode> for FsError {
    fn from(code: ErrorCode) -> Self {
        FsError::Code(code)
    }
}

impl FsError {
    /// The code for the guest, or the error that ends its call: what the host did wrong must not look to the
    /// guest like an ordinary failure.
    fn into_code(self) -> wasmtime::Result<ErrorCode> {
        match self {
            FsError::Code(code) => Ok(code),
            FsError::Storage(failure) if failure.is_full() => Ok(ErrorCode::InsufficientSpace),
            FsError::Storage(StorageFailure::Unavailable(_)) => Ok(ErrorCode::Io),
            FsError::Storage(failure) => Err(failure.into()),
            FsError::Format(error) => Err(error.into()),
            FsError::Table(error) => Err(error.into()),
            FsError::Random(error) => Err(error.into()),
        }
    }
}

/// The filesystem as one call uses it.
#[derive(Clone)]
pub(crate) struct CallFiles {
    call: Arc<Call>,
}

struct Call {
    cache: Arc<Cache>,
    world: World,
    turn: Turn,
    open: AtomicUsize,
    /// Bytes that streams hold: read ahead, or waiting to be written.
    held: AtomicUsize,
    /// The last epoch in which this call changed something.
    changed: AtomicU64,
}

impl CallFiles {
    fn new(cache: Arc<Cache>, world: World) -> Self {
        cache.call_starts();
        let (turn, open, held) = (Turn::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let changed = AtomicU64::new(0);
        CallFiles { call: Arc::new(Call { cache, world, turn, open, held, changed }) }
    }

    /// Runs an operation to its end.
    async fn run<R>(
        &self,
        operation: impl FnMut(&mut Transaction<'_>) -> Result<R, Stop>,
    ) -> Result<R, FsError> {
        self.call.turn.spend(1).await;
        let (result, changed) = self.call.cache.run(&self.call.world, operation).await?;
        self.note(changed);
        self.call.reclaim();
        Ok(result)
    }

    /// The turn of the call.
    pub(crate) fn turn(&self) -> &Turn {
        &self.call.turn
    }

    /// Runs an operation if it need not wait, for the store or for the call's next turn. `None`: it must, use
    /// [`CallFiles::run`].
    fn try_run<R>(
        &self,
        mut operation: impl FnMut(&mut Transaction<'_>) -> Result<R, Stop>,
    ) -> Result<Option<R>, FsError> {
        if !self.call.turn.try_spend(1) {
            return Ok(None);
        }
        match self.call.cache.attempt(&self.call.world, &mut operation) {
            Ok((result, changed)) => {
                self.note(changed);
                Ok(Some(result))
            }
            Err(Stop::Missing(_) | Stop::NoRoom | Stop::TooMuchGarbage | Stop::TooMuchToCut { .. }) => {
                Ok(None)
            }
            Err(Stop::Refused(code)) => Err(FsError::Code(code)),
        }
    }

    fn note(&self, changed: Option<u64>) {
        if let Some(epoch) = changed {
            self.call.changed.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    /// Makes durable everything that any call has written so far.
    async fn sync(&self) -> Result<(), StorageFailure> {
        let epoch = self.call.cache.last_change();
        self.call.cache.commit(&self.call.world, epoch).await
    }

    /// Makes durable what this call wrote.
    pub(crate) async fn flush(&self) -> Result<(), StorageFailure> {
        let epoch = self.call.changed.load(Ordering::Relaxed);
        self.call.cache.commit(&self.call.world, epoch).await
    }

    /// Whether streams may hold much more, until the call takes or writes what they hold.
    fn has_room(&self) -> bool {
        self.call.held.load(Ordering::Relaxed) < MAX_HELD
    }

    /// Counts bytes that a stream holds, until the result is dropped.
    fn hold(&self, bytes: usize) -> Held {
        self.call.held.fetch_add(bytes, Ordering::Relaxed);
        Held { files: self.clone(), bytes }
    }

    fn new_id(&self) -> Result<FileId, FsError> {
        Ok(FileId(self.call.world.outside.random_id()?))
    }

    /// Counts one more open descriptor, until the result is dropped.
    fn open_slot(&self) -> Result<OpenSlot, ErrorCode> {
        let taken = self.call.open.fetch_add(1, Ordering::Relaxed);
        let slot = OpenSlot(self.clone());
        if taken < MAX_OPEN { Ok(slot) } else { Err(ErrorCode::InsufficientMemory) }
    }
}

impl Call {
    /// Sees to it that what nobody can reach any more is erased.
    fn reclaim(&self) {
        if let Some(reclaiming) = self.cache.start_reclaiming() {
            self.world.outside.spawn(Box::pin(reclaiming.run(self.world.clone())));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.cache.call_ends();
        let epoch = *self.changed.get_mut();
        if !self.cache.is_durable(epoch) {
            // The call failed, or ended without a flush: what it wrote is kept all the same.
            let (cache, world) = (self.cache.clone(), self.world.clone());
            let outside = world.outside.clone();
            outside.spawn(Box::pin(async move {
                if cache.commit(&world, epoch).await.is_err() {
                    // The records stay marked as changed: the next commit takes them along.
                }
            }));
        }
    }
}

/// Bytes that a stream holds.
struct Held {
    files: CallFiles,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.files.call.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct OpenSlot(CallFiles);

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.0.call.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file held open: its records stay, whatever happens to its name. [`tree::open`] has counted it.
struct OpenFile {
    id: FileId,
    slot: OpenSlot,
}

impl OpenFile {
    fn files(&self) -> &CallFiles {
        &self.slot.0
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let call = &self.files().call;
        call.cache.release(self.id);
        call.reclaim();
    }
}
