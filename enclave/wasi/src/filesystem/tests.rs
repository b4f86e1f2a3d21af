//! The filesystem against a simple model, over a store in memory that can be made to fail, hang and crash.

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

#[test]
fn what_was_synced_is_there_after_a_restart_and_the_rest_is_not() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("kept", b"one").await.unwrap();
        call.sync().await.unwrap();
        call.write_file("kept", b"two").await.unwrap();
        call.write_file("lost", b"three").await.unwrap();
        // The host dies: nothing more is stored.
        let crashed =
            Fake { records: Mutex::new(fake.records.lock().unwrap().clone()), ..Default::default() };
        let after = Arc::new(crashed).restart();
        assert_eq!(after.read_file("kept").await.unwrap(), b"one");
        assert_eq!(code(after.read_file("lost").await), ErrorCode::NoEntry);
    });
}

#[test]
fn a_call_that_ends_without_a_sync_is_stored_as_well() {
    block_on(async {
        let fake = Fake::new();
        fake.restart().write_file("a", b"1").await.unwrap();
        assert_eq!(fake.restart().read_file("a").await.unwrap(), b"1");
        let call = fake.restart();
        call.write_file("b", b"2").await.unwrap();
        call.flush().await.unwrap();
        let commits = fake.commits();
        drop(call);
        assert_eq!(fake.commits(), commits, "a flushed call leaves nothing to do");
    });
}

#[test]
fn all_calls_see_one_filesystem_at_once() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let (one, two) = (fake.call(cache.clone()), fake.call(cache));
        one.write_file("f", b"mine").await.unwrap();
        assert_eq!(two.read_file("f").await.unwrap(), b"mine");
        let exclusive = tree::Open { create: true, exclusive: true, write: true, ..Default::default() };
        assert_eq!(code(two.open_file("f", exclusive).await.map(drop)), ErrorCode::Exist);
        let file = one.open_file("f", tree::Open::default()).await.unwrap();
        for call in [&one, &two, &one] {
            call.write_at(file.id, At::End, b"+").await.unwrap();
        }
        assert_eq!(two.read_file("f").await.unwrap(), b"mine+++");
    });
}

#[test]
fn calls_that_sync_together_share_a_commit() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let calls: Vec<_> = (0..8).map(|_| fake.call(cache.clone())).collect();
        fake.set(&fake.lazy, true);
        let mut syncs = Vec::new();
        for (n, call) in calls.iter().enumerate() {
            call.write_file(&format!("f{n}"), b"x").await.unwrap();
            let mut sync = Box::pin(call.flush());
            assert!(poll_once(&mut sync).await.is_none());
            syncs.push(sync);
        }
        // The first commit took f0; everything after it goes with the second.
        fake.run_tasks();
        for sync in &mut syncs {
            if poll_once(sync).await.is_none() {
                fake.run_tasks();
            }
        }
        assert_eq!(fake.commits(), 2);
        fake.set(&fake.lazy, false);
        assert_eq!(fake.restart().names(".").await.unwrap().len(), 8);
    });
}

#[test]
fn writes_during_a_commit_belong_to_the_next_one() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.set(&fake.lazy, true);
        call.write_file("f", b"first").await.unwrap();
        let mut sync = Box::pin(call.sync());
        assert!(poll_once(&mut sync).await.is_none());
        call.write_file("f", b"second").await.unwrap();
        fake.run_tasks();
        assert!(matches!(poll_once(&mut sync).await, Some(Ok(()))));
        let snapshot =
            Fake { records: Mutex::new(fake.records.lock().unwrap().clone()), ..Default::default() };
        assert_eq!(Arc::new(snapshot).restart().read_file("f").await.unwrap(), b"first");
        fake.set(&fake.lazy, false);
        call.sync().await.unwrap();
        assert_eq!(fake.restart().read_file("f").await.unwrap(), b"second");
    });
}

#[test]
fn a_failed_commit_is_reported_and_loses_nothing() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("f", b"data").await.unwrap();
        fake.set(&fake.broken, true);
        assert!(matches!(call.sync().await, Err(StorageFailure::Unavailable(_))));
        assert!(matches!(call.flush().await, Err(StorageFailure::Unavailable(_))));
        fake.set(&fake.broken, false);
        call.sync().await.unwrap();
        assert_eq!(fake.restart().read_file("f").await.unwrap(), b"data");
    });
}

