//! What files cost: memory, records, what is left of the unlinked, and a store that is full.

use super::*;

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
fn cutting_a_large_file_lets_others_run() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let how = tree::Open { create: true, write: true, ..Default::default() };
        let file = call.open_file("f", how).await.unwrap();
        call.write_at(file.id, At::Offset(0), &pattern(100, 1)).await.unwrap();
        call.write_at(file.id, At::Offset(MAX_FILE - 1), b"!").await.unwrap();
        let mut cut = Box::pin(call.run(|tx| chunks::resize(tx, file.id, 10)));
        let mut turns = 0;
        while poll_once(&mut cut).await.is_none() {
            turns += 1;
        }
        assert!(turns >= 31, "it let others run {turns} times");
        assert_eq!(call.read_id(file.id).await.unwrap(), pattern(100, 1)[..10]);

        call.write_at(file.id, At::Offset(MAX_FILE - 1), b"!").await.unwrap();
        let how = tree::Open { truncate: true, ..how };
        let file = call.open_file("f", how).await.unwrap();
        assert_eq!(call.read_id(file.id).await.unwrap(), b"");
        call.sync().await.unwrap();
        assert_eq!(fake.keys(b'c'), 0);
    });
}

#[test]
fn what_is_known_to_be_absent_is_not_asked_for() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.make_directory("d").await.unwrap();
        for n in 0..3000 {
            call.write_file(&format!("d/entry number {n}"), b"").await.unwrap();
        }
        for n in 0..3000 {
            call.unlink(&format!("d/entry number {n}")).await.unwrap();
        }
        call.sync().await.unwrap();
        let (records, fetches) = (fake.keys(b'd'), fake.fetches.load(Ordering::Relaxed));
        let again = fake.restart();
        again.remove_directory("d").await.unwrap();
        let asked = fake.fetches.load(Ordering::Relaxed) - fetches;
        assert!(asked <= records + 4, "{asked} fetched of {records} nodes of a directory that had many");
    });
}

#[test]
fn a_thousand_streams_hold_little() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.write_file("f", &pattern(2 * MAX_TRANSFER, 1)).await.unwrap();
        let file = Arc::new(call.open_file("f", tree::Open::default()).await.unwrap());
        let held = || call.call.held.load(Ordering::Relaxed);
        let mut readers: Vec<_> = (0..1000).map(|_| FileReader::new(file.clone(), 0, Ok(()))).collect();
        for reader in &mut readers {
            reader.ready().await;
        }
        assert!((1..=MAX_HELD + MAX_TRANSFER).contains(&held()), "{} bytes are read ahead", held());
        // Whether it was read ahead or not, it is there.
        for reader in &mut readers {
            let first = reader.blocking_read(100).await.unwrap();
            assert_eq!(first[..], pattern(2 * MAX_TRANSFER, 1)[..first.len()]);
        }
        drop(readers);
        assert_eq!(held(), 0);

        fake.set(&fake.lazy, true);
        let block = Bytes::from(pattern(MAX_TRANSFER, 2));
        let mut writers: Vec<_> =
            (0..1000).map(|_| FileWriter::new(file.clone(), At::Offset(0), Ok(()))).collect();
        for (n, writer) in writers.iter_mut().enumerate() {
            // Beyond the first turn nothing is done at once.
            let permit = writer.check_write().unwrap();
            assert!(permit > 0, "stream {n}");
            writer.write(block.slice(..permit)).unwrap();
        }
        assert!(held() <= MAX_HELD + MAX_TRANSFER + 1000 * 64, "{} bytes wait to be written", held());
        drop(writers);
        assert_eq!(held(), 0);
        fake.run_tasks();
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
