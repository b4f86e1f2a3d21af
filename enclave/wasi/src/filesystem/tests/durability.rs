//! What is stored when: syncs, commits that are shared, fail or are dropped, and erasure of the whole.

use super::*;

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
