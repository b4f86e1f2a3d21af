//! Random histories with restarts, against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::*;
use crate::{Batch, StoreError, Usage};

const NAMES: [&str; 3] = ["app:a", "app:bb", "app:ccc"];

#[derive(Clone, Debug)]
enum Change {
    Put(u8, Vec<u8>),
    Delete(u8),
}

#[derive(Clone, Debug)]
enum Step {
    Commit { name: usize, changes: Vec<Change>, expect: Option<(u8, bool)>, erase: Option<usize> },
    Erase(usize),
    Refused(usize, u8),
    Restart,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..6_u8, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(k, v)| Change::Put(k, v)),
        1 => (0..6_u8).prop_map(Change::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (
        0..3_usize,
        proptest::collection::vec(change(), 0..5),
        proptest::option::weighted(0.3, (0..6_u8, any::<bool>())),
        proptest::option::weighted(0.1, 0..3_usize),
    )
        .prop_map(|(name, changes, expect, erase)| Step::Commit { name, changes, expect, erase });
    prop_oneof![
        12 => commit,
        1 => (0..3_usize).prop_map(Step::Erase),
        1 => (0..3_usize, 0..6_u8).prop_map(|(n, k)| Step::Refused(n, k)),
        3 => Just(Step::Restart),
    ]
}

type Oracle = BTreeMap<(usize, u8), Vec<u8>>;

async fn apply(store: &crate::Store, host: &Host, oracle: &mut Oracle, step: &Step) {
    match step {
        Step::Commit { name, changes, expect, erase } => {
            let namespace = app(store, NAMES[*name]);
            let mut batch = Batch::new();
            let mut after = oracle.clone();
            let mut holds = true;
            if let Some((key, current)) = expect {
                let version = namespace.version(&[*key]).unwrap();
                match version.filter(|_| *current) {
                    Some(version) => batch.expect_version(&[*key], version),
                    None => batch.expect_absent(&[*key]),
                }
                holds = version.is_none() || *current;
            }
            if let Some(erased) = erase {
                batch.erase(NAMES[*erased]);
                after.retain(|(name, _), _| name != erased);
            }
            for change in changes {
                match change {
                    Change::Put(key, value) => {
                        batch.put(&[*key], value.clone());
                        after.insert((*name, *key), value.clone());
                    }
                    Change::Delete(key) => {
                        batch.delete(&[*key]);
                        after.remove(&(*name, *key));
                    }
                }
            }
            let expected = if holds { Ok(()) } else { Err(StoreError::Conflict) };
            assert_eq!(namespace.commit(batch).await, expected);
            if holds {
                *oracle = after;
            }
        }
        Step::Erase(name) => {
            let before = oracle.len();
            oracle.retain(|(n, _), _| n != name);
            assert_eq!(store.erase(NAMES[*name]).await, Ok((before - oracle.len()) as u64));
        }
        Step::Refused(name, key) => {
            let mut batch = Batch::new();
            batch.put(&[*key], "lost");
            *host.on_batch.lock().unwrap() = Batches::Refuse;
            assert!(app(store, NAMES[*name]).commit(batch).await.is_err());
            *host.on_batch.lock().unwrap() = Batches::Apply;
        }
        Step::Restart => {}
    }
}

async fn compare(store: &crate::Store, host: &Host, oracle: &Oracle) {
    for (n, name) in NAMES.iter().enumerate() {
        let mut usage = Usage::default();
        for key in 0..6 {
            let expected = oracle.get(&(n, key));
            let found = app(store, name).get(host, &[key]).await.unwrap();
            assert_eq!(found.as_deref(), expected);
            usage.records += u64::from(expected.is_some());
            usage.bytes += expected.map_or(0, |value| value.len() as u64);
        }
        assert_eq!(store.usage(name), usage);
    }
    assert_eq!(host.ids().len(), oracle.len(), "nothing else lies at the host");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_is_a_map_that_survives_restarts(history in proptest::collection::vec(step(), 1..40)) {
        let (cpu, host) = (cpu(), Host::new());
        let mut oracle = Oracle::new();
        for run in history.split(|step| matches!(step, Step::Restart)) {
            with_store(&cpu, &host, async |store| {
                compare(&store, &host, &oracle).await;
                for step in run {
                    apply(&store, &host, &mut oracle, step).await;
                }
                compare(&store, &host, &oracle).await;
            })
            .unwrap();
        }
    }
}
