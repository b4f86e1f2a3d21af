//! A host that fails, quotas and expectations, and ends of every kind.

use std::sync::atomic::Ordering;

use futures_lite::future::{self, poll_once};

use super::world::*;
use crate::{Batch, MAX_BATCH, MAX_KEY, MAX_NAME, MAX_RECORDS, MAX_VALUE, Quota, Store, StoreError, Usage};

fn batch(puts: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::new();
    puts.iter().for_each(|(key, value)| batch.put(key.as_bytes(), *value));
    batch
}

#[test]
fn what_waits_together_is_written_together() {
    let (cpu, host) = (cpu(), Host::new());
    host.delays.store(1, Ordering::Relaxed);
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        let before = host.batches.load(Ordering::Relaxed);
        let keys: Vec<String> = (0..40).map(|n| format!("key {n}")).collect();
        let commits = keys.iter().map(|key| Box::pin(a.commit(batch(&[(key, "value")]))));
        join(commits.collect()).await.into_iter().for_each(|done| done.unwrap());
        let batches = host.batches.load(Ordering::Relaxed) - before;
        assert!(batches <= 3, "40 commits took {batches} batches");
        assert_eq!(store.usage("app:a"), Usage { records: 40, bytes: 200 });
    })
    .unwrap();
    with_store(&cpu, &host, async |store| assert_eq!(store.usage("app:a").records, 40)).unwrap();
}

async fn join<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    while done.iter().any(Option::is_none) {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none() {
                *done = poll_once(future).await;
            }
        }
        future::yield_now().await;
    }
    done.into_iter().flatten().collect()
}

#[test]
fn a_refused_batch_changes_nothing_and_the_store_goes_on() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        put(&a, "k", "before").await;
        *host.on_batch.lock().unwrap() = Batches::Refuse;
        assert!(matches!(a.commit(batch(&[("k", "lost")])).await, Err(StoreError::Failed(_))));
        *host.on_batch.lock().unwrap() = Batches::Full;
        assert_eq!(a.commit(batch(&[("l", "lost")])).await, Err(StoreError::Full));
        assert_eq!(read(&a, &host, "k").await.unwrap(), "before");
        assert_eq!(a.usage(), Usage { records: 1, bytes: 6 });
        *host.on_batch.lock().unwrap() = Batches::Apply;
        put(&a, "k", "after").await;
        assert_eq!(read(&a, &host, "k").await.unwrap(), "after");
    })
    .unwrap();
    with_store(&cpu, &host, async |store| {
        assert_eq!(read(&app(&store, "app:a"), &host, "k").await.unwrap(), "after");
    })
    .unwrap();
}

#[test]
fn a_batch_of_unknown_end_asks_for_a_restart_and_is_never_acknowledged() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        put(&a, "k", "before").await;
        *host.on_batch.lock().unwrap() = Batches::ApplyAndFail;
        assert_eq!(a.commit(batch(&[("k", "maybe")])).await, Err(StoreError::Unsettled));
        *host.on_batch.lock().unwrap() = Batches::Apply;
        assert_eq!(a.commit(batch(&[("k", "later")])).await, Err(StoreError::Unsettled));
        assert_eq!(a.get(&host, b"k").await, Err(StoreError::Unsettled));
        assert_eq!(store.erase("app:a").await, Err(StoreError::Unsettled));
    })
    .unwrap();
    with_store(&cpu, &host, async |store| {
        assert_eq!(read(&app(&store, "app:a"), &host, "k").await.unwrap(), "maybe");
    })
    .unwrap();
}

#[test]
fn nobody_waits_for_a_committer_that_is_gone() {
    let (cpu, host) = (cpu(), Host::new());
    future::block_on(async {
        let (store, committer) = Store::open(cpu, &host).await.unwrap();
        let a = app(&store, "app:a");
        let mut committing = Box::pin(committer.run(&host));
        let mut commit = Box::pin(a.commit(batch(&[("k", "v")])));
        assert!(poll_once(&mut commit).await.is_none());
        *host.on_batch.lock().unwrap() = Batches::Hang;
        assert!(poll_once(&mut committing).await.is_none());
        drop(committing);
        assert_eq!(commit.await, Err(StoreError::Unsettled), "the host may have it");
        assert_eq!(a.commit(batch(&[("k", "v")])).await, Err(StoreError::Unsettled));
    });
    future::block_on(async {
        let host = Host::new();
        let (store, committer) = Store::open(super::world::cpu(), &host).await.unwrap();
        drop(committer);
        assert_eq!(app(&store, "app:a").commit(batch(&[("k", "v")])).await, Err(StoreError::Closed));
        assert_eq!(store.close().await, Ok(()));
    });
}

#[test]
fn closing_flushes_seals_the_time_and_ends() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        let mut commit = Box::pin(a.commit(batch(&[("k", "v")])));
        assert!(poll_once(&mut commit).await.is_none(), "enqueued before the close");
        cpu.unix_ns.store(5_000, Ordering::Relaxed);
        assert_eq!(store.close().await, Ok(()));
        assert_eq!(commit.await, Ok(()));
        assert_eq!(a.commit(batch(&[("k", "w")])).await, Err(StoreError::Closed));
        assert_eq!(read(&a, &host, "k").await.unwrap(), "v", "reads go on");
        assert_eq!(store.close().await, Ok(()));
    })
    .unwrap();
    cpu.unix_ns.store(2_000, Ordering::Relaxed);
    with_store(&cpu, &host, async |store| {
        assert_eq!(store.sealed_unix_ns(), 5_000);
        put(&app(&store, "app:a"), "k", "v").await;
        assert_eq!(store.sealed_unix_ns(), 5_000, "never backwards");
    })
    .unwrap();
}

