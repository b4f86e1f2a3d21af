//! What is stored when: commits that are shared, fail or are dropped, and the end of an application.

use super::*;

#[test]
fn what_returned_is_there_after_a_restart() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.set("k", b"1").await.unwrap();
        call.add("n", 3).await.unwrap();
        call.set("gone", b"2").await.unwrap();
        call.delete("gone").await.unwrap();
        let after = fake.restart();
        assert_eq!(
            (after.get("k").await.unwrap(), after.get("n").await.unwrap()),
            (b"1".to_vec(), b"3".to_vec())
        );
        assert_eq!(after.keys().await, ["k", "n"]);
        assert_eq!(after.buckets.writer.keys(), None);
        after.buckets.writer.recall(&*after.buckets.records).await.unwrap();
        assert_eq!(after.buckets.writer.keys(), Some(2));
    });
}

#[test]
fn a_cancelled_change_is_made_as_a_whole_or_if_it_had_not_begun_not_at_all() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.lazy.store(true, Ordering::Relaxed);
        for (begins, keys) in [(false, 0), (true, 50)] {
            let pairs = (0..50).map(|n| (format!("k{n}"), vec![1])).collect();
            let mut cancelled = Box::pin(call.run(Op::Set(pairs)));
            assert!(poll_once(&mut cancelled).await.is_none());
            let mut task = fake.tasks.lock().unwrap().pop().unwrap();
            assert!(!begins || poll_once(&mut task).await.is_none());
            drop(cancelled);
            assert_eq!(call.keys().await.len(), 0, "not yet");
            task.await;
            assert_eq!(call.keys().await.len(), keys);
        }
    });
}

#[test]
fn what_is_queued_for_nobody_holds_nothing_for_long() {
    block_on(async {
        const ROOM: usize = 64 << 20;
        let (fake, room) = (Fake::new(), Room::new(ROOM));
        let call = fake.call(&Arc::new(Writer::new(100, room.clone())));
        // Nothing is carried out, and every caller goes away.
        fake.lazy.store(true, Ordering::Relaxed);
        let large = || Op::Set((0..4).map(|n| (format!("k{n}"), vec![n; 1 << 20])).collect());
        for _ in 0..100 {
            let mut cancelled = Box::pin(call.run(large()));
            assert!(poll_once(&mut cancelled).await.is_none());
        }
        // Who stays has the room, and what they have not another app has not.
        let mut waiting: Vec<_> = (0..15).map(|_| Box::pin(call.run(large()))).collect();
        for waits in &mut waiting {
            assert!(poll_once(waits).await.is_none());
        }
        assert!(room.free() < 4 << 20);
        let other = Fake::new();
        let neighbour = other.call(&Arc::new(Writer::new(100, room.clone())));
        assert!(matches!(neighbour.run(large()).await, Err(KvError::Overloaded)));
        fake.run_tasks();
        for waits in waiting {
            waits.await.unwrap();
        }
        assert_eq!(room.free(), ROOM);
        assert!(fake.commits.lock().unwrap().len() <= 15, "nothing is done for nobody");
        neighbour.run(large()).await.unwrap();
    });
}

#[test]
fn a_commit_whose_task_was_dropped_is_settled_before_another_is_made() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.lazy.store(true, Ordering::Relaxed);
        fake.hung.store(true, Ordering::Relaxed);
        let mut set = Box::pin(call.set("a", b"1"));
        assert!(poll_once(&mut set).await.is_none());
        let mut task = fake.tasks.lock().unwrap().pop().unwrap();
        while fake.under_way.lock().unwrap().is_empty() {
            assert!(poll_once(&mut task).await.is_none());
        }
        drop(task);
        assert!(set.await.is_err());
        fake.lazy.store(false, Ordering::Relaxed);
        fake.hung.store(false, Ordering::Relaxed);
        call.set("b", b"2").await.unwrap();
        assert_eq!(call.keys().await, ["a", "b"]);
        assert_eq!(call.buckets.writer.keys(), Some(2));
    });
}

#[test]
fn a_group_of_many_small_operations_is_several_batches_and_lets_others_run() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let keys = |range: std::ops::Range<usize>| range.map(|n| format!("key-{n}"));
        for n in 0..20 {
            let pairs = keys(1000 * n..1000 * (n + 1)).map(|key| (key, vec![])).collect();
            call.run(Op::Set(pairs)).await.unwrap();
        }
        fake.lazy.store(true, Ordering::Relaxed);
        let mut ops: Vec<_> = (0..20)
            .map(|n| Box::pin(call.run(Op::Delete(keys(1000 * n..1000 * (n + 1)).collect()))))
            .collect();
        for op in &mut ops {
            assert!(poll_once(op).await.is_none());
        }
        let before = fake.commits.lock().unwrap().len();
        let mut task = fake.tasks.lock().unwrap().pop().unwrap();
        let mut polls = 0;
        while poll_once(&mut task).await.is_none() {
            polls += 1;
        }
        for op in ops {
            op.await.unwrap();
        }
        let commits = fake.commits.lock().unwrap()[before..].to_vec();
        assert!(commits.len() >= 10 && commits.iter().all(|(records, _)| *records < 4000), "{commits:?}");
        assert!(polls >= 20_000 / 32, "{polls}");
        assert!(call.keys().await.is_empty());
    });
}