#[test]
fn a_commit_whose_task_is_dropped_does_not_block_the_next() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("f", b"data").await.unwrap();
        fake.set(&fake.lazy, true);
        let mut sync = Box::pin(call.sync());
        assert!(poll_once(&mut sync).await.is_none());
        fake.tasks.lock().unwrap().clear();
        assert!(matches!(poll_once(&mut sync).await, Some(Err(StorageFailure::Unavailable(_)))));
        fake.set(&fake.lazy, false);
        call.sync().await.unwrap();
        assert_eq!(fake.restart().read_file("f").await.unwrap(), b"data");
    });
}

#[test]
fn once_settled_nothing_is_written_any_more() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let call = fake.call(cache.clone());
        call.write_file("f", b"left behind").await.unwrap();
        fake.set(&fake.lazy, true);
        drop(call);
        // The task that the call left behind comes last.
        let left = std::mem::take(&mut *fake.tasks.lock().unwrap());
        fake.set(&fake.lazy, false);
        cache.settle(&World { storage: fake.clone(), outside: fake.clone() }).await.unwrap();
        let commits = fake.commits();
        left.into_iter().for_each(block_on);
        assert_eq!(fake.commits(), commits);
        assert_eq!(fake.restart().read_file("f").await.unwrap(), b"left behind");
    });
}

#[test]
fn a_large_file_takes_little_memory_and_one_byte_more_takes_one_chunk() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let block = pattern(1 << 20, 3);
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("big", how).await.unwrap();
        let mut most = 0;
        for n in 0..64 {
            call.write_at(file.id, At::Offset(n << 20), &block).await.unwrap();
            most = most.max(call.call.cache.bytes().0);
        }
        call.sync().await.unwrap();
        assert!(most < 12 << 20, "{most} bytes were kept");
        assert_eq!(fake.keys(b'c'), (64 << 20) / CHUNK);

        call.write_at(file.id, At::End, b"!").await.unwrap();
        call.sync().await.unwrap();
        assert_eq!(fake.commits.lock().unwrap().last(), Some(&2), "a chunk and an inode");

        let again = fake.restart();
        let file = again.open_file("big", tree::Open::default()).await.unwrap();
        for n in [0, 17, 63] {
            let offset = (n << 20) + 5;
            let (read, _) = again.run(|tx| chunks::read(tx, file.id, offset, 1000)).await.unwrap();
            assert_eq!(read, block[5..1005]);
        }
        let (last, end) = again.run(|tx| chunks::read(tx, file.id, 64 << 20, 1000)).await.unwrap();
        assert_eq!((last.as_slice(), end), (b"!".as_slice(), true));
        drop(file);

        again.unlink("big").await.unwrap();
        again.sync().await.unwrap();
        assert_eq!(fake.keys(b'c'), 0);
        drop(again);
    });
}

#[test]
fn an_unlinked_file_lives_until_its_last_handle_is_closed() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("f", &pattern(100_000, 1)).await.unwrap();
        let file = call.open_file("f", tree::Open::default()).await.unwrap();
        call.unlink("f").await.unwrap();
        call.write_file("f", b"another").await.unwrap();
        call.sync().await.unwrap();
        assert_eq!(call.read_id(file.id).await.unwrap(), pattern(100_000, 1));
        assert_eq!(fake.keys(b'i'), 3);
        drop(file);
        call.sync().await.unwrap();
        assert_eq!((fake.keys(b'i'), fake.keys(b'c'), fake.keys(b'o')), (2, 1, 0));
    });
}

#[test]
fn an_unlinked_open_file_is_reclaimed_after_a_crash() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("f", &pattern(100_000, 1)).await.unwrap();
        let _file = call.open_file("f", tree::Open::default()).await.unwrap();
        call.unlink("f").await.unwrap();
        call.sync().await.unwrap();
        let after = Arc::new(Fake {
            records: Mutex::new(fake.records.lock().unwrap().clone()),
            ..Default::default()
        });
        let call = after.restart();
        assert_eq!(call.names(".").await.unwrap(), Vec::<String>::new());
        call.write_file("g", b"").await.unwrap();
        call.sync().await.unwrap();
        assert_eq!((after.keys(b'i'), after.keys(b'c'), after.keys(b'o')), (2, 0, 0));
    });
}