#[test]
fn expectations_hold_or_nothing_happens() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        let create = || {
            let mut create = batch(&[("k", "mine")]);
            create.expect_absent(b"k");
            create
        };
        assert_eq!(a.commit(create()).await, Ok(()));
        assert_eq!(a.commit(create()).await, Err(StoreError::Conflict));

        let read = a.get_versioned(&host, b"k").await.unwrap().unwrap();
        assert_eq!(a.version(b"k"), Ok(Some(read.version)));
        let increment = || {
            let mut update = batch(&[("k", "updated"), ("other", "too")]);
            update.expect_version(b"k", read.version);
            update
        };
        // Of two writers who read the same version, also in one group, one wins.
        let results = join(vec![Box::pin(a.commit(increment())), Box::pin(a.commit(increment()))]).await;
        assert_eq!(results, [Ok(()), Err(StoreError::Conflict)]);

        // Removed and made again, even with the same content, is not the same record.
        let before = a.version(b"k").unwrap().unwrap();
        let mut removal = Batch::new();
        removal.delete(b"k");
        a.commit(removal).await.unwrap();
        put(&a, "k", "updated").await;
        let mut late = batch(&[("k", "late")]);
        late.expect_version(b"k", before);
        assert_eq!(a.commit(late).await, Err(StoreError::Conflict));
    })
    .unwrap();
}

#[test]
fn a_replacement_and_its_erasure_are_one_batch() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        put(&app(&store, "app:a"), "k", "old data").await;
        put(&store.core(), "registry", "a runs old code").await;
        let before = host.batches.load(Ordering::Relaxed);
        let mut replace = batch(&[("registry", "a runs new code")]);
        replace.erase("app:a");
        store.core().commit(replace).await.unwrap();
        assert_eq!(host.batches.load(Ordering::Relaxed), before + 1);
        assert_eq!(store.usage("app:a"), Usage::default());
        assert_eq!(read(&store.core(), &host, "registry").await.unwrap(), "a runs new code");

        // Erasing comes before writing in the same namespace.
        let mut own = batch(&[("registry", "fresh")]);
        own.erase("core");
        store.core().commit(own).await.unwrap();
        assert_eq!(store.usage("core"), Usage { records: 1, bytes: 5 });
        assert_eq!(store.erase("app:never was").await, Ok(0));
    })
    .unwrap();
    with_store(&cpu, &host, async |store| {
        assert_eq!(read(&store.core(), &host, "registry").await.unwrap(), "fresh");
    })
    .unwrap();
}

#[test]
fn a_quota_bounds_growth_and_never_shrinking() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        store.set_quota("app:a", Some(Quota { records: 2, bytes: 10 }));
        put(&a, "k", "12345").await;
        let over = |what, after, most| Err(StoreError::Quota { what, after, most });
        assert_eq!(a.commit(batch(&[("l", "123456")])).await, over("bytes", 11, 10));
        put(&a, "l", "12345").await;
        assert_eq!(a.commit(batch(&[("m", "")])).await, over("records", 3, 2));
        put(&a, "l", "1234").await;
        put(&app(&store, "app:bb"), "k", "others are not bounded by it").await;
        store.set_quota("app:a", Some(Quota { records: 1, bytes: 1 }));
        put(&a, "l", "123").await;
        assert_eq!(a.commit(batch(&[("l", "1234")])).await, over("bytes", 9, 1));
        let mut fresh = batch(&[("n", "1")]);
        fresh.erase("app:a");
        assert_eq!(a.commit(fresh).await, Ok(()));
        store.set_quota("app:a", None);
        put(&a, "l", "123456789").await;
    })
    .unwrap();
}

#[test]
fn what_can_be_stored_can_be_erased_in_one_batch() {
    let asked = Quota { records: u64::MAX, bytes: 7 };
    assert_eq!(Quota::in_force(Some(&asked)), Quota { records: MAX_RECORDS, bytes: 7 });
    assert_eq!(Quota::in_force(None).records, MAX_RECORDS);
    // 37 bytes for each removal, beside the largest artifact that the registry takes.
    assert!(MAX_RECORDS as usize * 37 + 64 * 1024 * 1024 < MAX_BATCH);
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let (cpu, host) = (cpu(), Host::new());
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        let refused = |result: Result<(), StoreError>| match result {
            Err(StoreError::TooLarge { what, len, max }) => {
                assert_eq!(len, max + 1);
                what
            }
            other => panic!("{other:?}"),
        };
        let mut value = Batch::new();
        value.put(b"k", vec![0; MAX_VALUE + 1]);
        assert_eq!(refused(a.commit(value).await), "a value");
        let mut key = Batch::new();
        key.delete(&vec![0; MAX_KEY + 1]);
        assert_eq!(refused(a.commit(key).await), "a key");
        let long = app(&store, &"n".repeat(MAX_NAME + 1));
        assert_eq!(refused(long.commit(batch(&[("k", "v")])).await), "a namespace's name");
        let mut largest = Batch::new();
        largest.put(&[0; MAX_KEY], vec![0; MAX_VALUE]);
        assert_eq!(a.commit(largest).await, Ok(()));
        assert_eq!(a.get(&host, &[0; MAX_KEY]).await.unwrap().unwrap().len(), MAX_VALUE);
    })
    .unwrap();
}
