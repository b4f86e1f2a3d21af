//! What the enclave knows about every live record: enough to recognise it, no more.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::backend::{Op, RecordId};
use crate::keys::{NamespaceTag, RecordMac, RootKeys};
use crate::multiset::Multiset;

/// How much of the store a namespace takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live records.
    pub records: u64,
    /// Bytes of their values, as they were given.
    pub bytes: u64,
}

/// One live record. With its id 64 bytes, the whole cost of a record in enclave memory beside free slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) version: u64,
    pub(crate) bytes: u32,
    pub(crate) mac: RecordMac,
}

/// Ids are outputs of a keyed PRF already: their first bytes are the hash.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length_prefix: usize) {}
}

pub(crate) type ById<T> = HashMap<RecordId, T, BuildHasherDefault<IdHasher>>;

#[derive(Default)]
struct Space {
    slots: ById<Slot>,
    bytes: u64,
}

/// All live records, by namespace, and the multiset hash over them.
#[derive(Default)]
pub(crate) struct Table {
    spaces: HashMap<NamespaceTag, Space>,
    records: u64,
    multiset: Multiset,
}

impl Table {
    pub(crate) fn slot(&self, tag: &NamespaceTag, id: &RecordId) -> Option<Slot> {
        self.spaces.get(tag)?.slots.get(id).copied()
    }

    pub(crate) fn usage(&self, tag: &NamespaceTag) -> Usage {
        self.spaces
            .get(tag)
            .map_or(Usage::default(), |space| Usage { records: space.slots.len() as u64, bytes: space.bytes })
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn multiset(&self) -> Multiset {
        self.multiset
    }

    /// Adds what a scan found. The caller has seen that no id comes twice.
    pub(crate) fn insert(&mut self, root: &RootKeys, tag: NamespaceTag, id: RecordId, slot: Slot) {
        self.multiset.add(&root.multiset_element(&id, slot.version, &slot.mac));
        self.set(tag, id, Some(slot));
    }

    /// Takes over a plan that the host has made durable.
    pub(crate) fn apply(&mut self, plan: Plan) {
        self.multiset = plan.multiset;
        for (id, change) in plan.changes {
            self.set(change.tag, id, change.slot);
        }
    }

    fn set(&mut self, tag: NamespaceTag, id: RecordId, slot: Option<Slot>) {
        let space = self.spaces.entry(tag).or_default();
        let old = match slot {
            Some(slot) => {
                space.bytes += u64::from(slot.bytes);
                self.records += 1;
                space.slots.insert(id, slot)
            }
            None => space.slots.remove(&id),
        };
        if let Some(old) = old {
            space.bytes = space.bytes.saturating_sub(u64::from(old.bytes));
            self.records = self.records.saturating_sub(1);
        }
        if space.slots.is_empty() {
            self.spaces.remove(&tag);
        }
    }
}

/// What a batch changes, on top of a table that does not know of it yet.
pub(crate) struct Plan {
    changes: ById<Change>,
    usage: HashMap<NamespaceTag, Usage>,
    multiset: Multiset,
    records: u64,
}

struct Change {
    tag: NamespaceTag,
    slot: Option<Slot>,
}

impl Plan {
    pub(crate) fn new(table: &Table) -> Self {
        Self {
            changes: ById::default(),
            usage: HashMap::new(),
            multiset: table.multiset,
            records: table.records,
        }
    }

    /// The record as it will be.
    pub(crate) fn slot(&self, table: &Table, tag: &NamespaceTag, id: &RecordId) -> Option<Slot> {
        match self.changes.get(id) {
            Some(change) => change.slot,
            None => table.slot(tag, id),
        }
    }

    /// How much the namespace will take.
    pub(crate) fn usage(&self, table: &Table, tag: &NamespaceTag) -> Usage {
        self.usage.get(tag).copied().unwrap_or_else(|| table.usage(tag))
    }

