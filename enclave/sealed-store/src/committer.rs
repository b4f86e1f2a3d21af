//! Group commit: whatever waits is made durable together, in one batch of the host with one head.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_lite::StreamExt;

use crate::MAX_BATCH;
use crate::backend::{Backend, BackendError, Op, RecordId};
use crate::error::StoreError;
use crate::head::{HEAD_ID, Head};
use crate::keys::NamespaceTag;
use crate::store::{InFlight, Quota, Shared, State, check};
use crate::table::{ById, Plan, Slot, Usage};

/// When a group is large enough: more would only make its first member wait.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// What a change costs in a batch beside its record.
const OP_BYTES: usize = 1 + 32 + 4;

type Ack = oneshot::Sender<Result<u64, StoreError>>;

pub(crate) enum Job {
    Commit(Commit),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A batch, sealed and ready.
pub(crate) struct Commit {
    tag: NamespaceTag,
    erased: Vec<NamespaceTag>,
    expectations: Vec<(RecordId, Option<u64>)>,
    changes: Vec<(RecordId, Option<Put>)>,
    ack: Ack,
}

pub(crate) struct Put {
    pub(crate) slot: Slot,
    pub(crate) record: Vec<u8>,
}

impl Commit {
    pub(crate) fn new(
        tag: NamespaceTag,
        erased: Vec<NamespaceTag>,
        expectations: Vec<(RecordId, Option<u64>)>,
        changes: Vec<(RecordId, Option<Put>)>,
        ack: Ack,
    ) -> Self {
        Self { tag, erased, expectations, changes, ack }
    }

    pub(crate) fn erasing(tag: NamespaceTag, ack: Ack) -> Self {
        Self::new(tag, vec![tag], Vec::new(), Vec::new(), ack)
    }

    /// What it costs in a batch, without the records that it erases.
    fn bytes(&self) -> usize {
        self.changes.iter().map(|(_, put)| OP_BYTES + put.as_ref().map_or(0, |put| put.record.len())).sum()
    }
}

/// Writes the store. One per store; nothing is committed unless it runs.
pub struct Committer {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Taken from the queue, but for the next group.
    held: VecDeque<Job>,
}

/// What goes to the host together.
struct Group {
    plan: Plan,
    records: ById<Vec<u8>>,
    bytes: usize,
    /// Who is told what, once the group is durable.
    acks: Vec<(Ack, Result<u64, StoreError>)>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, jobs: mpsc::UnboundedReceiver<Job>) -> Self {
        Self { shared, jobs, held: VecDeque::new() }
    }

