//! What buckets ask of the world: records, random numbers, a place to run what must not be cut short. Behind a trait,
//! so that tests can crash, refuse and reorder.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use enclave_platform::RandomError;
use enclave_sealed_store::{Backend, Batch, Namespace};
use enclave_worker::Handle;

use super::error::KvError;
use super::index::{Place, Splits};
use super::record::Key;
use crate::filesystem::StorageFailure;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A record's value, and the version that all records of its commit have.
pub(crate) struct Versioned {
    pub(crate) version: u64,
    pub(crate) value: Vec<u8>,
}

/// Writes and, where the value is `None`, deletions.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Records of one application.
pub(crate) trait Records: Send + Sync {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Versioned>, StorageFailure>>;

    /// The version of a record, without asking the host; `None` if there is none.
    fn version(&self, key: &[u8]) -> Result<Option<u64>, StorageFailure>;

    /// All or nothing, durable when it returns.
    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StorageFailure>>;

    /// Returns when everything that was handed to [`Records::commit`] before is settled, also what nobody waits for.
    fn barrier(&self) -> BoxFuture<'_, Result<(), StorageFailure>>;

    fn salt(&self) -> Result<[u8; 32], RandomError>;

    /// Runs `task` to its end, whatever becomes of the call that started it.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

impl dyn Records + '_ {
    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, StorageFailure> {
        Ok(self.version(key)?.is_some())
    }
}

impl Splits for dyn Records + '_ {
    fn is_split(&self, bucket: &str, place: Place) -> Result<bool, KvError> {
        Ok(self.has(&Key::Split(bucket, place).to_bytes())?)
    }
}

pub(crate) struct Sealed {
    pub(crate) namespace: Namespace,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) host: Handle,
}

impl Records for Sealed {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Versioned>, StorageFailure>> {
        Box::pin(async move {
            let found = self.namespace.get_versioned(&*self.backend, key).await?;
            Ok(found.map(|found| Versioned { version: found.version, value: found.value.to_vec() }))
        })
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StorageFailure> {
        Ok(self.namespace.version(key)?)
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

    fn barrier(&self) -> BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            // Batches are carried out in the order in which they came.
            let mut batch = Batch::new();
            batch.expect_absent(&Key::Never.to_bytes());
            Ok(self.namespace.commit(batch).await?)
        })
    }

    fn salt(&self) -> Result<[u8; 32], RandomError> {
        let mut salt = [0; 32];
        self.host.platform().random(&mut salt)?;
        Ok(salt)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.host.spawn(task).detach();
    }
}