#[test]
fn a_failed_commit_changes_nothing_and_the_next_one_works() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.set("k", b"1").await.unwrap();
        fake.broken.store(true, Ordering::Relaxed);
        for failed in [call.set("k", b"2").await, call.set("new", b"2").await, call.delete("k").await] {
            assert!(matches!(failed, Err(KvError::Storage(StorageFailure::Unavailable(_)))), "{failed:?}");
        }
        assert_eq!((call.keys().await, call.get("k").await.unwrap()), (vec!["k".to_owned()], b"1".to_vec()));
        fake.broken.store(false, Ordering::Relaxed);
        call.set("new", b"3").await.unwrap();
        assert_eq!((call.keys().await.len(), call.buckets.writer.keys()), (2, Some(2)));
    });
}

#[test]
fn who_does_not_fit_does_not_keep_the_others_out() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.room.store(4000, Ordering::Relaxed);
        fake.lazy.store(true, Ordering::Relaxed);
        let sizes = [1000, 9000, 1000, 2500, 10];
        let mut sets: Vec<_> = Vec::new();
        for (n, size) in sizes.into_iter().enumerate() {
            let key = format!("k{n}");
            let op = Op::Set(vec![(key, vec![0; size])]);
            sets.push(Box::pin(call.run(op)));
        }
        for set in &mut sets {
            assert!(poll_once(set).await.is_none());
        }
        fake.run_tasks();
        let mut fits = Vec::new();
        for set in sets {
            match set.await {
                Ok(_) => fits.push(true),
                Err(KvError::Storage(StorageFailure::Quota(_))) => fits.push(false),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(fits, [true, false, true, false, true]);
        assert_eq!(call.keys().await, ["k0", "k2", "k4"]);
    });
}

#[test]
fn the_quota_of_keys_is_exact() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.call(&writer(3));
        let pairs = |keys: &[&str]| Op::Set(keys.iter().map(|key| ((*key).to_owned(), vec![1])).collect());
        call.run(pairs(&["a", "a", "b"])).await.unwrap();
        let refused = call.run(pairs(&["b", "c", "d"])).await;
        assert!(matches!(refused, Err(KvError::TooManyKeys { after: 4, most: 3 })), "{refused:?}");
        assert_eq!(call.keys().await, ["a", "b"], "all or nothing");
        // Buckets share it.
        call.other("b2").set("c", b"1").await.unwrap();
        assert!(call.set("d", b"1").await.is_err() && call.add("d", 1).await.is_err());
        let swap = Op::Swap { key: "d".to_owned(), expected: None, value: vec![] };
        assert!(call.run(swap).await.is_err());
        call.run(pairs(&["a", "b"])).await.unwrap();
        call.delete("a").await.unwrap();
        call.set("d", b"1").await.unwrap();
        // What is there stays when less is allowed, and may shrink.
        let less = fake.call(&writer(1));
        less.set("b", b"2").await.unwrap();
        assert!(less.set("e", b"1").await.is_err());
        less.delete("b").await.unwrap();
        assert_eq!(less.keys().await, ["d"]);
    });
}

#[test]
fn an_app_that_ends_keeps_what_was_queued_or_drops_it_as_it_is_told() {
    block_on(async {
        let fake = Fake::new();
        let writer = writer(100);
        let call = fake.call(&writer);
        fake.lazy.store(true, Ordering::Relaxed);
        let mut kept = Box::pin(call.set("kept", b"1"));
        assert!(poll_once(&mut kept).await.is_none());
        let mut settled = Box::pin(writer.settle());
        assert!(poll_once(&mut settled).await.is_none(), "it waits for the change");
        assert!(call.set("late", b"1").await.is_err());
        fake.run_tasks();
        settled.await;
        kept.await.unwrap();

        let call = fake.call(&writer);
        let mut dropped = Box::pin(call.set("dropped", b"1"));
        assert!(poll_once(&mut dropped).await.is_none());
        let mut abandoned = Box::pin(writer.abandon());
        assert!(poll_once(&mut abandoned).await.is_none(), "a task may be under way");
        fake.run_tasks();
        abandoned.await;
        assert!(dropped.await.is_err());
        assert_eq!(call.keys().await, ["kept"]);
    });
}

#[test]
fn a_task_that_is_dropped_leaves_nobody_waiting() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.lazy.store(true, Ordering::Relaxed);
        let mut set = Box::pin(call.set("k", b"1"));
        assert!(poll_once(&mut set).await.is_none());
        fake.tasks.lock().unwrap().clear();
        assert!(matches!(set.await, Err(KvError::Storage(StorageFailure::Unavailable(_)))));
        fake.lazy.store(false, Ordering::Relaxed);
        call.set("k", b"2").await.unwrap();
        assert_eq!(call.get("k").await.unwrap(), b"2");
    });
}