#[test]
fn a_directory_of_thousands_splits_lists_and_goes() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.make_directory("d").await.unwrap();
        let mut names: Vec<String> = (0..3000).map(|n| format!("entry number {n}")).collect();
        for name in &names {
            call.write_file(&format!("d/{name}"), b"").await.unwrap();
        }
        call.sync().await.unwrap();
        assert!(fake.keys(b'd') > 16);
        names.sort();
        let again = fake.restart();
        assert_eq!(again.names("d").await.unwrap(), names);
        assert_eq!(code(again.remove_directory("d").await), ErrorCode::NotEmpty);
        for name in &names {
            again.unlink(&format!("d/{name}")).await.unwrap();
        }
        again.remove_directory("d").await.unwrap();
        again.sync().await.unwrap();
        assert_eq!((fake.keys(b'd'), fake.keys(b'i')), (0, 1), "only the root is left");
    });
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

#[test]
fn erasing_sparse_files_costs_what_they_hold_and_not_what_they_measure() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let files = sparse_orphans(&call, 50, MAX_FILE).await;
        call.sync().await.unwrap();
        assert_eq!(fake.keys(b'c'), 50);
        let before = fake.commits();
        let mut most = 0;
        for file in files {
            drop(file);
            most = most.max(call.call.cache.bytes().0);
        }
        call.sync().await.unwrap();
        assert_eq!((fake.keys(b'i'), fake.keys(b'c'), fake.keys(b'o')), (1, 0, 0));
        assert!(most < 12 << 20, "{most} bytes were kept");
        let written: usize = fake.commits.lock().unwrap()[before..].iter().sum();
        assert!(written <= 2 * 50 + 3, "{written} records for 50 inodes and 50 chunks");
        // Cutting touches only what is there as well.
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("f", how).await.unwrap();
        call.run(|tx| chunks::resize(tx, file.id, MAX_FILE)).await.unwrap();
        call.sync().await.unwrap();
        call.run(|tx| chunks::resize(tx, file.id, 1)).await.unwrap();
        call.sync().await.unwrap();
        assert_eq!(fake.commits.lock().unwrap().last(), Some(&1), "the inode");
    });
}

#[test]
fn garbage_is_erased_a_bounded_part_at_a_time() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let files = sparse_orphans(&call, 3, MAX_FILE).await;
        call.sync().await.unwrap();
        fake.set(&fake.lazy, true);
        drop(files);
        assert_eq!(fake.tasks.lock().unwrap().len(), 1, "one task erases everything");
        let mut task = fake.tasks.lock().unwrap().pop().unwrap();
        let mut parts = 0;
        while poll_once(&mut task).await.is_none() {
            parts += 1;
        }
        assert!(parts >= 3 * 32, "it let others run {parts} times");
        fake.set(&fake.lazy, false);
        call.sync().await.unwrap();
        assert_eq!((fake.keys(b'i'), fake.keys(b'c'), fake.keys(b'o')), (1, 0, 0));
    });
}

#[test]
fn garbage_of_a_crash_half_way_is_erased_after_the_restart() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let files = sparse_orphans(&call, 3, 256 << 20).await;
        call.sync().await.unwrap();
        fake.set(&fake.lazy, true);
        drop(files);
        let mut task = fake.tasks.lock().unwrap().pop().unwrap();
        for _ in 0..10 {
            assert!(poll_once(&mut task).await.is_none());
        }
        fake.set(&fake.lazy, false);
        call.sync().await.unwrap();
        assert!(fake.keys(b'o') == 1 && fake.keys(b'i') > 1, "it is under way");
        let records = fake.records.lock().unwrap().clone();
        let after = Arc::new(Fake { records: Mutex::new(records), ..Default::default() });
        let call = after.restart();
        assert_eq!(call.names(".").await.unwrap(), Vec::<String>::new());
        call.sync().await.unwrap();
        assert_eq!((after.keys(b'i'), after.keys(b'c'), after.keys(b'o')), (1, 0, 0));
    });
}

