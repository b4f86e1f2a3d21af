//! Records of one application in memory: shared by all its calls, like a kernel's page cache.
//!
//! An operation is a function over a [`Transaction`]. It reads and writes records as if they all were in
//! memory; when one is not, the function stops, the record is fetched, and it runs again from its start. Its
//! writes are applied together when it returns, under one lock that is never held across an await: operations
//! are atomic towards each other, and dropping a call at any point leaves whole records behind.
//!
//! Changed records are marked with the current epoch. A commit takes a snapshot of all of them, ends the
//! epoch, and writes the snapshot as one batch, so that what is in the store is at all times a state the
//! filesystem was in. One commit runs at a time, in a task of its own that outlives the call that started
//! it; calls that ask meanwhile share the next one.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_lite::future::yield_now;
use wasmtime_wasi_io::bytes::Bytes;

use super::record::{Body, FileId, Inode, Key, Record};
use super::storage::{Changes, Outside, Storage, StorageFailure};
use super::{ErrorCode, FsError};

/// Changed and not yet durable: beyond this, a writer waits for a commit before its change is applied.
const DIRTY_BYTES: usize = 2 << 20;
/// Kept in memory while calls run. The least recently used clean records go first.
const CACHE_BYTES: usize = 6 << 20;
/// Kept in memory when no call runs.
const IDLE_BYTES: usize = 256 << 10;
/// Files waiting to be erased: beyond this, whoever would add one helps to erase them first.
const GARBAGE_FILES: usize = 64;
/// An operation that begins anew more often lets others run each time.
const ATTEMPTS: usize = 8;
/// What a record costs beside its contents.
const RECORD_OVERHEAD: usize = 128;

/// Why an operation stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It needs this record.
    Missing(Key),
    /// It changes something, and too much is not durable yet.
    NoRoom,
    /// It leaves a file to erase, and too many are waiting already.
    TooMuchGarbage,
    /// It cuts more than one operation may off this file.
    TooMuchToCut {
        /// The file.
        id: FileId,
        /// Its size afterwards.
        to: u64,
    },
    /// It cannot be done.
    Refused(ErrorCode),
}

impl From<ErrorCode> for Stop {
    fn from(code: ErrorCode) -> Self {
        Stop::Refused(code)
    }
}

/// The world of one call.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) outside: Arc<dyn Outside>,
}

/// The shared half of a filesystem.
#[derive(Default)]
pub(crate) struct Cache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// Records being fetched: they are not evicted, so that what arrives late cannot be older than what left.
    fetching: HashMap<Key, u32>,
    open: HashMap<FileId, u32>,
    /// Orphans that are not open: what is left of them is erased part by part.
    garbage: VecDeque<FileId>,
    /// A task erases them.
    reclaiming: bool,
    /// Nothing is erased until a call starts.
    settled: bool,
    /// Nothing is committed until a call starts.
    abandoned: bool,
    bytes: usize,
    dirty_bytes: usize,
    tick: u64,
    calls: usize,
    mounted: bool,
    /// Epochs that have ended. Changes made now belong to epoch `ended + 1`.
    ended: u64,
    /// The last epoch in which something was changed.
    changed: u64,
    /// Everything up to this epoch is durable.
    durable: u64,
    committing: bool,
    failure: Option<Failure>,
    failures: u64,
    waiting: Vec<Waker>,
}

struct Slot {
    /// `None`: known to be absent, or deleted.
    record: Option<Record>,
    /// The epoch of the last change that is not durable.
    dirty: Option<u64>,
    used: u64,
}

impl Slot {
    fn weight(&self) -> usize {
        RECORD_OVERHEAD + self.record.as_ref().map_or(0, Record::weight)
    }
}

