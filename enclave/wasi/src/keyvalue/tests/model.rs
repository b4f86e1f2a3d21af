//! What operations do, one after the other and together.

use proptest::prelude::*;

use super::super::index::{Leaf, Place};
use super::super::record::{Meta, PIECE, decode_value, encode_value};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<(u8, u8)>),
    Delete(Vec<u8>),
    Add(u8, u64),
    Swap(u8, bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((any::<u8>(), any::<u8>()), 1..20).prop_map(Step::Set),
        3 => prop::collection::vec(any::<u8>(), 1..30).prop_map(Step::Delete),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(key, delta)| Step::Add(key, delta)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(key, fresh)| Step::Swap(key, fresh)),
        1 => Just(Step::Restart),
    ]
}

/// A name that is long enough for leaves to be split soon.
fn name(key: u8) -> String {
    format!("{key}{}", "-".repeat(usize::from(key) * 3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn buckets_do_what_a_map_does(steps in prop::collection::vec(step(), 1..40)) {
        block_on(async {
            let fake = Fake::new();
            let mut call = fake.restart();
            let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(pairs) => {
                        let pairs: Vec<_> =
                            pairs.into_iter().map(|(key, value)| (name(key), vec![value; 3])).collect();
                        assert_eq!(call.run(Op::Set(pairs.clone())).await.unwrap(), Outcome::Done);
                        model.extend(pairs);
                    }
                    Step::Delete(keys) => {
                        let keys: Vec<_> = keys.into_iter().map(name).collect();
                        assert_eq!(call.run(Op::Delete(keys.clone())).await.unwrap(), Outcome::Done);
                        keys.iter().for_each(|key| drop(model.remove(key)));
                    }
                    Step::Add(key, delta) => {
                        let key = name(key);
                        let old = model.get(&key).map_or(Some(0), |value| std::str::from_utf8(value).ok()?.parse().ok());
                        let sum = old.and_then(|old: u64| old.checked_add(delta));
                        let done = call.add(&key, delta).await;
                        match sum {
                            Some(sum) => {
                                assert_eq!(done.unwrap(), Outcome::Number(Number::Unsigned(sum)));
                                model.insert(key, sum.to_string().into_bytes());
                            }
                            None => assert!(done.is_err()),
                        }
                    }
                    Step::Swap(key, fresh) => {
                        let key = name(key);
                        let expected = if fresh { call.version(&key) } else { Some(u64::MAX) };
                        let done = call.run(Op::Swap { key: key.clone(), expected, value: b"swapped".to_vec() }).await;
                        assert_eq!(done.unwrap(), if fresh { Outcome::Done } else { Outcome::Stale });
                        if fresh {
                            model.insert(key, b"swapped".to_vec());
                        }
                    }
                    Step::Restart => call = fake.restart(),
                }
                let keys: Vec<String> = model.keys().cloned().collect();
                assert_eq!(call.keys().await, keys);
                assert_eq!(call.buckets.writer.keys().unwrap_or(keys.len() as u64), keys.len() as u64);
            }
            for (key, value) in &model {
                assert_eq!(call.get(key).await.as_ref(), Some(value));
            }
            let all: Vec<String> = model.into_keys().collect();
            call.run(Op::Delete(all)).await.unwrap();
            let left = fake.records.lock().unwrap().len();
            assert!(left <= 1, "{left} records are left of nothing");
        });
    }
}

#[test]
fn buckets_do_not_see_each_other() {
    block_on(async {
        let call = Fake::new().restart();
        let other = call.other("b2");
        call.set("k", b"1").await.unwrap();
        other.set("k", b"2").await.unwrap();
        // A boundary between the names of a bucket and a key that is not one.
        call.other("").set("b2k", b"3").await.unwrap();
        assert_eq!(
            (call.get("k").await.unwrap(), other.get("k").await.unwrap()),
            (b"1".to_vec(), b"2".to_vec())
        );
        other.delete("k").await.unwrap();
        assert_eq!((call.keys().await, other.keys().await), (vec!["k".to_owned()], vec![]));
    });
}

#[test]
fn a_swap_fails_whatever_happened_to_the_key() {
    block_on(async {
        let call = Fake::new().restart();
        let swap = async |expected| {
            let op = Op::Swap { key: "k".to_owned(), expected, value: b"new".to_vec() };
            call.run(op).await.unwrap()
        };
        assert_eq!(swap(Some(1)).await, Outcome::Stale);
        assert_eq!(swap(None).await, Outcome::Done);
        assert_eq!(swap(None).await, Outcome::Stale);
        let seen = call.version("k");
        call.set("k", b"new").await.unwrap();
        assert_eq!(swap(seen).await, Outcome::Stale, "the same value again is a change");
        let seen = call.version("k");
        call.delete("k").await.unwrap();
        call.set("k", b"new").await.unwrap();
        assert_eq!(swap(seen).await, Outcome::Stale, "removed and made again");
    });
}