#[test]
fn a_writer_waits_for_room_before_its_change_is_applied() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let call = fake.call(cache.clone());
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("f", how).await.unwrap();
        fake.set(&fake.lazy, true);
        let block = Bytes::from(pattern(MAX_TRANSFER, 1));
        let mut writers = Vec::new();
        for n in 0..200 {
            let (call, block, id) = (call.clone(), block.clone(), file.id);
            let at = At::Offset(n * MAX_TRANSFER as u64);
            let mut writer = Box::pin(async move { call.run(|tx| chunks::write(tx, id, at, &block)).await });
            if poll_once(&mut writer).await.is_none() {
                writers.push(writer);
            }
        }
        let (_, dirty) = cache.bytes();
        assert!(dirty < (2 << 20) + 2 * MAX_TRANSFER, "{dirty} bytes wait for a commit");
        fake.set(&fake.lazy, false);
        fake.run_tasks();
        for writer in writers {
            writer.await.unwrap();
        }
        let size = call.run(|tx| Ok(tx.inode(file.id)?.body)).await.unwrap();
        assert_eq!(size, super::record::Body::File { size: 200 * MAX_TRANSFER as u64 });
    });
}

#[test]
fn in_a_full_store_deleting_makes_room() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.set(&fake.full, true);
        let failed = call.write_file("f", &pattern(4 << 20, 1)).await;
        assert!(matches!(failed, Err(FsError::Storage(StorageFailure::Full))));
        assert!(matches!(call.make_directory("d").await, Err(FsError::Storage(StorageFailure::Full))));
        call.unlink("f").await.unwrap();
        assert!(call.call.cache.bytes().1 < 1 << 20);
        call.make_directory("d").await.unwrap();
        fake.set(&fake.full, false);
        call.sync().await.unwrap();
        assert_eq!(fake.restart().names(".").await.unwrap(), ["d"]);
    });
}

#[test]
fn once_abandoned_nothing_is_written_until_a_call_starts() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let call = fake.call(cache.clone());
        let files = sparse_orphans(&call, 3, MAX_FILE).await;
        call.sync().await.unwrap();
        call.write_file("left", b"behind").await.unwrap();
        fake.set(&fake.lazy, true);
        drop(files);
        drop(call);
        fake.set(&fake.lazy, false);
        // It needs no store that takes what was left behind.
        fake.set(&fake.broken, true);
        cache.abandon().await;
        fake.set(&fake.broken, false);
        let commits = fake.commits();
        fake.run_tasks();
        assert_eq!(fake.commits(), commits);
        // The app was kept after all.
        let call = fake.call(cache);
        assert_eq!(call.read_file("left").await.unwrap(), b"behind");
        call.sync().await.unwrap();
        assert_eq!((fake.keys(b'i'), fake.keys(b'o')), (2, 0));
    });
}

#[test]
fn abandoning_waits_for_the_commit_under_way() {
    block_on(async {
        let fake = Fake::new();
        let cache: Arc<Cache> = Arc::default();
        let call = fake.call(cache.clone());
        call.write_file("f", b"1").await.unwrap();
        fake.set(&fake.lazy, true);
        let mut sync = Box::pin(call.sync());
        assert!(poll_once(&mut sync).await.is_none());
        let mut abandon = Box::pin(cache.abandon());
        assert!(poll_once(&mut abandon).await.is_none());
        fake.run_tasks();
        assert!(poll_once(&mut abandon).await.is_some());
    });
}

#[test]
fn paths_stay_below_their_directory() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.make_directory("a").await.unwrap();
        call.make_directory("a/b").await.unwrap();
        call.write_file("a/b/../f", b"x").await.unwrap();
        assert_eq!(call.read_file("./a//f").await.unwrap(), b"x");
        let a = call.run(|tx| tree::existing(tx, FileId::ROOT, "a")).await.unwrap().id;
        let long = "x".repeat(256);
        let path = "a/".repeat(2100);
        let cases = [
            ("..", ErrorCode::NotPermitted),
            ("b/../..", ErrorCode::NotPermitted),
            ("b/../../a/f", ErrorCode::NotPermitted),
            ("/", ErrorCode::NotPermitted),
            ("/f", ErrorCode::NotPermitted),
            ("", ErrorCode::NoEntry),
            ("nul\0", ErrorCode::Invalid),
            (&long, ErrorCode::NameTooLong),
            (&path, ErrorCode::NameTooLong),
            ("f/", ErrorCode::NotDirectory),
            ("f/x", ErrorCode::NotDirectory),
            ("missing/..", ErrorCode::NoEntry),
            ("f/..", ErrorCode::NotDirectory),
        ];
        for (path, expected) in cases {
            assert_eq!(code(call.run(|tx| tree::existing(tx, a, path)).await), expected, "{path:?}");
        }
        for path in ["b/..", "b/.", "./b/../.", "b/"] {
            call.run(|tx| tree::existing(tx, a, path)).await.unwrap();
        }
    });
}

