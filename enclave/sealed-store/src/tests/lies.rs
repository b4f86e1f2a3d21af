//! Every lie about stored data that D12 names, told to a running enclave and to one that starts.

use std::sync::Arc;

use super::world::*;
use crate::anchor::ANCHOR_ID;
use crate::head::HEAD_ID;
use crate::{Id, Misbehaviour, NamespaceKey, OpenError, RecordId, Store, StoreError, Usage};

const SECRET: &str = "the value that nobody may see";

/// A store with `a/k`, `a/l` and `b/k`; gives the ids of these records in that order.
fn filled(cpu: &Arc<Cpu>, host: &Host) -> [RecordId; 3] {
    with_store(cpu, host, async |store| {
        let mut ids = Vec::new();
        for (name, key) in [("app:a", "k"), ("app:a", "l"), ("app:bb", "k")] {
            let before = host.ids();
            put(&app(&store, name), key, SECRET).await;
            ids.extend(host.ids().into_iter().filter(|id| !before.contains(id)));
        }
        ids.try_into().unwrap()
    })
    .unwrap()
}

fn caught(cpu: &Arc<Cpu>, host: &Host) -> Misbehaviour {
    match open_error(cpu, host) {
        OpenError::HostMisbehaved(how) => how,
        other => panic!("{other}"),
    }
}

/// What reading `a/k` says in a running enclave after `lie`.
fn caught_reading(lie: impl FnOnce(&Host, [RecordId; 3])) -> Misbehaviour {
    let (cpu, host) = (cpu(), Host::new());
    let ids = filled(&cpu, &host);
    with_store(&cpu, &host, async |store| {
        lie(&host, ids);
        match app(&store, "app:a").get(&host, b"k").await {
            Err(StoreError::HostMisbehaved(how)) => how,
            other => panic!("{other:?}"),
        }
    })
    .unwrap()
}

/// What opening says after `lie`.
fn caught_opening(lie: impl FnOnce(&Host, [RecordId; 3])) -> Misbehaviour {
    let (cpu, host) = (cpu(), Host::new());
    let ids = filled(&cpu, &host);
    lie(&host, ids);
    caught(&cpu, &host)
}

