//! Reading and changing the records of one namespace.

use std::fmt;
use std::sync::Arc;

use futures_lite::future::yield_now;
use zeroize::Zeroizing;

use crate::backend::{Backend, RecordId};
use crate::batch::Batch;
use crate::committer::{Commit, Put};
use crate::error::{Id, Misbehaviour, StoreError};
use crate::keys::{NamespaceKey, NamespaceTag};
use crate::record::{self, Header, Place};
use crate::store::{Shared, check, check_name};
use crate::table::{Slot, Usage};
use crate::{MAX_KEY, MAX_VALUE};

/// Records of one batch that are sealed before others run.
pub const SEALED_AT_ONCE: usize = 32;

/// The records of one application, or of the enclave itself. Cheap to clone.
#[derive(Clone)]
pub struct Namespace {
    shared: Arc<Shared>,
    name: Arc<str>,
    tag: NamespaceTag,
    key: NamespaceKey,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A value and the version that it was read at, for [`Batch::expect_version`].
#[derive(Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Differs for every commit of every record of the store, also after a removal.
    pub version: u64,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

impl Namespace {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, key: NamespaceKey) -> Self {
        let tag = shared.root.namespace_tag(name);
        Self { shared: shared.clone(), name: name.into(), tag, key }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much of the store it takes.
    pub fn usage(&self) -> Usage {
        self.shared.state().table.usage(&self.tag)
    }

    /// A record's value as it was last committed, or as a commit that is on its way makes it.
    ///
    /// # Errors
    /// [`StoreError::HostMisbehaved`] when the host gives anything else.
    pub async fn get(
        &self,
        backend: &dyn Backend,
        key: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(self.get_versioned(backend, key).await?.map(|record| record.value))
    }

    /// As [`Namespace::get`], with the record's version.
    ///
    /// # Errors
    /// As [`Namespace::get`].
    pub async fn get_versioned(
        &self,
        backend: &dyn Backend,
        key: &[u8],
    ) -> Result<Option<Versioned>, StoreError> {
        let id = self.id(key)?;
        let place = Place { namespace: &self.name, tag: &self.tag, key, id: &id };
        loop {
            // The table is complete: what is not in it does not exist, whatever the host says.
            let Some(slot) = self.shared.slot(&self.tag, &id)? else { return Ok(None) };
            let given = backend.get(id).await?;
            match self.recognise(&id, slot, given) {
                Ok((header, record)) => {
                    let value = record::open(&self.key, place, &header, record)?;
                    return Ok(Some(Versioned { version: header.version, value }));
                }
                Err(how) => {
                    if !self.shared.was_changed(&self.tag, &id, slot).await? {
                        return Err(StoreError::HostMisbehaved(how));
                    }
                }
            }
        }
    }

    /// The version of a record, without asking the host; `None` if there is no such record.
    ///
    /// # Errors
    /// [`StoreError`] when the key is too long or the state of the store is not known.
    pub fn version(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let id = self.id(key)?;
        Ok(self.shared.slot(&self.tag, &id)?.map(|slot| slot.version))
    }

    /// Makes the changes durable, all or none. Sealing many records lets others run in between; once they are sealed,
    /// as those of up to [`SEALED_AT_ONCE`] are when this was polled, the batch is applied even if this future is
    /// dropped.
    ///
    /// # Errors
    /// [`StoreError`]. Only after [`StoreError::Unsettled`] and [`StoreError::Closed`] may the batch have
    /// become durable all the same.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        check_name(&self.name)?;
        let mut erased = Vec::with_capacity(batch.erased.len());
        for name in &batch.erased {
            check_name(name)?;
            erased.push(self.shared.root.namespace_tag(name));
        }
        let mut expectations = Vec::with_capacity(batch.expectations.len());
        for (key, version) in &batch.expectations {
            expectations.push((self.id(key)?, *version));
        }
        let mut changes = Vec::with_capacity(batch.changes.len());
        let version = self.shared.new_version();
        for (n, (key, value)) in batch.changes.into_iter().enumerate() {
            if n > 0 && n % SEALED_AT_ONCE == 0 {
                yield_now().await;
            }
            let id = self.id(&key)?;
            let put = value.map(|value| self.seal(&key, &id, version, &value)).transpose()?;
            changes.push((id, put));
        }
        self.shared.commit(|ack| Commit::new(self.tag, erased, expectations, changes, ack)).await?;
        Ok(())
    }

    fn seal(&self, key: &[u8], id: &RecordId, version: u64, value: &[u8]) -> Result<Put, StoreError> {
        check("a value", value.len(), MAX_VALUE)?;
        let salt = self.shared.salt()?;
        let place = Place { namespace: &self.name, tag: &self.tag, key, id };
        let (record, mac) = record::seal(&self.shared.root, &self.key, place, version, &salt, value);
        // At most MAX_VALUE.
        let bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        Ok(Put { slot: Slot { version, bytes, mac }, record })
    }

    fn id(&self, key: &[u8]) -> Result<RecordId, StoreError> {
        check("a key", key.len(), MAX_KEY)?;
        Ok(self.shared.root.record_id(&self.name, key))
    }

    /// The record that the table says is live, or how the host was caught giving another.
    fn recognise(
        &self,
        id: &RecordId,
        slot: Slot,
        given: Option<Vec<u8>>,
    ) -> Result<(Header, Vec<u8>), Misbehaviour> {
        let record = given.ok_or(Misbehaviour::RecordMissing(Id(*id)))?;
        let header = record::authenticate(&self.shared.root, id, &record)?;
        if header.mac != slot.mac {
            return Err(Misbehaviour::RecordStale(Id(*id)));
        }
        Ok((header, record))
    }
}
