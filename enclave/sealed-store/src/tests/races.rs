//! Readers and writers in every order: an honest host is never accused, and nobody reads backwards.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::future::{block_on, poll_once};
use proptest::prelude::*;

use super::world::*;
use crate::{Batch, Namespace, SEALED_AT_ONCE, Store};

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls tasks in an order drawn from `seed` until the first `wanted` of them are done.
fn interleave(mut tasks: Vec<Task<'_>>, wanted: usize, mut seed: u64) {
    let mut running: Vec<bool> = tasks.iter().map(|_| true).collect();
    let mut polls = 0;
    while running[..wanted].iter().any(|running| *running) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = (seed >> 33) as usize % tasks.len();
        if running[chosen] {
            let poll = tasks[chosen].as_mut().poll(&mut Context::from_waker(Waker::noop()));
            running[chosen] = poll == Poll::Pending;
        }
        polls += 1;
        assert!(polls < 1_000_000, "somebody waits for ever");
    }
}

/// Counts up in one record, now and then by way of removing it.
async fn write(namespace: &Namespace, key: &[u8], acknowledged: &AtomicU64) {
    for n in 1..=12_u64 {
        let mut batch = Batch::new();
        if n % 5 == 0 {
            batch.delete(key);
            namespace.commit(batch).await.unwrap();
            batch = Batch::new();
        }
        batch.put(key, n.to_le_bytes());
        namespace.commit(batch).await.unwrap();
        acknowledged.store(n, Ordering::Relaxed);
    }
}

/// Sees at least what was acknowledged when it asked, and never less than it saw before.
async fn watch(namespace: &Namespace, host: &Host, key: &[u8], acknowledged: &AtomicU64) {
    let mut seen = 0;
    while seen < 12 {
        let least = acknowledged.load(Ordering::Relaxed).max(seen);
        match namespace.get(host, key).await.unwrap() {
            Some(value) => {
                let now = u64::from_le_bytes(value.as_slice().try_into().unwrap());
                assert!(now >= least, "read {now} after {least}");
                seen = now;
            }
            // Before the first put, or between a removal and the put behind it.
            None => {
                let most = acknowledged.load(Ordering::Relaxed);
                assert!(least == 0 || (least..=most).any(|n| n % 5 == 4), "nothing after {least}");
            }
        }
        futures_lite::future::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn readers_see_what_was_committed_while_it_changes(seed: u64, delays in 1..u64::MAX) {
        let (cpu, host) = (cpu(), Host::new());
        host.delays.store(delays | 1, Ordering::Relaxed);
        let (store, committer) = futures_lite::future::block_on(Store::open(cpu.clone(), &host)).unwrap();
        let (a, b) = (app(&store, "app:a"), app(&store, "app:bb"));
        let (first, second) = (AtomicU64::new(0), AtomicU64::new(0));
        let tasks: Vec<Task<'_>> = vec![
            Box::pin(write(&a, b"k", &first)),
            Box::pin(write(&b, b"k", &second)),
            Box::pin(watch(&a, &host, b"k", &first)),
            Box::pin(watch(&a, &host, b"k", &first)),
            Box::pin(watch(&b, &host, b"k", &second)),
            Box::pin(committer.run(&host)),
        ];
        interleave(tasks, 5, seed);
        // And what is left at the host is a state of its own.
        with_store(&cpu, &host, async |store| {
            assert_eq!(app(&store, "app:a").get(&host, b"k").await.unwrap().unwrap()[0], 12);
        })
        .unwrap();
    }
}

#[test]
fn many_threads_agree() {
    let (cpu, host) = (cpu(), Host::new());
    host.delays.store(1, Ordering::Relaxed);
    let (store, committer) = futures_lite::future::block_on(Store::open(cpu.clone(), &host)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| futures_lite::future::block_on(committer.run(&host)));
        let workers: Vec<_> = (0..4)
            .map(|worker: u8| {
                let (store, host) = (&store, &host);
                scope.spawn(move || {
                    futures_lite::future::block_on(async {
                        let shared = app(store, "app:a");
                        for round in 0..100_u8 {
                            let mut batch = Batch::new();
                            batch.put(b"everybody's", [worker, round]);
                            batch.put(&[worker], [round]);
                            shared.commit(batch).await.unwrap();
                            let own = shared.get(host, &[worker]).await.unwrap().unwrap();
                            assert_eq!(*own, [round], "a worker reads its own writes");
                            assert!(shared.get(host, b"everybody's").await.unwrap().is_some());
                        }
                    });
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        futures_lite::future::block_on(store.close()).unwrap();
    });
    with_store(&cpu, &host, async |store| assert_eq!(store.usage("app:a").records, 5)).unwrap();
}

#[test]
fn a_batch_of_many_records_lets_others_run_while_it_is_sealed() {
    const RECORDS: usize = 10 * SEALED_AT_ONCE;
    let (cpu, host) = (cpu(), Host::new());
    let (store, committer) = block_on(Store::open(cpu, &host)).unwrap();
    let namespace = app(&store, "app:a");
    let batch = || {
        let mut batch = Batch::new();
        (0..RECORDS).for_each(|n| batch.put(&n.to_le_bytes(), vec![0]));
        batch
    };
    block_on(async {
        let mut committer = pin!(committer.run(&host));
        let mut dropped = Box::pin(namespace.commit(batch()));
        assert!(poll_once(&mut dropped).await.is_none());
        drop(dropped);
        assert!(poll_once(&mut committer).await.is_none());
        assert_eq!(namespace.usage().records, 0, "it was not sealed yet");

        let (mut commit, mut turns) = (pin!(namespace.commit(batch())), 0);
        while poll_once(&mut commit).await.is_none() {
            assert!(poll_once(&mut committer).await.is_none());
            turns += 1;
        }
        assert_eq!(namespace.usage().records, RECORDS as u64);
        assert!(turns >= RECORDS / SEALED_AT_ONCE, "{turns}");
    });
}