#[test]
fn the_host_sees_no_value_no_key_and_no_name() {
    let (cpu, host) = (cpu(), Host::new());
    filled(&cpu, &host);
    for (id, record) in host.snapshot() {
        let stored = [id.as_slice(), &record].concat();
        for secret in [SECRET, "app:a", "app:bb", "core"] {
            assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn flipped_bits_anywhere() {
    let (cpu, host) = (cpu(), Host::new());
    let [id, ..] = filled(&cpu, &host);
    let honest = host.snapshot();
    let forged = Misbehaviour::RecordForged(Id(id));
    for at in 0..honest[&id].len() {
        host.restore(&honest);
        host.records().get_mut(&id).unwrap()[at] ^= 0x10;
        assert_eq!(caught(&cpu, &host), forged, "byte {at}");
    }
    host.restore(&honest);
    with_store(&cpu, &host, async |store| {
        for at in 0..honest[&id].len() {
            host.restore(&honest);
            host.records().get_mut(&id).unwrap()[at] ^= 0x10;
            let read = app(&store, "app:a").get(&host, b"k").await;
            assert_eq!(read, Err(StoreError::HostMisbehaved(forged.clone())), "byte {at}");
        }
        host.restore(&honest);
        assert_eq!(read(&app(&store, "app:a"), &host, "k").await.unwrap(), SECRET, "and goes on");
    })
    .unwrap();
}

#[test]
fn truncated_and_lengthened() {
    let change = |keep: usize, add: usize| {
        move |host: &Host, [id, ..]: [RecordId; 3]| {
            let mut records = host.records();
            let record = records.get_mut(&id).unwrap();
            record.truncate(keep.min(record.len()));
            record.resize(record.len() + add, 0);
        }
    };
    for (keep, add) in [(0, 0), (1, 0), (15, 0), (16, 0), (60, 0), (91, 0), (92, 0), (usize::MAX, 1)] {
        assert!(matches!(caught_reading(change(keep, add)), Misbehaviour::RecordForged(_)));
        assert!(matches!(caught_opening(change(keep, add)), Misbehaviour::RecordForged(_)));
    }
}

#[test]
fn swapped_within_an_app_and_between_apps() {
    let swap = |with: usize| {
        move |host: &Host, ids: [RecordId; 3]| {
            let mut records = host.records();
            let (a, b) = (records[&ids[0]].clone(), records[&ids[with]].clone());
            records.insert(ids[0], b);
            records.insert(ids[with], a);
        }
    };
    for with in [1, 2] {
        assert!(matches!(caught_reading(swap(with)), Misbehaviour::RecordForged(_)));
        assert!(matches!(caught_opening(swap(with)), Misbehaviour::RecordForged(_)));
    }
}

#[test]
fn withheld() {
    let withhold = |host: &Host, [id, ..]: [RecordId; 3]| drop(host.records().remove(&id));
    assert!(matches!(caught_reading(withhold), Misbehaviour::RecordMissing(_)));
    assert_eq!(caught_opening(withhold), Misbehaviour::Withheld { expected: 3, found: 2 });
}

#[test]
fn stale() {
    let (cpu, host) = (cpu(), Host::new());
    let [id, ..] = filled(&cpu, &host);
    let old = host.snapshot();
    with_store(&cpu, &host, async |store| {
        let a = app(&store, "app:a");
        put(&a, "k", "newer").await;
        host.records().insert(id, old[&id].clone());
        let stale = Misbehaviour::RecordStale(Id(id));
        assert_eq!(a.get(&host, b"k").await, Err(StoreError::HostMisbehaved(stale)));
    })
    .unwrap();
    assert_eq!(caught(&cpu, &host), Misbehaviour::Mixed);

    // The other way round: everything old but one record, or everything new but the head.
    let new = host.snapshot();
    host.restore(&old);
    host.records().insert(id, new[&id].clone());
    host.records().insert(HEAD_ID, new[&HEAD_ID].clone());
    assert_eq!(caught(&cpu, &host), Misbehaviour::Mixed);
    host.restore(&old);
    host.records().insert(HEAD_ID, new[&HEAD_ID].clone());
    assert_eq!(caught(&cpu, &host), Misbehaviour::Mixed);
}

#[test]
fn a_removed_record_does_not_come_back() {
    let (cpu, host) = (cpu(), Host::new());
    let [id, ..] = filled(&cpu, &host);
    let old = host.snapshot();
    with_store(&cpu, &host, async |store| {
        assert_eq!(store.erase("app:a").await, Ok(2));
        assert_eq!(host.ids().len(), 1, "nothing is left at the host");
        host.records().insert(id, old[&id].clone());
        assert_eq!(app(&store, "app:a").get(&host, b"k").await, Ok(None), "the host's word does not count");
        // Not even after the same key was used again.
        put(&app(&store, "app:a"), "k", "new life").await;
        host.records().insert(id, old[&id].clone());
        let stale = Misbehaviour::RecordStale(Id(id));
        assert_eq!(app(&store, "app:a").get(&host, b"k").await, Err(StoreError::HostMisbehaved(stale)));
        assert_eq!(store.erase("app:a").await, Ok(1));
    })
    .unwrap();
    host.records().insert(id, old[&id].clone());
    assert_eq!(caught(&cpu, &host), Misbehaviour::Added { expected: 1 });
}

#[test]
fn a_scan_that_repeats_is_out_of_order_or_stands_still() {
    let (cpu, host) = (cpu(), Host::new());
    filled(&cpu, &host);
    let lie = |filter: Box<dyn Fn(Option<RecordId>, crate::Page) -> crate::Page + Send + Sync>| {
        *host.scan_filter.lock().unwrap() = Some(filter);
        caught(&cpu, &host)
    };
    let twice_in_a_page = lie(Box::new(|_, mut page| {
        let last = page.records.last().unwrap().clone();
        page.records.push(last);
        page
    }));
    assert!(matches!(twice_in_a_page, Misbehaviour::ScanOrder(_)));
    let backwards = lie(Box::new(|_, mut page| {
        page.records.swap(1, 2);
        page
    }));
    assert!(matches!(backwards, Misbehaviour::HeadMissing | Misbehaviour::ScanOrder(_)));
    let first = host.snapshot().into_iter().next().unwrap();
    let again = lie(Box::new(move |after, mut page| {
        if after.is_some() {
            page.records.insert(0, first.clone());
        }
        page
    }));
    assert!(matches!(again, Misbehaviour::ScanOrder(_)));
    let stuck = lie(Box::new(|after, page| match after {
        Some(_) => crate::Page { records: Vec::new(), more: true },
        None => page,
    }));
    assert_eq!(stuck, Misbehaviour::ScanStuck);
    let before = host.snapshot();
    let nothing = lie(Box::new(|_, _| crate::Page::default()));
    assert_eq!(nothing, Misbehaviour::ScanEmpty);
    assert_eq!(host.snapshot(), before, "and the store was not written over");
    let cut_short = lie(Box::new(|_, page| crate::Page { more: false, ..page }));
    assert_eq!(cut_short, Misbehaviour::Withheld { expected: 3, found: 1 });
}

#[test]
fn anchor_and_head_withheld_or_altered() {
    let (cpu, host) = (cpu(), Host::new());
    filled(&cpu, &host);
    let honest = host.snapshot();
    for (id, how) in [(ANCHOR_ID, Misbehaviour::AnchorMissing), (HEAD_ID, Misbehaviour::HeadMissing)] {
        host.restore(&honest);
        host.records().remove(&id);
        assert_eq!(caught(&cpu, &host), how);
    }
    for at in 0..honest[&HEAD_ID].len() {
        host.restore(&honest);
        host.records().get_mut(&HEAD_ID).unwrap()[at] ^= 1;
        assert_eq!(caught(&cpu, &host), Misbehaviour::HeadForged, "byte {at}");
    }
    for at in 0..honest[&ANCHOR_ID].len() {
        host.restore(&honest);
        host.records().get_mut(&ANCHOR_ID).unwrap()[at] ^= 2;
        let error = open_error(&cpu, &host);
        let typed = match at {
            8..10 => matches!(error, OpenError::Format { .. }),
            16..48 => matches!(error, OpenError::OtherMeasurement { .. }),
            // A newer CPUSVN than the CPU's is refused by EGETKEY, any other change by the MAC.
            48..64 => matches!(error, OpenError::SealKey(_)),
            _ => error == OpenError::HostMisbehaved(Misbehaviour::AnchorForged),
        };
        assert!(typed, "byte {at}: {error}");
        assert_eq!(host.batches.load(std::sync::atomic::Ordering::Relaxed), 4, "nothing was written");
    }
    for len in [0, 1, 95, 96, 127] {
        host.restore(&honest);
        host.records().get_mut(&ANCHOR_ID).unwrap().truncate(len);
        assert_eq!(caught(&cpu, &host), Misbehaviour::AnchorForged);
    }
}

#[test]
fn two_stores_of_one_enclave_do_not_mix() {
    let (cpu, one, two) = (cpu(), Host::new(), Host::new());
    let ids = filled(&cpu, &one);
    filled(&cpu, &two);
    for id in [ANCHOR_ID, HEAD_ID] {
        let honest = one.snapshot();
        one.records().insert(id, two.snapshot()[&id].clone());
        assert_eq!(caught(&cpu, &one), Misbehaviour::HeadForged);
        one.restore(&honest);
    }
    let foreign = two.ids()[0];
    one.records().insert(ids[0], two.snapshot()[&foreign].clone());
    assert!(matches!(caught(&cpu, &one), Misbehaviour::RecordForged(_)));
}

#[test]
fn a_store_of_another_measurement_is_named_and_left_untouched() {
    let host = Host::new();
    filled(&cpu(), &host);
    let before = host.snapshot();
    let batches = host.batches.load(std::sync::atomic::Ordering::Relaxed);
    let error = open_error(&Cpu::with_measurement(0xBB), &host);
    assert_eq!(error, OpenError::OtherMeasurement { store: [0xAA; 32], enclave: [0xBB; 32] });
    let text = error.to_string();
    assert!(text.contains(&"aa".repeat(32)) && text.contains(&"bb".repeat(32)), "{text}");
    assert_eq!(host.snapshot(), before);
    assert_eq!(host.batches.load(std::sync::atomic::Ordering::Relaxed), batches);
}

#[test]
fn a_host_without_anything_is_a_first_boot_and_so_is_an_earlier_whole_state() {
    // What is documented as not detected, so that a change of it is a decision.
    let (cpu, host) = (cpu(), Host::new());
    filled(&cpu, &host);
    let old = host.snapshot();
    with_store(&cpu, &host, async |store| put(&app(&store, "app:a"), "k", "newer").await).unwrap();
    host.restore(&old);
    with_store(&cpu, &host, async |store| {
        assert_eq!(read(&app(&store, "app:a"), &host, "k").await.unwrap(), SECRET);
    })
    .unwrap();
    host.records().clear();
    with_store(&cpu, &host, async |store| {
        assert_eq!(store.usage("app:a"), Usage::default());
    })
    .unwrap();
}

#[test]
fn a_rollback_repeats_no_key() {
    // The same commit after a rollback: same counter, same version, same key and value, other ciphertext.
    let (cpu, host) = (cpu(), Host::new());
    let [id, ..] = filled(&cpu, &host);
    let old = host.snapshot();
    let again = || {
        host.restore(&old);
        with_store(&cpu, &host, async |store| put(&app(&store, "app:a"), "k", "same").await).unwrap();
        host.records()[&id].clone()
    };
    let (one, two) = (again(), again());
    assert_eq!(one[..28], two[..28], "format, namespace and version repeat");
    assert_ne!(one[28..60], two[28..60], "the salt does not");
    assert_ne!(one[60..], two[60..]);
}

#[test]
fn without_its_key_a_namespace_is_closed_but_can_be_counted_and_erased() {
    let (cpu, host) = (cpu(), Host::new());
    let brought = NamespaceKey::from_bytes([7; 32]);
    with_store(&cpu, &host, async |store| {
        put(&store.namespace("app:byok", brought.clone()), "k", SECRET).await;
    })
    .unwrap();
    with_store(&cpu, &host, async |store: Store| {
        let usage = Usage { records: 1, bytes: SECRET.len() as u64 };
        assert_eq!(store.usage("app:byok"), usage);
        let wrong = store.namespace("app:byok", NamespaceKey::from_bytes([8; 32]));
        assert_eq!(wrong.get(&host, b"k").await, Err(StoreError::WrongKey));
        assert_eq!(read(&store.namespace("app:byok", brought.clone()), &host, "k").await.unwrap(), SECRET);
        // Freshness does not need the key either.
        assert_eq!(store.erase("app:byok").await, Ok(1));
        assert_eq!(host.ids(), [[0_u8; 32]; 0]);
    })
    .unwrap();
}