#[test]
fn swaps_and_increments_of_one_group_see_each_other() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        fake.lazy.store(true, Ordering::Relaxed);
        let swap = |value: &[u8]| Op::Swap { key: "s".to_owned(), expected: None, value: value.to_vec() };
        let (mut one, mut two) = (Box::pin(call.run(swap(b"1"))), Box::pin(call.run(swap(b"2"))));
        let mut adds: Vec<_> = (0..10).map(|_| Box::pin(call.add("n", 1))).collect();
        assert!(poll_once(&mut one).await.is_none() && poll_once(&mut two).await.is_none());
        for add in &mut adds {
            assert!(poll_once(add).await.is_none());
        }
        fake.run_tasks();
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Outcome::Done, Outcome::Stale));
        let mut sums = Vec::new();
        for add in adds {
            sums.push(add.await.unwrap());
        }
        let expected: Vec<_> = (1..=10).map(|n| Outcome::Number(Number::Unsigned(n))).collect();
        assert_eq!(sums, expected);
        assert_eq!(fake.commits.lock().unwrap().len(), 1, "one group, one commit");
    });
}

#[test]
fn increments_refuse_what_is_no_number_and_what_does_not_fit() {
    block_on(async {
        let call = Fake::new().restart();
        for bad in ["", "x", "1.5", "-1", "18446744073709551616", "\u{661}"] {
            call.set("k", bad.as_bytes()).await.unwrap();
            assert!(matches!(call.add("k", 1).await, Err(KvError::NotANumber)), "{bad:?}");
        }
        call.set("k", b"18446744073709551615").await.unwrap();
        assert!(matches!(call.add("k", 1).await, Err(KvError::Overflow)));
        let signed = |delta| Op::Add { key: "s".to_owned(), delta: Number::Signed(delta) };
        assert_eq!(call.run(signed(-5)).await.unwrap(), Outcome::Number(Number::Signed(-5)));
        assert!(matches!(call.run(signed(i64::MIN)).await, Err(KvError::Overflow)));
        assert_eq!(call.get("s").await.unwrap(), b"-5");
    });
}

#[test]
fn long_values_come_back_whole_and_leave_nothing_behind() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, super::super::MAX_VALUE, 2 * PIECE, 5] {
            let value: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            call.set("k", &value).await.unwrap();
            assert_eq!(call.get("k").await.unwrap(), value);
            assert_eq!(fake.count(b'p'), length.saturating_sub(1) / PIECE, "{length}");
        }
        call.set("k", &vec![1; 3 * PIECE]).await.unwrap();
        call.delete("k").await.unwrap();
        assert_eq!((fake.count(b'p'), fake.count(b'v')), (0, 0));
    });
}

#[test]
fn a_value_that_is_replaced_while_it_is_read_is_read_anew() {
    block_on(async {
        let fake = Fake::new();
        let call = fake.restart();
        call.set("k", &vec![1; 2 * PIECE]).await.unwrap();
        for new in [vec![2; 2 * PIECE], vec![3; PIECE / 2]] {
            let (first, rest) = encode_value(&new);
            let piece = Key::Piece(1, "b", "k").to_bytes();
            let pieces: Vec<_> = rest.map(<[u8]>::to_vec).collect();
            *fake.interlude.lock().unwrap() =
                Some(vec![(Key::Value("b", "k").to_bytes(), Some(first)), (piece, pieces.first().cloned())]);
            assert_eq!(call.get("k").await.unwrap(), new);
        }
    });
}

#[test]
fn records_that_do_not_parse_are_said_to_be() {
    let mut leaf = Leaf::default();
    leaf.insert(5, "five");
    leaf.insert(3, "three");
    let bytes = leaf.encode();
    assert_eq!(Leaf::decode(&bytes), Ok(leaf));
    for end in 1..bytes.len() {
        let cut = Leaf::decode(&bytes[..end]);
        assert!(cut.is_err() || cut.is_ok_and(|leaf| leaf.entries().len() < 2));
    }
    let meta = Meta { salt: [3; 32], keys: 9 };
    assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
    for bad in [&[][..], &[1; 40], &[2; 41], &[1; 42]] {
        assert!(Meta::decode(bad).is_err() && decode_value(bad).is_err());
    }
    assert!(decode_value(&[1, 2, 0, 0, 0, 7]).is_err(), "shorter than it says");
    assert_eq!(decode_value(&[1, 1, 0, 0, 0, 7]), Ok((1, &[7][..])));
}

#[test]
fn places_share_out_all_hashes_in_order() {
    let mut place = Place::TOP;
    for level in 0..16 {
        let children: Vec<_> = place.children().collect();
        assert_eq!(children.len(), 16);
        let child = place.child(0x1234_5678_9abc_def0);
        assert!(children.contains(&child) && child.parent() == Some(place), "{level}");
        place = child;
    }
    assert_eq!((place.path, place.end()), (0x1234_5678_9abc_def0, Some(0x1234_5678_9abc_def1)));
    assert!(!place.can_split());
    assert_eq!((Place::TOP.end(), Place::TOP.child(u64::MAX).end()), (None, None));
    assert_eq!(Place::TOP.child(0).end(), Some(1 << 60));
}