#[test]
fn renaming_never_makes_a_loop_or_overwrites_what_it_must_not() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        for path in ["a", "a/b", "a/b/c", "empty", "full"] {
            call.make_directory(path).await.unwrap();
        }
        call.write_file("full/f", b"1").await.unwrap();
        call.write_file("g", b"2").await.unwrap();
        assert_eq!(code(call.rename("a", "a/b/c/a").await), ErrorCode::Invalid);
        assert_eq!(
            code(call.rename("a", "a").await.and(call.rename("a", "full").await)),
            ErrorCode::NotEmpty
        );
        assert_eq!(code(call.rename("a", "g").await), ErrorCode::NotDirectory);
        assert_eq!(code(call.rename("g", "empty").await), ErrorCode::IsDirectory);
        assert_eq!(code(call.rename("missing", "x").await), ErrorCode::NoEntry);
        call.rename("a/b", "empty").await.unwrap();
        assert_eq!(call.names("empty").await.unwrap(), ["c"]);
        // It knows its new place: a loop through it is still found.
        assert_eq!(code(call.rename("empty", "empty/c/x").await), ErrorCode::Invalid);
        call.rename("g", "full/f").await.unwrap();
        assert_eq!(call.read_file("full/f").await.unwrap(), b"2");
        assert_eq!(call.names(".").await.unwrap(), ["a", "empty", "full"]);
    });
}

#[test]
fn sizes_have_an_end() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("f", how).await.unwrap();
        for offset in [MAX_FILE, u64::MAX] {
            assert_eq!(code(call.write_at(file.id, At::Offset(offset), b"x").await), ErrorCode::FileTooLarge);
            let resized = call.run(|tx| chunks::resize(tx, file.id, offset.max(MAX_FILE + 1))).await;
            assert_eq!(code(resized), ErrorCode::FileTooLarge);
        }
        let (read, end) = call.run(|tx| chunks::read(tx, file.id, u64::MAX, u64::MAX)).await.unwrap();
        assert!(read.is_empty() && end);
        // A hole costs nothing and reads as zeros.
        call.run(|tx| chunks::resize(tx, file.id, MAX_FILE)).await.unwrap();
        call.sync().await.unwrap();
        assert_eq!(fake.keys(b'c'), 0);
        call.run(|tx| chunks::resize(tx, file.id, 0)).await.unwrap();
        let mut kept = Vec::new();
        for n in 0..MAX_OPEN {
            match call.open_file("f", tree::Open::default()).await {
                Ok(file) => kept.push(file),
                Err(_) => assert!(n >= MAX_OPEN - 1, "{n} files could be open"),
            }
        }
        assert_eq!(
            code(call.open_file("f", tree::Open::default()).await.map(drop)),
            ErrorCode::InsufficientMemory
        );
        kept.pop();
        call.open_file("f", tree::Open::default()).await.unwrap();
    });
}

#[test]
fn streams_read_and_write_what_operations_do() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let data = pattern(300_000, 9);
        {
            let file = Arc::new(call.open_file("f", how).await.unwrap());
            let mut writer = FileWriter::new(file, At::Offset(0));
            for part in data.chunks(50_000) {
                writer.blocking_write_and_flush(Bytes::copy_from_slice(part)).await.unwrap();
            }
            assert!(matches!(
                writer.write(Bytes::from(vec![0; MAX_TRANSFER + 1])),
                Err(StreamError::Trap(_))
            ));
        }
        call.sync().await.unwrap();
        drop(call);

        // From a cold cache, so that every read and write has to wait.
        let call = fake.restart();
        let file = Arc::new(call.open_file("f", how).await.unwrap());
        let mut reader = FileReader::new(file.clone(), 7);
        let mut read = Vec::new();
        loop {
            match reader.blocking_read(70_000).await {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(StreamError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(read, data[7..]);
        drop(fake.restart());

        let call = fake.restart();
        let file = Arc::new(call.open_file("f", how).await.unwrap());
        let mut writer = FileWriter::new(file.clone(), At::End);
        writer.write(Bytes::from_static(b"end")).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0, "the last chunk is not in memory");
        writer.cancel().await;
        drop(writer);
        assert_eq!(call.read_file("f").await.unwrap(), [data.as_slice(), b"end"].concat());
    });
}

