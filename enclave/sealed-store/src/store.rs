//! The store as its users hold it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enclave_platform::{Platform, RandomError};
use futures_channel::{mpsc, oneshot};

use crate::backend::RecordId;
use crate::committer::{Commit, Job};
use crate::error::StoreError;
use crate::head::Head;
use crate::keys::{NamespaceKey, NamespaceTag, RootKeys, SALT};
use crate::namespace::Namespace;
use crate::table::{Plan, Slot, Table, Usage};
use crate::{MAX_NAME, MAX_RECORDS};

/// The namespace of the enclave itself.
pub(crate) const CORE: &str = "core";

/// The store of one enclave. Cheap to clone; every thread may use it.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// How much of the store a namespace may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Most live records.
    pub records: u64,
    /// Most bytes of their values.
    pub bytes: u64,
}

impl Quota {
    /// The quota that counts: whatever was set, a namespace can always be erased in one batch.
    pub(crate) fn in_force(set: Option<&Self>) -> Self {
        let set = set.copied().unwrap_or(Self { records: u64::MAX, bytes: u64::MAX });
        Self { records: set.records.min(MAX_RECORDS), ..set }
    }
}

impl Store {
    /// A namespace: records that are told apart from all others and encrypted under a key of their own.
    /// `app:<name>` for an application.
    pub fn namespace(&self, name: &str, key: NamespaceKey) -> Namespace {
        Namespace::new(&self.shared, name, key)
    }

    /// The enclave's own namespace, under a key from the sealing key.
    pub fn core(&self) -> Namespace {
        self.namespace(CORE, self.shared.root.core())
    }

    /// Removes every record of a namespace in one batch and says how many there were. Needs no key of it.
    ///
    /// # Errors
    /// As [`Namespace::commit`].
    pub async fn erase(&self, name: &str) -> Result<u64, StoreError> {
        check_name(name)?;
        let tag = self.shared.root.namespace_tag(name);
        self.shared.commit(|ack| Commit::erasing(tag, ack)).await
    }

    /// How much of the store a namespace takes. Needs no key of it.
    pub fn usage(&self, name: &str) -> Usage {
        let tag = self.shared.root.namespace_tag(name);
        self.shared.state().table.usage(&tag)
    }

    /// Bounds what a namespace may take from now on; `None`: [`MAX_RECORDS`] alone. Not stored: set it whenever the
    /// application is loaded. What is there already stays.
    pub fn set_quota(&self, name: &str, quota: Option<Quota>) {
        let tag = self.shared.root.namespace_tag(name);
        let mut state = self.shared.state();
        match quota {
            Some(quota) => state.quotas.insert(tag, quota),
            None => state.quotas.remove(&tag),
        };
    }

    /// The latest time that the host had claimed when the last head was sealed, in nanoseconds since 1970.
    pub fn sealed_unix_ns(&self) -> u64 {
        self.shared.state().head.unix_ns
    }

    /// Why nothing can be stored any more, once that is so. Only a restart of the enclave helps.
    pub fn ended(&self) -> Option<StoreError> {
        self.shared.state().ended.clone()
    }

    /// Commits what was asked for before, seals a last head, and ends the committer. Later commits fail
    /// with [`StoreError::Closed`]; reads go on.
    ///
    /// # Errors
    /// [`StoreError`] when the last head could not be stored. What was acknowledged is safe all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (ack, closed) = oneshot::channel();
        if self.shared.queue.unbounded_send(Job::Close(ack)).is_err() {
            return Ok(());
        }
        // A committer that is gone has nothing left to flush.
        closed.await.unwrap_or(Ok(()))
    }
}

pub(crate) struct Shared {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) root: RootKeys,
    pub(crate) anchor: Vec<u8>,
    next_version: AtomicU64,
    queue: mpsc::UnboundedSender<Job>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) in_flight: Option<InFlight>,
    /// Why nothing can be committed any more.
    pub(crate) ended: Option<StoreError>,
    pub(crate) quotas: HashMap<NamespaceTag, Quota>,
    /// The head that is durable, and as the host has it.
    pub(crate) head: Head,
    pub(crate) sealed_head: Vec<u8>,
}

/// The batch that the host is writing, and who waits for its end.
pub(crate) struct InFlight {
    pub(crate) plan: Plan,
    pub(crate) waiting: Vec<oneshot::Sender<()>>,
}

impl Shared {
    pub(crate) fn new(
        platform: Arc<dyn Platform>,
        root: RootKeys,
        anchor: Vec<u8>,
        table: Table,
        head: Head,
        sealed_head: Vec<u8>,
        queue: mpsc::UnboundedSender<Job>,
    ) -> Self {
        let state = State { table, in_flight: None, ended: None, quotas: HashMap::new(), head, sealed_head };
        let next_version = AtomicU64::new(head.next_version);
        Self { platform, root, anchor, next_version, queue, state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; in the image a panic ends the enclave anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn salt(&self) -> Result<[u8; SALT], RandomError> {
        let mut salt = [0; SALT];
        self.platform.random(&mut salt)?;
        Ok(salt)
    }

    pub(crate) fn new_version(&self) -> u64 {
        self.next_version.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_version(&self) -> u64 {
        self.next_version.load(Ordering::Relaxed)
    }

    /// Hands a commit to the committer and waits for its end.
    pub(crate) async fn commit(
        &self,
        commit: impl FnOnce(oneshot::Sender<Result<u64, StoreError>>) -> Commit,
    ) -> Result<u64, StoreError> {
        let (ack, done) = oneshot::channel();
        let gone = || self.state().ended.clone().unwrap_or(StoreError::Closed);
        self.queue.unbounded_send(Job::Commit(commit(ack))).map_err(|_| gone())?;
        done.await.unwrap_or_else(|_| Err(gone()))
    }

    /// What the enclave knows about a record.
    pub(crate) fn slot(&self, tag: &NamespaceTag, id: &RecordId) -> Result<Option<Slot>, StoreError> {
        let state = self.state();
        match &state.ended {
            Some(StoreError::Closed) | None => Ok(state.table.slot(tag, id)),
            Some(ended) => Err(ended.clone()),
        }
    }

    /// Whether a commit explains that the host's record is not the one in `slot`. Waits for a batch that
    /// changes this record and is on its way: the host may have applied it already.
    pub(crate) async fn was_changed(
        &self,
        tag: &NamespaceTag,
        id: &RecordId,
        slot: Slot,
    ) -> Result<bool, StoreError> {
        loop {
            if self.slot(tag, id)? != Some(slot) {
                return Ok(true);
            }
            let settled = {
                let mut state = self.state();
                let State { table, in_flight, .. } = &mut *state;
                match in_flight {
                    Some(batch) if batch.plan.touches(id) => {
                        let (waiting, settled) = oneshot::channel();
                        batch.waiting.push(waiting);
                        settled
                    }
                    _ if table.slot(tag, id) != Some(slot) => return Ok(true),
                    _ => return Ok(false),
                }
            };
            // Dropped, never sent: either way the batch has settled.
            settled.await.unwrap_or_default();
        }
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    check("a namespace's name", name.len(), MAX_NAME)
}

pub(crate) fn check(what: &'static str, len: usize, max: usize) -> Result<(), StoreError> {
    if len > max { Err(StoreError::TooLarge { what, len, max }) } else { Ok(()) }
}
