//! What a filesystem asks of the world: records, a clock, random ids, a place to run what must not be cut
//! short. Behind traits, so that tests can crash, refuse and reorder.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use enclave_platform::RandomError;
use enclave_sealed_store::{Backend, Batch, Namespace, StoreError};
use enclave_worker::Handle;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why records could not be read or made durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageFailure {
    /// The host did not give back what was stored.
    #[error("the host misbehaved: {0}")]
    HostMisbehaved(Arc<dyn Error + Send + Sync>),
    /// The host has no room left.
    #[error("the store is full")]
    Full,
    /// The application has used up its share of the store.
    #[error(
        "the application's share of the store is used up ({0}): delete something, or load it with a higher \
         max_store_bytes"
    )]
    Quota(Arc<dyn Error + Send + Sync>),
    /// The host could not, or the enclave is stopping.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<dyn Error + Send + Sync>),
    /// The store refused, and will again: a wrong key, a state that is not known.
    #[error("the store refused: {0}")]
    Refused(Arc<dyn Error + Send + Sync>),
}

impl StorageFailure {
    /// Whether deleting something would help.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, StorageFailure::Full | StorageFailure::Quota(_))
    }

    /// The stable word a client sees.
    pub fn code(&self) -> &'static str {
        match self {
            StorageFailure::HostMisbehaved(_) => "host-misbehaved",
            StorageFailure::Full => "storage-full",
            StorageFailure::Quota(_) => "quota-exceeded",
            StorageFailure::Unavailable(_) => "storage-unavailable",
            StorageFailure::Refused(_) => "storage-refused",
        }
    }
}

impl From<StoreError> for StorageFailure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::HostMisbehaved(_) => StorageFailure::HostMisbehaved(Arc::new(error)),
            StoreError::Full => StorageFailure::Full,
            StoreError::Quota { .. } => StorageFailure::Quota(Arc::new(error)),
            StoreError::Failed(_) | StoreError::Closed => StorageFailure::Unavailable(Arc::new(error)),
            _ => StorageFailure::Refused(Arc::new(error)),
        }
    }
}

/// Writes and, where the value is `None`, deletions.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Records of one application.
pub(crate) trait Storage: Send + Sync {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StorageFailure>>;

    /// Whether there is such a record, without asking the host. If that is not known: yes.
    fn exists(&self, key: &[u8]) -> bool;

    /// All or nothing, durable when it returns.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StorageFailure>>;
}

pub(crate) struct Sealed {
    pub(crate) namespace: Namespace,
    pub(crate) backend: Arc<dyn Backend>,
}

impl Storage for Sealed {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StorageFailure>> {
        Box::pin(async move {
            let value = self.namespace.get(&*self.backend, key).await?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn exists(&self, key: &[u8]) -> bool {
        !matches!(self.namespace.version(key), Ok(None))
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            let mut batch = Batch::new();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.put(&key, value),
                    None => batch.delete(&key),
                }
            }
            Ok(self.namespace.commit(batch).await?)
        })
    }
}

/// The rest of the world.
pub(crate) trait Outside: Send + Sync {
    /// Nanoseconds since 1970.
    fn now(&self) -> u64;

    /// An id that nothing else has.
    fn random_id(&self) -> Result<[u8; 16], RandomError>;

    /// Runs `task` to its end, whatever becomes of the call that started it.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

impl Outside for Handle {
    fn now(&self) -> u64 {
        self.clock().unix_ns()
    }

    fn random_id(&self) -> Result<[u8; 16], RandomError> {
        let mut id = [0; 16];
        self.platform().random(&mut id)?;
        Ok(id)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        Handle::spawn(self, task).detach();
    }
}