    /// Commits until the store is closed, or until a failed batch leaves its state unknown.
    pub async fn run(mut self, backend: impl Backend) {
        while let Some(job) = self.next().await {
            match job {
                Job::Commit(first) => {
                    let group = self.group(first);
                    if self.write(&backend, group).await.is_err() {
                        return;
                    }
                }
                Job::Close(ack) => {
                    let closed = self.close(&backend).await;
                    self.shared.state().ended.get_or_insert(StoreError::Closed);
                    // A caller that went away needs no answer.
                    drop(ack.send(closed));
                    return;
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Job> {
        match self.held.pop_front() {
            Some(job) => Some(job),
            None => self.jobs.next().await,
        }
    }

    /// Merges what waits in the queue into one group, in order.
    fn group(&mut self, first: Commit) -> Group {
        let shared = self.shared.clone();
        let state = shared.state();
        let mut group =
            Group { plan: Plan::new(&state.table), records: ById::default(), bytes: 0, acks: Vec::new() };
        let mut next = Some(first);
        while let Some(commit) = next.take() {
            if let Some(too_much) = group.take(&shared, &state, commit) {
                self.held.push_front(Job::Commit(too_much));
                break;
            }
            if group.bytes >= GROUP_BYTES {
                break;
            }
            match self.held.pop_front().or_else(|| self.jobs.try_recv().ok()) {
                Some(Job::Commit(commit)) => next = Some(commit),
                Some(close) => self.held.push_front(close),
                None => {}
            }
        }
        group
    }

    /// Makes a group durable and tells everybody. `Err` when it is not known what the host has.
    async fn write(&mut self, backend: &impl Backend, group: Group) -> Result<(), ()> {
        let Group { plan, records, acks, .. } = group;
        let sealed = {
            let mut state = self.shared.state();
            let mut ops = plan.ops(&state.table, records);
            if ops.is_empty() {
                drop(state);
                tell(acks);
                return Ok(());
            }
            let sealed = self.next_head(&mut state, Some(&plan));
            if let Ok((_, sealed_head)) = &sealed {
                ops.push(Op::Put { id: HEAD_ID, value: sealed_head.clone() });
                state.in_flight = Some(InFlight { plan, waiting: Vec::new() });
            }
            sealed.map(|(head, sealed_head)| (head, sealed_head, ops))
        };
        let (head, sealed_head, ops) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                fail(acks, &error);
                return Ok(());
            }
        };
        let written = backend.batch(ops).await;
        let settled = match written {
            Ok(()) => {
                self.settle(Some((head, sealed_head)));
                tell(acks);
                return Ok(());
            }
            Err(error) => self.reconcile(backend, error).await,
        };
        if settled == StoreError::Unsettled {
            self.shared.state().ended = Some(StoreError::Unsettled);
        }
        self.settle(None);
        fail(acks, &settled);
        if settled == StoreError::Unsettled { Err(()) } else { Ok(()) }
    }

    /// After a failed batch: the host's head says whether it has the old state or the new one. The old one:
    /// the batch did not happen and the store goes on. Anything else: a batch that was not acknowledged may or
    /// may not be durable, and only a restart, which reads everything again, can tell.
    async fn reconcile(&self, backend: &impl Backend, error: BackendError) -> StoreError {
        let found = backend.get(HEAD_ID).await;
        let before = match found {
            Ok(Some(head)) => head == self.shared.state().sealed_head,
            Ok(None) | Err(_) => false,
        };
        if before { error.into() } else { StoreError::Unsettled }
    }

    /// Ends the batch in flight, takes it over if it became durable, and wakes those who wait for that.
    fn settle(&self, durable: Option<(Head, Vec<u8>)>) {
        let mut state = self.shared.state();
        let Some(InFlight { plan, waiting }) = state.in_flight.take() else { return };
        if let Some((head, sealed_head)) = durable {
            state.table.apply(plan);
            state.head = head;
            state.sealed_head = sealed_head;
        }
        drop(state);
        drop(waiting);
    }

    /// The head behind the last one. Its counter is used up even if the batch fails.
    fn next_head(&self, state: &mut State, plan: Option<&Plan>) -> Result<(Head, Vec<u8>), StoreError> {
        let salt = self.shared.salt()?;
        state.head.counter += 1;
        let (records, multiset) = match plan {
            Some(plan) => (plan.records(), plan.multiset()),
            None => (state.table.records(), state.table.multiset()),
        };
        let head = Head {
            counter: state.head.counter,
            records,
            next_version: self.shared.next_version(),
            unix_ns: state.head.unix_ns.max(self.shared.platform.host_time().unix_ns),
            multiset,
        };
        let sealed = head.seal(&self.shared.root, &self.shared.anchor, &salt);
        Ok((head, sealed))
    }

    async fn close(&mut self, backend: &impl Backend) -> Result<(), StoreError> {
        let (head, value) = {
            let mut state = self.shared.state();
            self.next_head(&mut state, None)?
        };
        backend.batch(vec![Op::Put { id: HEAD_ID, value: value.clone() }]).await?;
        let mut state = self.shared.state();
        state.head = head;
        state.sealed_head = value;
        Ok(())
    }
}

impl Drop for Committer {
    /// However it ended: nobody may wait for it.
    fn drop(&mut self) {
        let in_flight = {
            let mut state = self.shared.state();
            let in_flight = state.in_flight.take();
            let why = if in_flight.is_some() { StoreError::Unsettled } else { StoreError::Closed };
            state.ended.get_or_insert(why);
            in_flight
        };
        drop(in_flight);
    }
}

impl Group {
    /// Adds a commit, or gives it back if the group has no room for it.
    fn take(&mut self, shared: &Shared, state: &State, commit: Commit) -> Option<Commit> {
        let mut erased = Vec::new();
        for tag in &commit.erased {
            let live = self.plan.live(&state.table, tag);
            erased.extend(live.into_iter().map(|id| (*tag, id)));
        }
        let bytes = commit.bytes() + erased.len() * OP_BYTES;
        if self.bytes > 0 && self.bytes + bytes > MAX_BATCH {
            return Some(commit);
        }
        let admitted = check("a batch", bytes, MAX_BATCH).and_then(|()| self.admit(state, &commit));
        let Commit { tag, changes, ack, .. } = commit;
        if admitted.is_ok() {
            self.bytes += bytes;
            for (tag, id) in &erased {
                self.plan.set(&state.table, &shared.root, *tag, *id, None);
            }
            for (id, put) in changes {
                self.plan.set(&state.table, &shared.root, tag, id, put.as_ref().map(|put| put.slot));
                if let Some(put) = put {
                    self.records.insert(id, put.record);
                }
            }
        }
        // Told when the group is durable, for what it says may rest on earlier members of the group.
        self.acks.push((ack, admitted.map(|()| erased.len() as u64)));
        None
    }

    /// Whether a commit's expectations hold and its namespace has room for it.
    fn admit(&self, state: &State, commit: &Commit) -> Result<(), StoreError> {
        let slot = |id| self.plan.slot(&state.table, &commit.tag, id);
        for (id, expected) in &commit.expectations {
            if slot(id).map(|slot| slot.version) != *expected {
                return Err(StoreError::Conflict);
            }
        }
        let quota = Quota::in_force(state.quotas.get(&commit.tag));
        let before = self.plan.usage(&state.table, &commit.tag);
        let erases_itself = commit.erased.contains(&commit.tag);
        let mut after = if erases_itself { Usage::default() } else { before };
        for (id, put) in &commit.changes {
            if let Some(old) = slot(id).filter(|_| !erases_itself) {
                after.records = after.records.saturating_sub(1);
                after.bytes = after.bytes.saturating_sub(u64::from(old.bytes));
            }
            if let Some(put) = put {
                after.records += 1;
                after.bytes += u64::from(put.slot.bytes);
            }
        }
        let bounds = [
            ("records", before.records, after.records, quota.records),
            ("bytes", before.bytes, after.bytes, quota.bytes),
        ];
        // A namespace that is over its quota may still shrink.
        match bounds.into_iter().find(|(_, before, after, most)| after > most && after > before) {
            Some((what, _, after, most)) => Err(StoreError::Quota { what, after, most }),
            None => Ok(()),
        }
    }
}

fn tell(acks: Vec<(Ack, Result<u64, StoreError>)>) {
    for (ack, result) in acks {
        // A caller that went away needs no answer.
        drop(ack.send(result));
    }
}

fn fail(acks: Vec<(Ack, Result<u64, StoreError>)>, error: &StoreError) {
    for (ack, _) in acks {
        drop(ack.send(Err(error.clone())));
    }
}
