//! The host's records, with everything they ever were.

use std::collections::BTreeMap;
use std::sync::Arc;

use boundary_wire::rpc::{FailureCode, Key, KvOp, MAX_RESPONSE, RECORD_OVERHEAD, Request, Response};

use crate::rng::Rng;
use crate::schedule::Lie;

type Records = BTreeMap<Key, Arc<Vec<u8>>>;

/// Records as an honest host keeps them, and the past that a lying one remembers.
#[derive(Clone, Default)]
pub struct Storage {
    now: Records,
    past: Vec<Records>,
}

impl Storage {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.now.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    /// Every record as it lies there.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.now.values().map(|value| value.as_slice())
    }

    /// How many batches were ever written.
    pub(crate) fn batches(&self) -> usize {
        self.past.len()
    }

    /// The records as they were `back` batches ago, or at first.
    fn then(&self, back: u64) -> &Records {
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        self.past.get(self.past.len().saturating_sub(back)).or(self.past.first()).unwrap_or(&self.now)
    }

    /// What an honest host answers.
    pub(crate) fn answer(&mut self, request: &Request) -> Option<Response> {
        Some(match request {
            Request::KvGet { key } => Response::KvValue(self.now.get(key).map(|value| value.to_vec())),
            Request::KvScan { after, max_bytes } => page(&self.now, after.as_ref(), *max_bytes),
            Request::KvBatch { ops } => {
                self.apply(ops);
                Response::Done
            }
            _ => return None,
        })
    }

    fn apply(&mut self, ops: &[KvOp]) {
        self.past.push(self.now.clone());
        for op in ops {
            match op {
                KvOp::Put { key, value } => self.now.insert(*key, Arc::new(value.clone())),
                KvOp::Delete { key } => self.now.remove(key),
            };
        }
    }

    /// What a host answers that tells `lie`. `None`: nothing.
    pub(crate) fn lie(&mut self, request: &Request, lie: Lie, by: u64) -> Option<Response> {
        match request {
            Request::KvGet { key } => Some(self.lie_of_one(key, lie, by)),
            Request::KvScan { after, max_bytes } => {
                Some(self.lie_of_page(after.as_ref(), *max_bytes, lie, by))
            }
            Request::KvBatch { ops } => self.lie_of_batch(ops, lie, by),
            _ => None,
        }
    }

    fn lie_of_one(&self, key: &Key, lie: Lie, by: u64) -> Response {
        let truth = self.now.get(key).map(|value| value.to_vec());
        Response::KvValue(match lie {
            Lie::Missing => None,
            Lie::Stale => self.then(by).get(key).map(|value| value.to_vec()),
            Lie::Other => {
                self.now.values().nth(by as usize % self.now.len().max(1)).map(|value| value.to_vec())
            }
            lie => truth.map(|value| altered(value, lie, by)),
        })
    }

    fn lie_of_page(&self, after: Option<&Key>, max_bytes: u32, lie: Lie, by: u64) -> Response {
        let from = match lie {
            Lie::Stale => self.then(by),
            _ => &self.now,
        };
        let Response::KvPage { mut records, mut more } = page(from, after, max_bytes) else {
            return Response::Done;
        };
        let at = by as usize % records.len().max(1);
        match lie {
            Lie::Empty => (records, more) = (Vec::new(), false),
            Lie::Stuck => (records, more) = (Vec::new(), true),
            Lie::Short => {
                records.truncate(at);
                more = false;
            }
            Lie::Skip if !records.is_empty() => drop(records.remove(at)),
            // One that was on an earlier page.
            Lie::Repeat => {
                if let Some((key, value)) = self.now.first_key_value() {
                    records.insert(0, (*key, value.to_vec()));
                    records.dedup_by_key(|(key, _)| *key);
                }
            }
            Lie::Foreign => {
                let mut rng = Rng::new(by);
                let value = records.get(at).map_or_else(|| rng.bytes(200), |(_, value)| value.clone());
                let mut key = [0; 32];
                key.copy_from_slice(&rng.bytes(32));
                if after.is_none_or(|after| key > *after) {
                    records.push((key, value));
                    records.sort();
                }
            }
            lie => {
                if let Some((_, value)) = records.get_mut(at) {
                    *value = altered(std::mem::take(value), lie, by);
                }
            }
        }
        Response::KvPage { records, more }
    }

    fn lie_of_batch(&mut self, ops: &[KvOp], lie: Lie, by: u64) -> Option<Response> {
        let failed = || Some(Response::failed(FailureCode::Io, "the disk says no"));
        let part = ops.get(..by as usize % ops.len().max(1)).unwrap_or_default();
        match lie {
            Lie::Torn => self.apply(part),
            Lie::TornFailed => {
                self.apply(part);
                return failed();
            }
            Lie::Ignored => {}
            Lie::Denied => {
                self.apply(ops);
                return failed();
            }
            Lie::Unsaid => {
                self.apply(ops);
                return None;
            }
            _ => self.apply(ops),
        }
        Some(Response::Done)
    }

    /// While the enclave is away. Whether anything is other than it was.
    pub(crate) fn tamper(&mut self, lie: Lie, by: u64) -> bool {
        let before = self.now.clone();
        let mut rng = Rng::new(by);
        let keys: Vec<Key> = self.now.keys().copied().collect();
        match lie {
            Lie::RolledBack => {
                let then = self.then(by % 8 + 1).clone();
                // Not the whole of it: that would be an earlier state, which nobody can tell from a true one.
                for key in keys.iter().skip(rng.below(keys.len())) {
                    match then.get(key) {
                        Some(value) => self.now.insert(*key, value.clone()),
                        None => self.now.remove(key),
                    };
                }
            }
            _ => {
                let (a, b) = (keys.get(rng.below(keys.len())), keys.get(rng.below(keys.len())));
                if let (Some(a), Some(b)) = (a, b) {
                    let (of_a, of_b) = (self.now.get(a).cloned(), self.now.get(b).cloned());
                    self.now.extend(of_b.map(|value| (*a, value)));
                    self.now.extend(of_a.map(|value| (*b, value)));
                }
            }
        }
        if self.past.contains(&self.now) {
            self.now = before.clone();
        }
        self.now != before
    }
}

fn page(records: &Records, after: Option<&Key>, max_bytes: u32) -> Response {
    let room = (max_bytes as usize).min(MAX_RESPONSE - 64);
    let mut page = Vec::new();
    let mut bytes = 0;
    for (key, value) in records.iter().filter(|(key, _)| after.is_none_or(|after| *key > after)) {
        bytes += RECORD_OVERHEAD + value.len();
        if bytes > room && !page.is_empty() {
            return Response::KvPage { records: page, more: true };
        }
        page.push((*key, value.to_vec()));
    }
    Response::KvPage { records: page, more: false }
}

/// Bytes with a bit flipped, a part missing, or more of them.
pub(crate) fn altered(mut bytes: Vec<u8>, lie: Lie, by: u64) -> Vec<u8> {
    let len = bytes.len();
    match lie {
        Lie::Flipped if len > 0 => bytes[by as usize / 8 % len] ^= 1 << (by % 8),
        Lie::Cut => bytes.truncate(len.saturating_sub(1 + by as usize % len.max(1))),
        Lie::Longer => bytes.extend(Rng::new(by).bytes(1 + by as usize % 64)),
        _ => {}
    }
    bytes
}
