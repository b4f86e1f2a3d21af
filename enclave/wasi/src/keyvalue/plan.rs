//! What some operations change together, on top of records that do not know of it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_lite::future::yield_now;

use super::error::KvError;
use super::index::{Leaf, Place, Splits, leaf_place};
use super::read;
use super::record::{Key, Meta, encode_value};
use super::records::{Changes, Records};

/// A change that is asked for.
#[derive(Debug)]
pub(crate) enum Op {
    Set(Vec<(String, Vec<u8>)>),
    Delete(Vec<String>),
    /// To the decimal number that the value is.
    Add {
        key: String,
        delta: Number,
    },
    /// Replaces the value if its version is still `expected`; `None`: if there is none.
    Swap {
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
    },
}

/// A number of one of the types that the drafts count with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Unsigned(u64),
    Signed(i64),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Number(Number),
    /// A swap found another version.
    Stale,
}

impl Op {
    /// Bytes that it holds in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        const EACH: usize = 64;
        match self {
            Op::Set(pairs) => pairs.iter().map(|(key, value)| EACH + key.len() + value.len()).sum(),
            Op::Delete(keys) => keys.iter().map(|key| EACH + key.len()).sum(),
            Op::Add { key, .. } => EACH + key.len(),
            Op::Swap { key, value, .. } => EACH + key.len() + value.len(),
        }
    }
}

impl Number {
    /// `value` and this, where nothing is 0.
    fn add_to(self, value: Option<&[u8]>) -> Result<Number, KvError> {
        let text = value.map_or(Ok("0"), std::str::from_utf8).map_err(|_| KvError::NotANumber)?;
        let sum = match self {
            Number::Unsigned(delta) => {
                let old: u64 = text.parse().map_err(|_| KvError::NotANumber)?;
                old.checked_add(delta).map(Number::Unsigned)
            }
            Number::Signed(delta) => {
                let old: i64 = text.parse().map_err(|_| KvError::NotANumber)?;
                old.checked_add(delta).map(Number::Signed)
            }
        };
        sum.ok_or(KvError::Overflow)
    }

    fn to_text(self) -> String {
        match self {
            Number::Unsigned(number) => number.to_string(),
            Number::Signed(number) => number.to_string(),
        }
    }
}

type Bucket = Arc<str>;

/// Keys that a plan changes before it takes no further operation.
const MAX_PLAN_KEYS: usize = 2000;
/// Leaves of the index that it holds until then: some 4 MiB.
const MAX_PLAN_LEAVES: usize = 1000;
/// Keys and leaves that are gone through before others run.
const STEP: usize = 32;

pub(crate) struct Plan<'a> {
    records: &'a dyn Records,
    meta: Meta,
    was: Option<Meta>,
    max_keys: u64,
    values: BTreeMap<(Bucket, String), Option<Vec<u8>>>,
    leaves: BTreeMap<(Bucket, Place), Leaf>,
    splits: BTreeMap<(Bucket, Place), bool>,
    steps: Steps,
}

/// Lets others run every so often, however much is planned at once.
#[derive(Default)]
struct Steps(usize);

impl Steps {
    async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(STEP) {
            yield_now().await;
        }
    }
}