#[test]
fn polling_a_reader_over_and_over_gets_there() {
    block_on(async {
        let fake = Fake::new();
        fake.restart().write_file("f", b"data").await.unwrap();
        let call = fake.restart();
        let file = Arc::new(call.open_file("f", tree::Open::default()).await.unwrap());
        let mut reader = FileReader::new(file, 0);
        let mut polls = 0;
        while poll_once(reader.ready()).await.is_none() {
            polls += 1;
            assert!(polls < 100);
        }
        assert_eq!(reader.read(10).unwrap(), b"data".as_slice());
    });
}

/// What the model knows of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    File(Vec<u8>),
    Directory,
}

#[derive(Clone, Debug)]
enum Action {
    Write { path: usize, at: usize, length: usize },
    Append { path: usize, length: usize },
    Resize { path: usize, to: usize },
    Make { path: usize },
    Unlink { path: usize },
    RemoveDirectory { path: usize },
    Rename { from: usize, to: usize },
    Sync,
    Restart,
    Crash,
}

const PATHS: [&str; 9] = ["a", "b", "c", "a/x", "a/y", "b/x", "a/x/1", "b/x/1", "b/x/2"];

fn action() -> impl Strategy<Value = Action> {
    let path = 0..PATHS.len();
    let size = prop_oneof![0..10_usize, 0..3 * CHUNK, Just(CHUNK), Just(2 * CHUNK)];
    prop_oneof![
        4 => (path.clone(), size.clone(), size.clone())
            .prop_map(|(path, at, length)| Action::Write { path, at, length }),
        2 => (path.clone(), size.clone()).prop_map(|(path, length)| Action::Append { path, length }),
        3 => (path.clone(), size).prop_map(|(path, to)| Action::Resize { path, to }),
        4 => path.clone().prop_map(|path| Action::Make { path }),
        2 => path.clone().prop_map(|path| Action::Unlink { path }),
        2 => path.clone().prop_map(|path| Action::RemoveDirectory { path }),
        4 => (path.clone(), path).prop_map(|(from, to)| Action::Rename { from, to }),
        1 => Just(Action::Sync),
        1 => Just(Action::Restart),
        1 => Just(Action::Crash),
    ]
}

/// A filesystem as simple as can be: paths and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model(BTreeMap<String, Known>);

impl Model {
    fn parent_is_directory(&self, path: &str) -> bool {
        path.rsplit_once('/').is_none_or(|(parent, _)| self.0.get(parent) == Some(&Known::Directory))
    }

    fn is_empty_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.0.get(path) == Some(&Known::Directory) && !self.0.keys().any(|other| other.starts_with(&below))
    }

    /// The file at `path`, made if there is none; `None` if that cannot be.
    fn file(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        if !self.parent_is_directory(path) {
            return None;
        }
        match self.0.entry(path.to_owned()).or_insert_with(|| Known::File(Vec::new())) {
            Known::File(bytes) => Some(bytes),
            Known::Directory => None,
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(moved) = self.0.get(from).cloned() else { return false };
        if !self.parent_is_directory(to) || to.starts_with(&format!("{from}/")) {
            return false;
        }
        if from == to {
            return true;
        }
        let free = match (&moved, self.0.get(to)) {
            (_, None) | (Known::File(_), Some(Known::File(_))) => true,
            (Known::Directory, Some(Known::Directory)) => self.is_empty_directory(to),
            _ => false,
        };
        if free {
            let below = format!("{from}/");
            let all: Vec<String> = self.0.keys().filter(|path| path.starts_with(&below)).cloned().collect();
            self.0.remove(to);
            for path in all {
                if let Some(known) = self.0.remove(&path) {
                    self.0.insert(format!("{to}/{}", &path[below.len()..]), known);
                }
            }
            self.0.remove(from);
            self.0.insert(to.to_owned(), moved);
        }
        free
    }
}

