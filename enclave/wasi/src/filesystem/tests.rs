//! The filesystem against a simple model, over a store in memory that can be made to fail, hang and crash.

mod durability;
mod model;
mod operations;
mod space;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use enclave_platform::RandomError;
use futures_lite::future::{block_on, poll_once};
use proptest::prelude::*;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError};

use super::chunks::{At, MAX_FILE, MAX_TRANSFER};
use super::record::{CHUNK, Entry, Kind};
use super::storage::{BoxFuture, Changes, Outside, Storage};
use super::streams::{FileReader, FileWriter};
use super::*;

/// A store in memory, with the world around it.
#[derive(Default)]
struct Fake {
    records: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    commits: Mutex<Vec<usize>>,
    fetches: AtomicUsize,
    broken: AtomicBool,
    full: AtomicBool,
    /// Tasks are kept until [`Fake::run_tasks`], not run at once.
    lazy: AtomicBool,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    ids: AtomicU64,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Fake::default())
    }

    /// A call over its own cache, as after a restart.
    fn restart(self: &Arc<Self>) -> CallFiles {
        self.call(Arc::default())
    }

    fn call(self: &Arc<Self>, cache: Arc<Cache>) -> CallFiles {
        CallFiles::new(cache, World { storage: self.clone(), outside: self.clone() })
    }

    fn run_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.into_iter().for_each(block_on);
    }

    fn set(&self, flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::Relaxed);
    }

    fn commits(&self) -> usize {
        self.commits.lock().unwrap().len()
    }

    fn keys(&self, tag: u8) -> usize {
        self.records.lock().unwrap().keys().filter(|key| key[4] == tag).count()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
struct Broken;

impl Storage for Fake {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StorageFailure>> {
        Box::pin(async move {
            self.fetches.fetch_add(1, Ordering::Relaxed);
            // Never at once, so that no operation can rely on it.
            futures_lite::future::yield_now().await;
            Ok(self.records.lock().unwrap().get(key).cloned())
        })
    }

    fn exists(&self, key: &[u8]) -> bool {
        self.records.lock().unwrap().contains_key(key)
    }

    fn commit(&self, changes: Changes) -> BoxFuture<'_, Result<(), StorageFailure>> {
        Box::pin(async move {
            futures_lite::future::yield_now().await;
            if self.broken.load(Ordering::Relaxed) {
                return Err(StorageFailure::Unavailable(Arc::new(Broken)));
            }
            if self.full.load(Ordering::Relaxed) {
                return Err(StorageFailure::Full);
            }
            self.commits.lock().unwrap().push(changes.len());
            let mut records = self.records.lock().unwrap();
            for (key, value) in changes {
                assert!(value.as_ref().is_none_or(|value| value.len() <= 128 << 10), "record too large");
                match value {
                    Some(value) => drop(records.insert(key, value)),
                    None => drop(records.remove(&key)),
                }
            }
            Ok(())
        })
    }
}

impl Outside for Fake {
    fn now(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn random_id(&self) -> Result<[u8; 16], RandomError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(u128::from(id).to_be_bytes())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        if self.lazy.load(Ordering::Relaxed) {
            self.tasks.lock().unwrap().push(task);
        } else {
            block_on(task);
        }
    }
}

/// Shorthand for tests: everything from the root, by path.
impl CallFiles {
    async fn open_file(&self, path: &str, how: tree::Open) -> Result<OpenFile, FsError> {
        let slot = self.open_slot()?;
        let new = self.new_id()?;
        let (entry, changed) =
            self.call.cache.run(&self.call.world, |tx| tree::open(tx, FileId::ROOT, path, how, new)).await?;
        self.note(changed);
        assert_eq!(entry.kind, Kind::File);
        Ok(OpenFile { id: entry.id, slot })
    }

    async fn write_at(&self, id: FileId, at: At, bytes: &[u8]) -> Result<u64, FsError> {
        let mut end = 0;
        let mut done = 0;
        for part in bytes.chunks(MAX_TRANSFER) {
            let at = match at {
                At::Offset(offset) => At::Offset(offset + done),
                At::End => At::End,
            };
            let part = Bytes::copy_from_slice(part);
            end = self.run(|tx| chunks::write(tx, id, at, &part)).await?;
            done += part.len() as u64;
        }
        Ok(end)
    }

    async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<(), FsError> {
        let how = tree::Open { create: true, truncate: true, write: true, ..Default::default() };
        let file = self.open_file(path, how).await?;
        self.write_at(file.id, At::Offset(0), bytes).await?;
        Ok(())
    }

    async fn read_id(&self, id: FileId) -> Result<Vec<u8>, FsError> {
        let mut all = Vec::new();
        loop {
            let offset = all.len() as u64;
            let (part, end) = self.run(|tx| chunks::read(tx, id, offset, u64::MAX)).await?;
            all.extend_from_slice(&part);
            if end {
                return Ok(all);
            }
        }
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FsError> {
        let file = self.open_file(path, tree::Open::default()).await?;
        self.read_id(file.id).await
    }

    async fn names(&self, path: &str) -> Result<Vec<String>, FsError> {
        let Entry { id, .. } = self.run(|tx| tree::existing(tx, FileId::ROOT, path)).await?;
        let mut after = None;
        let mut names = Vec::new();
        while let Some((at, _)) = self.run(|tx| tree::next_entry(tx, id, after.as_ref())).await? {
            names.push(at.1.clone());
            after = Some(at);
        }
        names.sort();
        Ok(names)
    }

    async fn make_directory(&self, path: &str) -> Result<(), FsError> {
        let id = self.new_id()?;
        self.run(|tx| tree::make_directory(tx, FileId::ROOT, path, id)).await
    }

    async fn remove_directory(&self, path: &str) -> Result<(), FsError> {
        self.run(|tx| tree::remove_directory(tx, FileId::ROOT, path)).await
    }

    async fn unlink(&self, path: &str) -> Result<(), FsError> {
        self.run(|tx| tree::unlink(tx, FileId::ROOT, path)).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        self.run(|tx| tree::rename(tx, FileId::ROOT, from, FileId::ROOT, to)).await
    }
}

fn code<T>(result: Result<T, FsError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(FsError::Code(code)) => code,
        Err(error) => panic!("{error}"),
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 31 + seed * 7 + n / 251) % 256) as u8).collect()
}

/// Makes `count` open files of `size` bytes, writes one byte at the end of each, and takes their names away.
async fn sparse_orphans(call: &CallFiles, count: usize, size: u64) -> Vec<OpenFile> {
    let how = tree::Open { create: true, write: true, ..Default::default() };
    let mut files = Vec::new();
    for n in 0..count {
        let file = call.open_file(&format!("f{n}"), how).await.unwrap();
        call.run(|tx| chunks::resize(tx, file.id, size)).await.unwrap();
        call.write_at(file.id, At::Offset(size - 1), b"!").await.unwrap();
        call.unlink(&format!("f{n}")).await.unwrap();
        files.push(file);
    }
    files
}
