//! Buckets against a simple model, over records in memory that can be made to fail, hang and end.

mod durability;
mod model;
mod numbers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use enclave_platform::RandomError;
use futures_lite::future::{block_on, pending, poll_once, yield_now};

use super::plan::{Number, Op, Outcome};
use super::record::Key;
use super::records::{BoxFuture, Changes, Records, Versioned};
use super::writer::Writer;
use super::{CallBuckets, KvError, read};
use crate::filesystem::StorageFailure;
use crate::room::Room;

/// A record's version and value.
type Stored = (u64, Vec<u8>);

/// Records in memory, with the world around them.
#[derive(Default)]
struct Fake {
    records: Mutex<BTreeMap<Vec<u8>, Stored>>,
    versions: AtomicU64,
    /// Records and bytes of each commit.
    commits: Mutex<Vec<(usize, usize)>>,
    fetches: AtomicUsize,
    /// Commits fail.
    broken: AtomicBool,
    /// Bytes that all values may take; 0: any.
    room: AtomicUsize,
    /// Tasks are kept until [`Fake::run_tasks`], not run at once.
    lazy: AtomicBool,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    /// Commits hang once they are handed over; what is in them happens when the next one comes.
    hung: AtomicBool,
    under_way: Mutex<Vec<Changes>>,
    /// What happens before the next fetch of a piece of a value.
    interlude: Mutex<Option<Changes>>,
}

#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
struct Broken;

impl Fake {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A call over a writer of its own, as after a restart.
    fn restart(self: &Arc<Self>) -> Call {
        self.call(&writer(u64::MAX))
    }

    fn call(self: &Arc<Self>, writer: &Arc<Writer>) -> Call {
        Call { buckets: CallBuckets::new(writer.clone(), self.clone()), bucket: "b".into() }
    }

    fn run_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.into_iter().for_each(block_on);
    }

    fn catch_up(&self) {
        let under_way = std::mem::take(&mut *self.under_way.lock().unwrap());
        under_way.into_iter().for_each(|changes| self.apply(changes));
    }

    fn apply(&self, changes: Changes) {
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let mut records = self.records.lock().unwrap();
        for (key, value) in changes {
            assert!(key.len() <= 4096 && value.as_ref().is_none_or(|value| value.len() <= 128 << 10));
            match value {
                Some(value) => drop(records.insert(key, (version, value))),
                None => assert!(records.remove(&key).is_some(), "only what is there is deleted"),
            }
        }
    }

    fn count(&self, kind: u8) -> usize {
        self.records.lock().unwrap().keys().filter(|key| key[4] == kind).count()
    }

    fn last_commit(&self) -> (usize, usize) {
        *self.commits.lock().unwrap().last().unwrap()
    }
}

impl Records for Fake {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Versioned>, StorageFailure>> {
        Box::pin(async move {
            self.fetches.fetch_add(1, Ordering::Relaxed);
            if key[4] == b'p'
                && let Some(changes) = self.interlude.lock().unwrap().take()
            {
                self.apply(changes);
            }
            // Never at once, so that no operation can rely on it.
            yield_now().await;
            let records = self.records.lock().unwrap();
            Ok(records.get(key).cloned().map(|(version, value)| Versioned { version, value }))
        })
    }

    fn version(&self, key: &[u8]) -> Result<Option<u64>, StorageFailure> {
        Ok(self.records.lock().unwrap().get(key).map(|(version, _)| *version))
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            yield_now().await;
            if self.broken.load(Ordering::Relaxed) {
                return Err(StorageFailure::Unavailable(Arc::new(Broken)));
            }
            self.catch_up();
            if self.hung.load(Ordering::Relaxed) {
                self.under_way.lock().unwrap().push(changes);
                return pending().await;
            }
            let bytes = changes.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum();
            let room = self.room.load(Ordering::Relaxed);
            let kept: usize = self.records.lock().unwrap().values().map(|(_, value)| value.len()).sum();
            if room > 0 && kept + bytes > room {
                return Err(StorageFailure::Quota(Arc::new(Broken)));
            }
            self.commits.lock().unwrap().push((changes.len(), bytes));
            self.apply(changes);
            Ok(())
        })
    }

    fn barrier(&self) -> BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            yield_now().await;
            self.catch_up();
            Ok(())
        })
    }

    fn salt(&self) -> Result<[u8; 32], RandomError> {
        Ok([7; 32])
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        if self.lazy.load(Ordering::Relaxed) {
            self.tasks.lock().unwrap().push(task);
        } else {
            block_on(task);
        }
    }
}

fn writer(max_keys: u64) -> Arc<Writer> {
    Arc::new(Writer::new(max_keys, Room::new(64 << 20)))
}

/// A call with one bucket.
struct Call {
    buckets: CallBuckets,
    bucket: Arc<str>,
}

impl Call {
    fn other(&self, bucket: &str) -> Call {
        Call { buckets: self.buckets.clone(), bucket: bucket.into() }
    }

    async fn run(&self, op: Op) -> Result<Outcome, KvError> {
        self.buckets.writer.run(&self.buckets.records, &self.bucket, op).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<Outcome, KvError> {
        self.run(Op::Set(vec![(key.to_owned(), value.to_vec())])).await
    }

    async fn delete(&self, key: &str) -> Result<Outcome, KvError> {
        self.run(Op::Delete(vec![key.to_owned()])).await
    }

    async fn add(&self, key: &str, delta: u64) -> Result<Outcome, KvError> {
        self.run(Op::Add { key: key.to_owned(), delta: Number::Unsigned(delta) }).await
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        read::value(&*self.buckets.records, &self.bucket, key, |_| Ok(()))
            .await
            .unwrap()
            .map(|(_, value)| value)
    }

    fn version(&self, key: &str) -> Option<u64> {
        self.buckets.records.version(&Key::Value(&self.bucket, key).to_bytes()).unwrap()
    }

    async fn page(&self, from: u64) -> (Vec<String>, Option<u64>) {
        read::page(&*self.buckets.records, &self.bucket, from).await.unwrap()
    }

    async fn keys(&self) -> Vec<String> {
        let (mut keys, mut from) = (Vec::new(), Some(0));
        while let Some(cursor) = from {
            let (page, next) = self.page(cursor).await;
            assert!(page.len() <= read::PAGE_KEYS);
            keys.extend(page);
            from = next;
        }
        keys.sort();
        keys
    }
}
