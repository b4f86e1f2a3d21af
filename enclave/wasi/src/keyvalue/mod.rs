//! `wasi:keyvalue` over the sealed store: the drafts 0.2.0-draft and 0.2.0-draft2. The format stands in `record`,
//! how keys are listed in `index`, how changes become durable in `writer`.
//!
//! What a user can rely on:
//! - A name is a bucket of the application's own; `""` is `"default"`. A bucket exists from its first key to its
//!   last and needs no creation, so `open` refuses only names that are too long.
//! - What `set`, `delete`, `increment`, `swap`, `set-many` and `delete-many` have done is durable when they return.
//!   Each is atomic towards all other calls, the batches included. A call that is cancelled while it waits for one has
//!   done all of it or nothing, and nothing if it had not begun.
//! - A read sees everything that had returned when it began, and of what had not, all or nothing of each key.
//! - A listing gives every key that is there from its first page to its last exactly once. A key that is made or
//!   removed meanwhile may be in it or not. Cursors stay good, also after a restart.
//! - What an operation costs does not depend on how many keys there are: one record for each 120 KiB of
//!   the value, and where a key is made or removed, one leaf of the index and the count of keys.

mod error;
mod guest;
mod index;
mod plan;
mod read;
mod record;
mod records;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use enclave_sealed_store::{Backend, Namespace};
use enclave_worker::Handle;

use crate::filesystem::StorageFailure;
use crate::room::{Full, Place, Room};
pub use error::KvError;
pub use guest::{Bucket, Cas};
use records::{Records, Sealed};
use writer::Writer;

/// Longest name of a bucket, in bytes.
pub(crate) const MAX_BUCKET: usize = 255;
/// Longest key, in bytes.
pub(crate) const MAX_KEY: usize = 1024;
/// Longest value, in bytes.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// Most keys in one batch.
pub(crate) const MAX_BATCH_KEYS: usize = 1024;
/// Most bytes of keys and values in one batch, asked or answered.
pub(crate) const MAX_BATCH_BYTES: usize = 4 << 20;
/// What operations of all applications may hold: a commit holds what it is made of some four times.
const MAX_HELD: usize = 32 << 20;
/// Keys of an application that asks for nothing else (`max_store_keys`).
pub const DEFAULT_KEYS: u64 = 200_000;
/// Most keys of any application: if they are short and their values of one record each, they fit with their index into
/// the records of a namespace.
pub const MAX_KEYS: u64 = 250_000;

/// What operations under way hold outside the memory of the guests: changes that wait, and values that are read. One
/// per enclave.
#[derive(Clone)]
pub struct KeyValueRoom(Room);

impl Default for KeyValueRoom {
    fn default() -> Self {
        KeyValueRoom(Room::new(MAX_HELD))
    }
}

/// The keys and values of one application. Make one when the application is prepared and give it to every call.
#[derive(Clone)]
pub struct KeyValue {
    namespace: Namespace,
    writer: Arc<Writer>,
}

impl KeyValue {
    /// The buckets kept in `namespace`, of at most `max_keys` keys together. What is there already stays. `held` is
    /// that of all applications.
    pub fn new(namespace: Namespace, max_keys: u64, held: KeyValueRoom) -> Self {
        KeyValue { namespace, writer: Arc::new(Writer::new(max_keys, held.0)) }
    }

    /// How many keys there are, once it is known: after [`KeyValue::recall`], or the first change.
    pub fn keys(&self) -> Option<u64> {
        self.writer.keys()
    }

    /// Finds out how many keys there are.
    ///
    /// # Errors
    /// [`StorageFailure`] when the store does not say.
    pub async fn recall(&self, host: &Handle, backend: Arc<dyn Backend>) -> Result<(), StorageFailure> {
        self.writer.recall(&self.sealed(host, backend)).await
    }

    /// Waits for changes under way. None is made from then on until a call starts. To be called when no call of the
    /// application runs, before its records are given to a successor.
    pub async fn settle(&self) {
        self.writer.settle().await;
    }

    /// As [`KeyValue::settle`], but changes that have not begun are not made: for when the records are about to be
    /// erased.
    pub async fn abandon(&self) {
        self.writer.abandon().await;
    }

    pub(crate) fn for_call(self, host: &Handle, backend: Arc<dyn Backend>) -> CallBuckets {
        let records = Arc::new(self.sealed(host, backend));
        CallBuckets::new(self.writer, records)
    }

    fn sealed(&self, host: &Handle, backend: Arc<dyn Backend>) -> Sealed {
        Sealed { namespace: self.namespace.clone(), backend, host: host.clone() }
    }
}

/// The buckets as one call uses them.
#[derive(Clone)]
pub(crate) struct CallBuckets {
    writer: Arc<Writer>,
    records: Arc<dyn Records>,
}

impl CallBuckets {
    /// A place for what an operation holds.
    fn hold(&self, bytes: usize) -> Result<Place, Full> {
        let mut place = self.writer.room().place();
        place.grow(bytes)?;
        Ok(place)
    }

    fn new(writer: Arc<Writer>, records: Arc<dyn Records>) -> Self {
        writer.call_starts();
        CallBuckets { writer, records }
    }
}
