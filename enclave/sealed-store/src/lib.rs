//! How is data kept by a host that may lie?
//!
//! A [`Store`] keeps small records at a [`Backend`] that it does not trust. The host learns how many records
//! there are, how long they are, which belong together, and when each is read or written; it learns neither
//! keys nor values. Within a run every record that is read is the one that was last committed, or the read
//! fails with [`StoreError::HostMisbehaved`]. Across runs the records must together be a state that the
//! enclave once sealed as a whole; an *earlier* such state, the empty one included, is not detected
//! (`docs/formats/store.md` says what that means and which hooks are there).
//!
//! ```text
//! namespace.commit ──> queue ──> Committer ──one batch with one head──> Backend
//! namespace.get    ──> Backend, checked against the table in enclave memory
//! ```
//!
//! [`Store::open`] takes the platform by [`Arc`](std::sync::Arc), because every commit draws fresh salts from it.

#![forbid(unsafe_code)]

mod anchor;
mod backend;
mod batch;
mod committer;
mod error;
mod head;
mod keys;
mod multiset;
mod namespace;
mod open;
mod record;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use backend::{Backend, BackendError, BoxFuture, Op, Page, RecordId};
pub use batch::Batch;
pub use committer::Committer;
pub use error::{Id, Misbehaviour, OpenError, StoreError};
pub use keys::NamespaceKey;
pub use namespace::{Namespace, SEALED_AT_ONCE, Versioned};
pub use store::{Quota, Store};
pub use table::Usage;

/// Most bytes of a namespace's name.
pub const MAX_NAME: usize = 255;
/// Most bytes of a record's key.
pub const MAX_KEY: usize = 4096;
/// Most bytes of a record's value. Callers cut what is longer.
pub const MAX_VALUE: usize = 128 * 1024;
/// Most bytes that one batch asks of the host, sealed: its values, and 37 bytes for each change.
pub const MAX_BATCH: usize = 76 * 1024 * 1024;
/// Most records of a namespace: all of them can be erased in the batch that stores the largest artifact.
pub const MAX_RECORDS: u64 = 300_000;