async fn walk(call: &CallFiles) -> Model {
    let mut model = Model::default();
    let mut todo = vec![".".to_owned()];
    while let Some(directory) = todo.pop() {
        for name in call.names(&directory).await.unwrap() {
            let path = if directory == "." { name } else { format!("{directory}/{name}") };
            let entry = call.run(|tx| tree::existing(tx, FileId::ROOT, &path)).await.unwrap();
            let known = match entry.kind {
                Kind::File => Known::File(call.read_file(&path).await.unwrap()),
                Kind::Directory => {
                    todo.push(path.clone());
                    Known::Directory
                }
            };
            model.0.insert(path, known);
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_the_model(actions in prop::collection::vec(action(), 1..60)) {
        block_on(async {
            let mut fake = Fake::new();
            let mut call = fake.restart();
            let (mut model, mut durable) = (Model::default(), Model::default());
            let how = tree::Open { create: true, write: true, ..Default::default() };
            for (n, action) in actions.into_iter().enumerate() {
                match action {
                    Action::Write { path, at, length } => {
                        let bytes = pattern(length, n);
                        let file = call.open_file_or_error(PATHS[path], how).await;
                        assert_eq!(file.is_ok(), model.file(PATHS[path]).is_some());
                        if let (Ok(file), Some(known)) = (file, model.file(PATHS[path])) {
                            call.write_at(file.id, At::Offset(at as u64), &bytes).await.unwrap();
                            if length > 0 {
                                known.resize(known.len().max(at + length), 0);
                                known[at..at + length].copy_from_slice(&bytes);
                            }
                        }
                    }
                    Action::Append { path, length } => {
                        let bytes = pattern(length, n);
                        if let (Ok(file), Some(known)) =
                            (call.open_file_or_error(PATHS[path], how).await, model.file(PATHS[path]))
                        {
                            call.write_at(file.id, At::End, &bytes).await.unwrap();
                            known.extend_from_slice(&bytes);
                        }
                    }
                    Action::Resize { path, to } => {
                        if let (Ok(file), Some(known)) =
                            (call.open_file_or_error(PATHS[path], how).await, model.file(PATHS[path]))
                        {
                            call.run(|tx| chunks::resize(tx, file.id, to as u64)).await.unwrap();
                            known.resize(to, 0);
                        }
                    }
                    Action::Make { path } => {
                        let possible = model.parent_is_directory(PATHS[path]) && !model.0.contains_key(PATHS[path]);
                        assert_eq!(call.make_directory(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.insert(PATHS[path].to_owned(), Known::Directory);
                        }
                    }
                    Action::Unlink { path } => {
                        let possible = matches!(model.0.get(PATHS[path]), Some(Known::File(_)));
                        assert_eq!(call.unlink(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.remove(PATHS[path]);
                        }
                    }
                    Action::RemoveDirectory { path } => {
                        let possible = model.is_empty_directory(PATHS[path]);
                        assert_eq!(call.remove_directory(PATHS[path]).await.is_ok(), possible);
                        if possible {
                            model.0.remove(PATHS[path]);
                        }
                    }
                    Action::Rename { from, to } => {
                        let done = call.rename(PATHS[from], PATHS[to]).await.is_ok();
                        assert_eq!(done, model.rename(PATHS[from], PATHS[to]));
                    }
                    Action::Sync => {
                        call.sync().await.unwrap();
                        durable = model.clone();
                    }
                    Action::Restart => {
                        drop(call);
                        call = fake.restart();
                        durable = model.clone();
                    }
                    Action::Crash => {
                        let records = fake.records.lock().unwrap().clone();
                        let ids = AtomicU64::new(fake.ids.load(Ordering::Relaxed));
                        fake = Arc::new(Fake { records: Mutex::new(records), ids, ..Default::default() });
                        call = fake.restart();
                        model = durable.clone();
                    }
                }
            }
            assert_eq!(walk(&call).await, model);
            call.sync().await.unwrap();
            assert_eq!(walk(&fake.restart()).await, model);
            // Nothing is left over: one inode for each path and the root, no chunk without a file.
            let files = model.0.values().filter_map(|known| match known {
                Known::File(bytes) => Some(bytes.len().div_ceil(CHUNK)),
                Known::Directory => None,
            });
            assert!(fake.keys(b'c') <= files.sum());
            assert!(fake.keys(b'i') <= model.0.len() + 1);
            assert_eq!(fake.keys(b'o'), 0);
        });
    }
}

impl CallFiles {
    async fn open_file_or_error(&self, path: &str, how: tree::Open) -> Result<OpenFile, FsError> {
        let entry = self.run(|tx| tree::existing(tx, FileId::ROOT, path)).await;
        if matches!(entry, Ok(Entry { kind: Kind::Directory, .. })) {
            assert_eq!(
                code(self.run(|tx| tree::open(tx, FileId::ROOT, path, how, FileId([9; 16]))).await),
                ErrorCode::IsDirectory
            );
            return Err(ErrorCode::IsDirectory.into());
        }
        self.open_file(path, how).await
    }
}