struct Failure {
    number: u64,
    up_to: u64,
    why: StorageFailure,
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `operation` until it has all it needs, and applies it. The second value is the epoch of its
    /// changes, if it made any.
    pub(crate) async fn run<R>(
        self: &Arc<Self>,
        world: &World,
        mut operation: impl FnMut(&mut Transaction<'_>) -> Result<R, Stop>,
    ) -> Result<(R, Option<u64>), FsError> {
        let mut room = Room::Needed;
        let mut attempts = 0_usize;
        loop {
            match self.attempt_with(world, &room, &mut operation) {
                Ok(done) => return Ok(done),
                Err(Stop::TooMuchGarbage) => self.reclaim_some(world).await?,
                Err(Stop::TooMuchToCut { id, to }) => {
                    self.part(world, |tx| super::chunks::cut_some(tx, id, to)).await?;
                }
                Err(stop) => self.provide(world, stop, &mut room).await?,
            }
            // What needs many records begins many times.
            attempts += 1;
            if attempts > ATTEMPTS {
                yield_now().await;
            }
        }
    }

    /// Runs `operation` if it need not wait for anything.
    pub(crate) fn attempt<R>(
        &self,
        world: &World,
        operation: &mut impl FnMut(&mut Transaction<'_>) -> Result<R, Stop>,
    ) -> Result<(R, Option<u64>), Stop> {
        self.attempt_with(world, &Room::Needed, operation)
    }

    fn attempt_with<R>(
        &self,
        world: &World,
        room: &Room,
        operation: &mut impl FnMut(&mut Transaction<'_>) -> Result<R, Stop>,
    ) -> Result<(R, Option<u64>), Stop> {
        let mut state = self.state();
        if !state.mounted {
            // Nothing is open yet: all orphans are garbage.
            let orphans = super::chunks::orphans(&mut Transaction::new(&mut state, world))?;
            state.garbage = orphans.into();
            state.mounted = true;
        }
        let mut transaction = Transaction::new(&mut state, world);
        let result = operation(&mut transaction)?;
        if transaction.lacks_room(room) {
            return Err(Stop::NoRoom);
        }
        let changed = transaction.apply();
        state.evict(CACHE_BYTES);
        Ok((result, changed))
    }

    /// Removes the cause of a stop, or says why it cannot be.
    async fn provide(self: &Arc<Self>, world: &World, stop: Stop, room: &mut Room) -> Result<(), FsError> {
        match stop {
            Stop::Missing(key) => self.fetch(world, key).await,
            Stop::Refused(code) => Err(FsError::Code(code)),
            Stop::TooMuchGarbage | Stop::TooMuchToCut { .. } => Ok(()),
            Stop::NoRoom => {
                if let Room::ForMore(full) = room {
                    return Err(FsError::Storage(full.clone()));
                }
                match self.commit(world, self.last_change()).await {
                    // What cannot be stored until something is deleted must not keep it from being deleted.
                    Err(full) if full.is_full() => {
                        *room = Room::ForMore(full);
                        Ok(())
                    }
                    result => Ok(result?),
                }
            }
        }
    }

    /// Erases a part of what nobody can reach any more.
    async fn reclaim_some(self: &Arc<Self>, world: &World) -> Result<(), FsError> {
        self.part(world, super::chunks::reclaim).await
    }

    /// Does a part of something large, then lets others run.
    async fn part(
        self: &Arc<Self>,
        world: &World,
        mut part: impl FnMut(&mut Transaction<'_>) -> Result<(), Stop>,
    ) -> Result<(), FsError> {
        let mut room = Room::Needed;
        while let Err(stop) = self.attempt_with(world, &room, &mut part) {
            self.provide(world, stop, &mut room).await?;
        }
        yield_now().await;
        Ok(())
    }

    /// The right to erase what nobody can reach any more, if there is something and nobody does it yet.
    pub(crate) fn start_reclaiming(self: &Arc<Self>) -> Option<Reclaiming> {
        let mut state = self.state();
        if state.reclaiming || state.settled || state.garbage.is_empty() {
            return None;
        }
        state.reclaiming = true;
        Some(Reclaiming { cache: self.clone(), ended: false })
    }

    /// Makes durable everything that was changed. Nothing changes any more until a call starts.
    pub(crate) async fn settle(self: &Arc<Self>, world: &World) -> Result<(), StorageFailure> {
        self.state().settled = true;
        let epoch = self.last_change();
        let settled = self.commit(world, epoch).await;
        if settled.is_err() {
            self.state().settled = false;
        }
        settled
    }

    /// Keeps everything that was changed from the store, and waits for a commit under way to end. This lasts
    /// until a call starts.
    pub(crate) async fn abandon(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            state.settled = true;
            state.abandoned = true;
            if !state.committing {
                return Poll::Ready(());
            }
            state.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    async fn fetch(&self, world: &World, key: Key) -> Result<(), FsError> {
        let fetching = Fetching::start(self, key);
        let value = world.storage.get(&key.to_bytes()).await.map_err(FsError::Storage)?;
        let record = value.map(|bytes| Record::decode(key, &bytes)).transpose()?;
        let mut state = self.state();
        let used = state.next_tick();
        if !state.slots.contains_key(&key) {
            let slot = Slot { record, dirty: None, used };
            state.bytes += slot.weight();
            state.slots.insert(key, slot);
        }
        drop(state);
        drop(fetching);
        Ok(())
    }

    /// The last epoch with changes, whoever made them.
    pub(crate) fn last_change(&self) -> u64 {
        self.state().changed
    }

    pub(crate) fn is_durable(&self, epoch: u64) -> bool {
        self.state().durable >= epoch
    }

    /// Returns when everything changed up to `epoch` is durable, or the attempt to make it so failed.
    pub(crate) async fn commit(self: &Arc<Self>, world: &World, epoch: u64) -> Result<(), StorageFailure> {
        let failures = self.state().failures;
        poll_fn(|cx| {
            let mut state = self.state();
            if state.durable >= epoch {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = &state.failure
                && failure.number > failures
                && failure.up_to >= epoch
            {
                return Poll::Ready(Err(failure.why.clone()));
            }
            if !state.committing && state.abandoned {
                return Poll::Ready(Err(StorageFailure::Unavailable(Arc::new(Abandoned))));
            }
            state.wait(cx.waker());
            if !state.committing {
                state.committing = true;
                let (changes, up_to) = state.snapshot();
                let running = Running { cache: self.clone(), up_to, done: false };
                let storage = world.storage.clone();
                drop(state);
                world.outside.spawn(Box::pin(async move {
                    let result = storage.commit(changes).await;
                    running.finish(result);
                }));
            }
            Poll::Pending
        })
        .await
    }

    pub(crate) fn call_starts(&self) {
        let mut state = self.state();
        state.calls += 1;
        state.settled = false;
        state.abandoned = false;
    }

    pub(crate) fn call_ends(&self) {
        let mut state = self.state();
        state.calls -= 1;
        if state.calls == 0 {
            state.evict(IDLE_BYTES);
        }
    }

    /// One open handle of `id` less. After the last one, a file that has no name any more is garbage.
    pub(crate) fn release(&self, id: FileId) {
        let mut state = self.state();
        let Some(count) = state.open.get_mut(&id) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        state.open.remove(&id);
        let orphaned = matches!(
            state.slots.get(&Key::Orphans),
            Some(Slot { record: Some(Record::Orphans(ids)), .. }) if ids.contains(&id)
        );
        if orphaned {
            state.garbage.push_back(id);
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let state = self.state();
        (state.bytes, state.dirty_bytes)
    }
}

impl State {
    fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn snapshot(&mut self) -> (Changes, u64) {
        self.ended += 1;
        let changes = self.slots.iter().filter(|(_, slot)| slot.dirty.is_some());
        let changes = changes.map(|(key, slot)| (key.to_bytes(), slot.record.as_ref().map(Record::encode)));
        (changes.collect(), self.ended)
    }

    fn committed(&mut self, up_to: u64) {
        let mut dirty_bytes = 0;
        for slot in self.slots.values_mut() {
            if slot.dirty.is_some_and(|epoch| epoch <= up_to) {
                slot.dirty = None;
            } else if slot.dirty.is_some() {
                dirty_bytes += slot.weight();
            }
        }
        self.dirty_bytes = dirty_bytes;
        self.durable = up_to;
        self.evict(if self.calls == 0 { IDLE_BYTES } else { CACHE_BYTES });
    }

    /// Forgets clean records until at most three quarters of `limit` are kept, oldest first.
    fn evict(&mut self, limit: usize) {
        if self.bytes <= limit || self.bytes - self.dirty_bytes <= limit / 4 {
            return;
        }
        let clean = self.slots.iter().filter(|(key, slot)| {
            slot.dirty.is_none() && !self.fetching.contains_key(*key) && **key != Key::Orphans
        });
        let mut clean: Vec<(u64, Key)> = clean.map(|(key, slot)| (slot.used, *key)).collect();
        clean.sort_unstable();
        for (_, key) in clean {
            if self.bytes <= limit / 4 * 3 {
                break;
            }
            if let Some(slot) = self.slots.remove(&key) {
                self.bytes -= slot.weight();
            }
        }
    }

    /// Replaces what is kept under `key` by a changed record.
    fn change(&mut self, key: Key, change: impl FnOnce(&mut Option<Record>)) {
        let used = self.next_tick();
        let epoch = self.ended + 1;
        self.changed = epoch;
        let slot = self.slots.entry(key).or_insert_with(|| {
            self.bytes += RECORD_OVERHEAD;
            Slot { record: None, dirty: None, used }
        });
        let before = slot.weight();
        change(&mut slot.record);
        let after = slot.weight();
        self.bytes = self.bytes - before + after;
        self.dirty_bytes += if slot.dirty.is_some() { after } else { 0 };
        self.dirty_bytes -= if slot.dirty.is_some() { before } else { 0 };
        self.dirty_bytes += if slot.dirty.is_none() { after } else { 0 };
        slot.dirty = Some(epoch);
        slot.used = used;
    }
}

/// A fetch under way, also when it is dropped half-way.
struct Fetching<'a> {
    cache: &'a Cache,
    key: Key,
}

impl<'a> Fetching<'a> {
    fn start(cache: &'a Cache, key: Key) -> Self {
        *cache.state().fetching.entry(key).or_default() += 1;
        Fetching { cache, key }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(count) = state.fetching.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.fetching.remove(&self.key);
            }
        }
    }
}

/// A commit under way, also when its task is dropped half-way.
struct Running {
    cache: Arc<Cache>,
    up_to: u64,
    done: bool,
}

/// The task of a commit was dropped before its end.
#[derive(Debug, thiserror::Error)]
#[error("the enclave is stopping")]
struct Stopping;

impl Running {
    fn finish(mut self, result: Result<(), StorageFailure>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<(), StorageFailure>) {
        self.done = true;
        let mut state = self.cache.state();
        state.committing = false;
        match result {
            Ok(()) => state.committed(self.up_to),
            Err(why) => {
                state.failures += 1;
                state.failure = Some(Failure { number: state.failures, up_to: self.up_to, why });
            }
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            self.end(Err(StorageFailure::Unavailable(Arc::new(Stopping))));
        }
    }
}

/// The records are about to be erased.
#[derive(Debug, thiserror::Error)]
#[error("the application is being unloaded or replaced")]
struct Abandoned;

/// The one task that erases garbage, also when it is dropped half-way.
pub(crate) struct Reclaiming {
    cache: Arc<Cache>,
    ended: bool,
}

impl Reclaiming {
    pub(crate) async fn run(mut self, world: World) {
        while self.goes_on() {
            if self.cache.reclaim_some(&world).await.is_err() {
                // What is left is erased with the next garbage, or at the next start.
                return;
            }
        }
    }

    /// Under one lock, so that garbage made meanwhile is not left to nobody.
    fn goes_on(&mut self) -> bool {
        let mut state = self.cache.state();
        let goes_on = !state.settled && !state.garbage.is_empty();
        if !goes_on {
            state.reclaiming = false;
            self.ended = true;
        }
        goes_on
    }
}

impl Drop for Reclaiming {
    fn drop(&mut self) {
        if !self.ended {
            self.cache.state().reclaiming = false;
        }
    }
}

/// What an operation needs to be applied while too much is not durable yet.
enum Room {
    /// A commit.
    Needed,
    /// Commits fail because there is no room, as is said here: only what makes room for more is applied.
    ForMore(StorageFailure),
}

/// One operation's view of the records.
pub(crate) struct Transaction<'a> {
    state: &'a mut State,
    world: &'a World,
    now: u64,
    writes: HashMap<Key, Option<Record>>,
    patches: Vec<Patch>,
    opened: Vec<FileId>,
    garbage: Vec<FileId>,
    /// Nothing is left of [`Transaction::next_garbage`].
    erased: bool,
}

enum Patch {
    /// Bytes to put into a chunk.
    Write { key: Key, at: usize, bytes: Bytes },
    /// The length to cut a chunk to.
    Cut { key: Key, length: usize },
}

impl<'a> Transaction<'a> {
    fn new(state: &'a mut State, world: &'a World) -> Self {
        Transaction {
            state,
            world,
            now: world.outside.now(),
            writes: HashMap::new(),
            patches: Vec::new(),
            opened: Vec::new(),
            garbage: Vec::new(),
            erased: false,
        }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The record of `key`, `None` if there is none.
    pub(crate) fn get(&mut self, key: Key) -> Result<Option<&Record>, Stop> {
        self.find_absent(key);
        if let Some(record) = self.writes.get(&key) {
            return Ok(record.as_ref());
        }
        let used = self.state.next_tick();
        match self.state.slots.get_mut(&key) {
            Some(slot) => {
                slot.used = used;
                Ok(slot.record.as_ref())
            }
            None => Err(Stop::Missing(key)),
        }
    }

    /// Keeps in mind that there is no record of `key`, if the store knows that without asking the host.
    fn find_absent(&mut self, key: Key) {
        if self.writes.contains_key(&key)
            || self.state.slots.contains_key(&key)
            || self.world.storage.exists(&key.to_bytes())
        {
            return;
        }
        let slot = Slot { record: None, dirty: None, used: 0 };
        self.state.bytes += slot.weight();
        self.state.slots.insert(key, slot);
    }

    pub(crate) fn put(&mut self, key: Key, record: Record) {
        self.writes.insert(key, Some(record));
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    /// Deletes the record of `key` if there is one, which need not be in memory.
    pub(crate) fn delete_existing(&mut self, key: Key) {
        let exists = match self.state.slots.get(&key) {
            Some(slot) => slot.record.is_some(),
            None => self.world.storage.exists(&key.to_bytes()),
        };
        if exists {
            self.delete(key);
        }
    }

    /// The inode of `id`. The root always has one; another that is gone has no entry.
    pub(crate) fn inode(&mut self, id: FileId) -> Result<Inode, Stop> {
        match self.get(Key::Inode(id))? {
            Some(Record::Inode(inode)) => Ok(*inode),
            _ if id == FileId::ROOT => {
                Ok(Inode::new(Body::Directory { parent: FileId::ROOT, entries: 0 }, 0))
            }
            _ => Err(Stop::Refused(ErrorCode::NoEntry)),
        }
    }

    pub(crate) fn put_inode(&mut self, id: FileId, inode: Inode) {
        self.put(Key::Inode(id), Record::Inode(inode));
    }

    /// Puts `bytes` at `at` into the chunk of `key`, which is in memory, or about to be replaced.
    pub(crate) fn write_chunk(&mut self, key: Key, at: usize, bytes: Bytes) {
        self.patches.push(Patch::Write { key, at, bytes });
    }

    /// Cuts the chunk of `key`, which is in memory.
    pub(crate) fn cut_chunk(&mut self, key: Key, length: usize) {
        self.patches.push(Patch::Cut { key, length });
    }

    /// One open handle of `id` more.
    pub(crate) fn retain(&mut self, id: FileId) {
        self.opened.push(id);
    }

    pub(crate) fn is_open(&self, id: FileId) -> bool {
        self.state.open.contains_key(&id)
    }

    /// A file that nobody has open and that has just become an orphan.
    pub(crate) fn add_garbage(&mut self, id: FileId) -> Result<(), Stop> {
        if self.state.garbage.len() >= GARBAGE_FILES {
            return Err(Stop::TooMuchGarbage);
        }
        self.garbage.push(id);
        Ok(())
    }

    /// The orphan to erase next.
    pub(crate) fn next_garbage(&self) -> Option<FileId> {
        self.state.garbage.front().copied().filter(|_| !self.state.settled)
    }

    /// Nothing is left of it.
    pub(crate) fn garbage_is_erased(&mut self) {
        self.erased = true;
    }

    fn has_changes(&self) -> bool {
        !self.writes.is_empty() || !self.patches.is_empty()
    }

    fn lacks_room(&self, room: &Room) -> bool {
        let makes_room = || {
            !self.garbage.is_empty()
                || self.writes.values().any(Option::is_none)
                || self.patches.iter().any(|patch| matches!(patch, Patch::Cut { .. }))
        };
        self.has_changes()
            && self.state.dirty_bytes > DIRTY_BYTES
            && !(matches!(room, Room::ForMore(_)) && makes_room())
    }

    fn apply(self) -> Option<u64> {
        let changes = self.has_changes();
        for (key, record) in self.writes {
            self.state.change(key, |slot| *slot = record);
        }
        for patch in self.patches {
            match patch {
                Patch::Write { key, at, bytes } => self.state.change(key, |record| {
                    let mut chunk = match record.take() {
                        Some(Record::Chunk(chunk)) => chunk,
                        _ => Vec::new(),
                    };
                    let end = at + bytes.len();
                    if chunk.len() < end {
                        chunk.resize(end, 0);
                    }
                    if let Some(into) = chunk.get_mut(at..end) {
                        into.copy_from_slice(&bytes);
                    }
                    *record = Some(Record::Chunk(chunk));
                }),
                Patch::Cut { key, length } => self.state.change(key, |record| {
                    if let Some(Record::Chunk(chunk)) = record {
                        chunk.truncate(length);
                        chunk.shrink_to_fit();
                    }
                }),
            }
        }
        self.state.garbage.extend(self.garbage);
        if self.erased {
            self.state.garbage.pop_front();
        }
        for id in self.opened {
            *self.state.open.entry(id).or_default() += 1;
        }
        changes.then_some(self.state.changed)
    }
}