impl<'a> Plan<'a> {
    /// `meta`: what the store holds, if it holds one.
    pub(crate) fn new(records: &'a dyn Records, meta: Option<Meta>, max_keys: u64) -> Result<Self, KvError> {
        let new = match meta {
            Some(meta) => meta,
            None => Meta { salt: records.salt()?, keys: 0 },
        };
        let (values, leaves, splits) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Plan { records, meta: new, was: meta, max_keys, values, leaves, splits, steps: Steps::default() })
    }

    /// Whether it is large enough: what more operations touch is for another.
    pub(crate) fn is_large(&self) -> bool {
        self.values.len() >= MAX_PLAN_KEYS || self.leaves.len() >= MAX_PLAN_LEAVES
    }

    /// Adds an operation. The inner error is the operation's own and leaves the plan as it was; after the outer one
    /// the plan is of no use.
    pub(crate) async fn add(
        &mut self,
        bucket: &Bucket,
        op: &Op,
    ) -> Result<Result<Outcome, KvError>, KvError> {
        match op {
            Op::Set(pairs) => {
                let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
                if let Err(error) = self.admit(bucket, &keys).await? {
                    return Ok(Err(error));
                }
                for (key, value) in pairs {
                    self.steps.step().await;
                    self.put(bucket, key, value.clone()).await?;
                }
                Ok(Ok(Outcome::Done))
            }
            Op::Delete(keys) => {
                for key in keys {
                    self.steps.step().await;
                    self.delete(bucket, key).await?;
                }
                Ok(Ok(Outcome::Done))
            }
            Op::Add { key, delta } => {
                let old = self.value(bucket, key).await?;
                let sum = delta.add_to(old.as_deref());
                let admitted = self.admit(bucket, &[key.as_str()]).await?;
                match admitted.and(sum) {
                    Ok(sum) => {
                        self.put(bucket, key, sum.to_text().into_bytes()).await?;
                        Ok(Ok(Outcome::Number(sum)))
                    }
                    Err(error) => Ok(Err(error)),
                }
            }
            Op::Swap { key, expected, value } => {
                // What changed it in this plan has no version yet.
                let changed = self.values.contains_key(&(bucket.clone(), key.clone()));
                if changed || self.records.version(&Key::Value(bucket, key).to_bytes())? != *expected {
                    return Ok(Ok(Outcome::Stale));
                }
                if let Err(error) = self.admit(bucket, &[key.as_str()]).await? {
                    return Ok(Err(error));
                }
                self.put(bucket, key, value.clone()).await?;
                Ok(Ok(Outcome::Done))
            }
        }
    }

    /// What is to be committed, and what the store then knows about all buckets.
    pub(crate) async fn finish(self) -> Result<(Changes, Option<Meta>), KvError> {
        let Plan { records, meta, was, values, leaves, splits, mut steps, .. } = self;
        let mut changes = Changes::new();
        let exists = |key: &[u8]| records.has(key);
        for ((bucket, key), value) in values {
            steps.step().await;
            let name = Key::Value(&bucket, &key).to_bytes();
            let mut pieces = 0;
            match value {
                Some(value) => {
                    let (first, rest) = encode_value(&value);
                    changes.push((name, Some(first)));
                    for piece in rest {
                        pieces += 1;
                        changes.push((Key::Piece(pieces, &bucket, &key).to_bytes(), Some(piece.to_vec())));
                    }
                }
                None if exists(&name)? => changes.push((name, None)),
                None => {}
            }
            // Of a longer value before.
            loop {
                pieces += 1;
                let piece = Key::Piece(pieces, &bucket, &key).to_bytes();
                if !exists(&piece)? {
                    break;
                }
                changes.push((piece, None));
            }
        }
        for ((bucket, place), leaf) in leaves {
            steps.step().await;
            let name = Key::Leaf(&bucket, place).to_bytes();
            if !leaf.is_empty() {
                changes.push((name, Some(leaf.encode())));
            } else if exists(&name)? {
                changes.push((name, None));
            }
        }
        for ((bucket, place), split) in splits {
            steps.step().await;
            let name = Key::Split(&bucket, place).to_bytes();
            if exists(&name)? != split {
                changes.push((name, split.then(|| vec![1])));
            }
        }
        if was != Some(meta) && !changes.is_empty() {
            changes.push((Key::Meta.to_bytes(), Some(meta.encode())));
        }
        let known = if changes.is_empty() { was } else { Some(meta) };
        Ok((changes, known))
    }

    fn has_key(&self, bucket: &Bucket, key: &str) -> Result<bool, KvError> {
        match self.values.get(&(bucket.clone(), key.to_owned())) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.records.has(&Key::Value(bucket, key).to_bytes())?),
        }
    }

    async fn value(&self, bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        match self.values.get(&(bucket.clone(), key.to_owned())) {
            Some(value) => Ok(value.clone()),
            None => Ok(read::value(self.records, bucket, key, |_| Ok(())).await?.map(|(_, value)| value)),
        }
    }

    /// Whether there is room for those keys that are new.
    async fn admit(&mut self, bucket: &Bucket, keys: &[&str]) -> Result<Result<(), KvError>, KvError> {
        let mut new = BTreeSet::new();
        for key in keys {
            self.steps.step().await;
            if !self.has_key(bucket, key)? {
                new.insert(*key);
            }
        }
        let after = self.meta.keys + new.len() as u64;
        let most = self.max_keys;
        Ok(if new.is_empty() || after <= most { Ok(()) } else { Err(KvError::TooManyKeys { after, most }) })
    }

    async fn put(&mut self, bucket: &Bucket, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        if !self.has_key(bucket, key)? {
            let hash = self.meta.hash(bucket, key);
            let place = self.load(bucket, hash).await?;
            self.leaf(bucket, place).insert(hash, key);
            self.split(bucket, place);
            self.meta.keys += 1;
        }
        self.values.insert((bucket.clone(), key.to_owned()), Some(value));
        Ok(())
    }

    async fn delete(&mut self, bucket: &Bucket, key: &str) -> Result<(), KvError> {
        if !self.has_key(bucket, key)? {
            return Ok(());
        }
        let hash = self.meta.hash(bucket, key);
        let place = self.load(bucket, hash).await?;
        self.leaf(bucket, place).remove(hash, key);
        self.join(bucket, place)?;
        self.meta.keys = self.meta.keys.saturating_sub(1);
        self.values.insert((bucket.clone(), key.to_owned()), None);
        Ok(())
    }

    /// Sees to it that the leaf for this hash is in the plan, and says where it stands.
    async fn load(&mut self, bucket: &Bucket, hash: u64) -> Result<Place, KvError> {
        let place = leaf_place(self, bucket, hash)?;
        let at = (bucket.clone(), place);
        if !self.leaves.contains_key(&at) {
            let found = self.records.get(&Key::Leaf(bucket, place).to_bytes()).await?;
            let leaf = found.map_or(Ok(Leaf::default()), |leaf| Leaf::decode(&leaf.value))?;
            self.leaves.insert(at, leaf);
        }
        Ok(place)
    }

    fn leaf(&mut self, bucket: &Bucket, place: Place) -> &mut Leaf {
        self.leaves.entry((bucket.clone(), place)).or_default()
    }

    /// Splits a leaf until no part of it is too large.
    fn split(&mut self, bucket: &Bucket, place: Place) {
        let mut todo = vec![place];
        while let Some(place) = todo.pop() {
            let leaf = self.leaf(bucket, place);
            if !leaf.is_too_large() || !place.can_split() {
                continue;
            }
            let children = std::mem::take(leaf).split(place);
            self.splits.insert((bucket.clone(), place), true);
            for (child, leaf) in children {
                self.leaves.insert((bucket.clone(), child), leaf);
                todo.push(child);
            }
        }
    }

    /// Takes back splits that have nothing below them any more.
    fn join(&mut self, bucket: &Bucket, mut place: Place) -> Result<(), KvError> {
        if !self.leaf(bucket, place).is_empty() {
            return Ok(());
        }
        while let Some(parent) = place.parent() {
            for child in parent.children() {
                let split = self.is_split(bucket, child)?;
                let in_plan = self.leaves.get(&(bucket.clone(), child));
                let kept = match in_plan {
                    Some(leaf) => !leaf.is_empty(),
                    None => self.records.has(&Key::Leaf(bucket, child).to_bytes())?,
                };
                if split || kept {
                    return Ok(());
                }
            }
            self.splits.insert((bucket.clone(), parent), false);
            place = parent;
        }
        Ok(())
    }
}

impl Splits for Plan<'_> {
    fn is_split(&self, bucket: &str, place: Place) -> Result<bool, KvError> {
        match self.splits.get(&(bucket.into(), place)) {
            Some(split) => Ok(*split),
            None => self.records.is_split(bucket, place),
        }
    }
}
