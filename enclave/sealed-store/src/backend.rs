//! What the store asks of the host. Answers are claims.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future that an object-safe trait can give.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the host files a record under: a keyed hash of namespace and key.
pub type RecordId = [u8; 32];

/// One change at the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes or replaces a record.
    Put {
        /// Its id.
        id: RecordId,
        /// Sealed bytes.
        value: Vec<u8>,
    },
    /// Removes a record, if it is there.
    Delete {
        /// Its id.
        id: RecordId,
    },
}

/// Some records of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Ids, ascending, and sealed bytes.
    pub records: Vec<(RecordId, Vec<u8>)>,
    /// Whether there are records behind these.
    pub more: bool,
}

/// Why the host gave no answer that could be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The answer was not one to this question.
    #[error("the host broke the protocol: {0}")]
    Misbehaved(String),
    /// The host has no room left.
    #[error("the host has no room left")]
    Full,
    /// The host says that it could not.
    #[error("the host could not: {message} ({code})")]
    Failed {
        /// A stable word for the kind of failure.
        code: String,
        /// The host's words.
        message: String,
    },
    /// The channel to the host is being closed.
    #[error("the enclave is stopping")]
    Stopping,
}

/// A transactional store at the host, from the thread that asks.
pub trait Backend: Send + Sync {
    /// One record.
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>>;

    /// Records behind `after` in the order of their ids, about `max_bytes` of them, at least one if there is one.
    fn scan(&self, after: Option<RecordId>, max_bytes: u32) -> BoxFuture<'_, Result<Page, BackendError>>;

    /// All changes or none, durable when it answers.
    fn batch(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), BackendError>>;
}

impl<T: Backend + ?Sized> Backend for &T {
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>> {
        (**self).get(id)
    }

    fn scan(&self, after: Option<RecordId>, max_bytes: u32) -> BoxFuture<'_, Result<Page, BackendError>> {
        (**self).scan(after, max_bytes)
    }

    fn batch(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), BackendError>> {
        (**self).batch(ops)
    }
}

impl<T: Backend + ?Sized> Backend for Arc<T> {
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>> {
        (**self).get(id)
    }

    fn scan(&self, after: Option<RecordId>, max_bytes: u32) -> BoxFuture<'_, Result<Page, BackendError>> {
        (**self).scan(after, max_bytes)
    }

    fn batch(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), BackendError>> {
        (**self).batch(ops)
    }
}