    pub(crate) fn touches(&self, id: &RecordId) -> bool {
        self.changes.contains_key(id)
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn multiset(&self) -> Multiset {
        self.multiset
    }

    pub(crate) fn set(
        &mut self,
        table: &Table,
        root: &RootKeys,
        tag: NamespaceTag,
        id: RecordId,
        slot: Option<Slot>,
    ) {
        let old = self.slot(table, &tag, &id);
        let mut usage = self.usage(table, &tag);
        if let Some(old) = old {
            self.multiset.remove(&root.multiset_element(&id, old.version, &old.mac));
            self.records = self.records.saturating_sub(1);
            usage.records = usage.records.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(u64::from(old.bytes));
        }
        if let Some(new) = slot {
            self.multiset.add(&root.multiset_element(&id, new.version, &new.mac));
            self.records += 1;
            usage.records += 1;
            usage.bytes += u64::from(new.bytes);
        }
        self.usage.insert(tag, usage);
        self.changes.insert(id, Change { tag, slot });
    }

    /// The live records of a namespace, this plan included.
    pub(crate) fn live(&self, table: &Table, tag: &NamespaceTag) -> Vec<RecordId> {
        let stored = table.spaces.get(tag).into_iter().flat_map(|space| space.slots.keys());
        let kept = stored.filter(|id| !self.touches(id));
        let new = self.changes.iter().filter(|(_, change)| change.tag == *tag && change.slot.is_some());
        kept.chain(new.map(|(id, _)| id)).copied().collect()
    }

    /// The changes as the host is asked for them. `values` holds the sealed bytes of what is put.
    pub(crate) fn ops(&self, table: &Table, mut values: ById<Vec<u8>>) -> Vec<Op> {
        self.changes
            .iter()
            .filter_map(|(id, change)| match change.slot {
                Some(_) => values.remove(id).map(|value| Op::Put { id: *id, value }),
                // What was made and removed within this plan was never at the host.
                None => table.slot(&change.tag, id).map(|_| Op::Delete { id: *id }),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_costs_64_bytes() {
        assert_eq!(size_of::<(RecordId, Slot)>(), 64);
    }

    #[test]
    fn a_plan_becomes_the_table() {
        let root = RootKeys::from_seal_key(&[1; 16]);
        let (a, b) = ([1; 16], [2; 16]);
        let slot = |n: u8| Slot { version: u64::from(n), bytes: u32::from(n), mac: [n; 16] };
        let mut table = Table::default();
        table.insert(&root, a, [1; 32], slot(1));
        table.insert(&root, b, [2; 32], slot(2));

        let mut plan = Plan::new(&table);
        plan.set(&table, &root, a, [3; 32], Some(slot(3)));
        plan.set(&table, &root, a, [1; 32], Some(slot(4)));
        plan.set(&table, &root, b, [2; 32], None);
        plan.set(&table, &root, b, [5; 32], Some(slot(5)));
        plan.set(&table, &root, b, [5; 32], None);
        assert_eq!(plan.usage(&table, &a), Usage { records: 2, bytes: 7 });
        assert_eq!(plan.usage(&table, &b), Usage::default());
        let mut live = plan.live(&table, &a);
        live.sort_unstable();
        assert_eq!(live, [[1; 32], [3; 32]]);
        assert_eq!(plan.live(&table, &b), Vec::<RecordId>::new());

        let values = [([1; 32], vec![4]), ([3; 32], vec![3])].into_iter().collect();
        let mut ops = plan.ops(&table, values);
        ops.sort_by_key(|op| match op {
            Op::Put { id, .. } | Op::Delete { id } => *id,
        });
        assert_eq!(
            ops,
            [
                Op::Put { id: [1; 32], value: vec![4] },
                Op::Delete { id: [2; 32] },
                Op::Put { id: [3; 32], value: vec![3] }
            ]
        );

        let (records, multiset) = (plan.records(), plan.multiset());
        table.apply(plan);
        assert_eq!((table.records(), table.multiset()), (records, multiset));
        let mut same = Table::default();
        same.insert(&root, a, [3; 32], slot(3));
        same.insert(&root, a, [1; 32], slot(4));
        assert_eq!(same.multiset(), multiset);
        assert_eq!(same.usage(&a), table.usage(&a));
        assert!(table.spaces.len() == 1, "an empty namespace costs nothing");
    }
}
