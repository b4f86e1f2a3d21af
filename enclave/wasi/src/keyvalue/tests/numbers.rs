//! What operations cost does not depend on how many keys there are, and listings are complete.

use super::super::index::LEAF_BYTES;
use super::*;

async fn fill(call: &Call, keys: std::ops::Range<usize>) {
    let keys: Vec<usize> = keys.collect();
    for some in keys.chunks(1000) {
        let pairs = some.iter().map(|n| (format!("key-{n:06}"), vec![0; 8])).collect();
        call.run(Op::Set(pairs)).await.unwrap();
    }
}

#[test]
fn an_operation_costs_the_same_among_many_keys() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        let mut most = Vec::new();
        for keys in [100, 20_000] {
            let there = call.buckets.writer.keys().unwrap_or(0);
            fill(&call, usize::try_from(there).unwrap()..keys).await;
            let mut cost = (0, 0, 0, 0);
            for n in 0..100 {
                let key = format!("key-{:06}", n * keys / 100);
                let before = fake.fetches.load(Ordering::Relaxed);
                assert!(call.get(&key).await.is_some());
                let fetched = fake.fetches.load(Ordering::Relaxed) - before;
                call.set(&key, b"another").await.unwrap();
                let replaced = fake.last_commit();
                assert_eq!(replaced.0, 1, "a value that is replaced is one record");
                call.delete(&key).await.unwrap();
                let (records, bytes) = fake.last_commit();
                let before = fake.fetches.load(Ordering::Relaxed);
                call.set(&key, b"again").await.unwrap();
                let read = fake.fetches.load(Ordering::Relaxed) - before;
                cost = (cost.0.max(fetched), cost.1.max(records), cost.2.max(bytes), cost.3.max(read));
                // Value, leaf and count of keys; now and then a leaf becomes sixteen.
                let (records, bytes) = fake.last_commit();
                assert!(records <= 3 + 17 && bytes <= 2 * LEAF_BYTES, "{records} records of {bytes} bytes");
            }
            most.push(cost);
        }
        let [(get, records, bytes, read), many] = most[..] else { panic!("two rounds") };
        assert_eq!((get, read), (1, 1), "one question to the host");
        assert_eq!((many.0, many.1, many.3), (get, records, read));
        assert!(bytes <= LEAF_BYTES + 64 && many.2 <= LEAF_BYTES + 64, "{bytes}, {} bytes", many.2);
    });
}

#[test]
fn a_listing_is_complete_while_keys_come_and_go() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fill(&call, 0..5000).await;
        let (mut listed, mut from, mut pages) = (Vec::new(), Some(0), 0);
        while let Some(cursor) = from {
            let call = fake.restart();
            let (page, next) = call.page(cursor).await;
            assert!(page.len() <= read::PAGE_KEYS);
            listed.extend(page);
            from = next;
            // Others come, which splits leaves, and of those that are not asked for some go.
            fill(&call, 10_000 + 2000 * pages..12_000 + 2000 * pages).await;
            let gone = (0..300).map(|n| format!("key-{:06}", 4000 + 300 * (pages % 3) + n)).collect();
            call.run(Op::Delete(gone)).await.unwrap();
            pages += 1;
        }
        assert!(pages >= 5, "{pages}");
        let all = listed.len();
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), all, "no key comes twice");
        for n in 0..4000 {
            assert!(listed.binary_search(&format!("key-{n:06}")).is_ok(), "{n}");
        }
    });
}

#[test]
fn a_page_ends_however_empty_the_leaves_are() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fill(&call, 0..60_000).await;
        // One key stays in each leaf: they are not joined.
        let mut left = Vec::new();
        let leaves: Vec<_> =
            fake.records.lock().unwrap().keys().filter(|key| key[4] == b'l').cloned().collect();
        for leaf in leaves {
            let leaf = fake.get(&leaf).await.unwrap().unwrap();
            let keys = super::super::index::Leaf::decode(&leaf.value).unwrap();
            let mut keys: Vec<String> = keys.entries().iter().map(|(_, key)| key.clone()).collect();
            left.push(keys.pop().unwrap());
            call.run(Op::Delete(keys)).await.unwrap();
        }
        let before = fake.fetches.load(Ordering::Relaxed);
        let (page, next) = call.page(0).await;
        assert!(fake.fetches.load(Ordering::Relaxed) - before <= 256 && !page.is_empty() && next.is_some());
        left.sort();
        assert_eq!(call.keys().await, left);
    });
}

#[test]
fn keys_of_the_greatest_length_are_listed_in_pages_of_bounded_size() {
    block_on(async {
        let call = Fake::new().restart();
        let keys: Vec<String> = (0..300).map(|n| format!("{n:01024}")).collect();
        for some in keys.chunks(100) {
            call.run(Op::Set(some.iter().map(|key| (key.clone(), vec![])).collect())).await.unwrap();
        }
        assert!(call.page(0).await.0.len() <= 65);
        assert_eq!(call.keys().await, keys);
    });
}
