//! The sealed registry: apps and the enclave CA in the store's core namespace.
//!
//! | key | value |
//! |---|---|
//! | `ca` | key and certificates of the enclave CA |
//! | `apps` | the names, a JSON array |
//! | `app/<name>` | `AppRecord` as JSON |
//! | `artifact/<name>/<code hash>/<index>` | the artifact, in pieces of 128 KiB |
//!
//! Every change is one batch, so a crash leaves either the old apps or the new ones.

use std::collections::BTreeSet;

use enclave_access::ApprovedArtifact;
use enclave_sealed_store::{Backend, Batch, MAX_VALUE, Namespace, Store, StoreError};
use zeroize::Zeroizing;

use super::record::AppRecord;
use crate::hex;
use crate::refusal::Refusal;

/// The largest artifact that one batch takes, records around it included.
pub(crate) const MAX_ARTIFACT: usize = 64 * 1024 * 1024;

const CA: &[u8] = b"ca";
const APPS: &[u8] = b"apps";

pub(crate) struct Registry {
    core: Namespace,
    names: BTreeSet<String>,
}

/// Where the data of an app is kept.
pub(crate) fn namespace_of(app: &str) -> String {
    format!("app:{app}")
}

impl Registry {
    /// Reads the list of names.
    pub(crate) async fn open(store: &Store, backend: &dyn Backend) -> Result<Registry, StoreFault> {
        let core = store.core();
        let names = match core.get(backend, APPS).await? {
            Some(list) => serde_json::from_slice(&list).map_err(|_| StoreFault::Registry)?,
            None => BTreeSet::new(),
        };
        Ok(Registry { core, names })
    }

    /// The names of all apps that were loaded and not unloaded.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    pub(crate) async fn ca(&self, backend: &dyn Backend) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.core.get(backend, CA).await
    }

    /// What a first boot keeps. The list of names is there from then on, so that an enclave whose apps are all
    /// gone stores no more and no less than one that never had any.
    pub(crate) async fn found(&self, sealed_ca: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(CA, sealed_ca);
        batch.put(APPS, b"[]");
        self.core.commit(batch).await
    }

    pub(crate) async fn put_ca(&self, sealed: &[u8]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(CA, sealed);
        self.core.commit(batch).await
    }

    pub(crate) async fn record(&self, backend: &dyn Backend, name: &str) -> Result<AppRecord, String> {
        let bytes = self.core.get(backend, &record_key(name)).await.map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or("its record is missing")?;
        AppRecord::from_bytes(name, &bytes).map_err(|error| format!("its record does not read back: {error}"))
    }

    /// The artifact of an app, checked against the code hash that was sealed with it.
    pub(crate) async fn artifact(
        &self,
        backend: &dyn Backend,
        record: &AppRecord,
    ) -> Result<ApprovedArtifact, String> {
        if record.artifact_bytes > MAX_ARTIFACT {
            return Err("its record names an impossible size".to_owned());
        }
        let mut bytes = Vec::with_capacity(record.artifact_bytes);
        for index in 0..pieces(record.artifact_bytes) {
            let key = piece_key(&record.name, &record.code_hash, index);
            let piece = self.core.get(backend, &key).await.map_err(|error| error.to_string())?;
            bytes.extend_from_slice(&piece.ok_or("a piece of its artifact is missing")?);
        }
        ApprovedArtifact::resealed(bytes, record.code_hash).map_err(|error| error.to_string())
    }

    /// Makes `record` and its artifact durable in place of `old`, and erases the data if `erase`.
    pub(crate) async fn put(
        &mut self,
        record: &AppRecord,
        artifact: &[u8],
        old: Option<&AppRecord>,
        erase: bool,
    ) -> Result<(), StoreFault> {
        let mut batch = Batch::new();
        batch.put(&record_key(&record.name), record.to_bytes()?.to_vec());
        let same_artifact = old.is_some_and(|old| old.code_hash == record.code_hash);
        if !same_artifact {
            for (index, piece) in artifact.chunks(MAX_VALUE).enumerate() {
                batch.put(&piece_key(&record.name, &record.code_hash, index), piece);
            }
            if let Some(old) = old {
                delete_pieces(&mut batch, old);
            }
        }
        if erase {
            batch.erase(&namespace_of(&record.name));
        }
        let mut names = self.names.clone();
        names.insert(record.name.clone());
        self.commit(batch, names).await
    }

    /// Removes an app, its artifact and its data for good.
    pub(crate) async fn remove(&mut self, name: &str, record: Option<&AppRecord>) -> Result<(), StoreFault> {
        let mut batch = Batch::new();
        batch.delete(&record_key(name));
        if let Some(record) = record {
            delete_pieces(&mut batch, record);
        }
        batch.erase(&namespace_of(name));
        let mut names = self.names.clone();
        names.remove(name);
        self.commit(batch, names).await
    }

    async fn commit(&mut self, mut batch: Batch, names: BTreeSet<String>) -> Result<(), StoreFault> {
        if names != self.names {
            let list = serde_json::to_vec(&names).map_err(|_| StoreFault::Registry)?;
            if list.len() > MAX_VALUE {
                return Err(StoreFault::TooManyApps);
            }
            batch.put(APPS, list);
        }
        self.core.commit(batch).await?;
        self.names = names;
        Ok(())
    }
}

/// Why the registry could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    TooLarge(#[from] super::record::RecordTooLarge),
    #[error("the sealed list of apps does not read back")]
    Registry,
    #[error("there are as many apps as the registry can list")]
    TooManyApps,
}

impl From<StoreFault> for Refusal {
    fn from(fault: StoreFault) -> Refusal {
        let code = match &fault {
            StoreFault::Store(error) => return store_refusal(error),
            StoreFault::TooLarge(_) => "too-large",
            StoreFault::TooManyApps => "too-many-apps",
            StoreFault::Registry => "storage-failed",
        };
        Refusal::new(code, fault.to_string())
    }
}

/// What a client is told of a failure of the store.
pub(crate) fn store_refusal(error: &StoreError) -> Refusal {
    let code = match error {
        StoreError::HostMisbehaved(_) => "host-misbehaved",
        StoreError::Full => "storage-full",
        StoreError::Quota { .. } => "quota-exceeded",
        StoreError::TooLarge { .. } => "too-large",
        StoreError::Closed => "stopping",
        _ => "storage-failed",
    };
    Refusal::new(code, error.to_string())
}

fn record_key(name: &str) -> Vec<u8> {
    format!("app/{name}").into_bytes()
}

fn piece_key(name: &str, code_hash: &[u8; 32], index: usize) -> Vec<u8> {
    format!("artifact/{name}/{}/{index}", hex::encode(code_hash)).into_bytes()
}

fn pieces(bytes: usize) -> usize {
    bytes.div_ceil(MAX_VALUE)
}

fn delete_pieces(batch: &mut Batch, record: &AppRecord) {
    for index in 0..pieces(record.artifact_bytes.min(MAX_ARTIFACT)) {
        batch.delete(&piece_key(&record.name, &record.code_hash, index));
    }
}
