//! The functions of `wasi:keyvalue` on top of the operations, for both drafts.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::error::KvError;
use super::plan::{Number, Op, Outcome};
use super::record::Key;
use super::{CallBuckets, MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_BUCKET, MAX_KEY, MAX_VALUE, read};
use crate::WasiCtx;
use crate::drafts::{first, second};
use crate::turn::Turn;

/// What an operation of one key is in units of work ([`Turn`](crate::turn::Turn)).
const OPERATION_UNITS: u32 = 2;
/// Bytes of a value, or of a batch, that are one unit more.
const BYTES_PER_UNIT: usize = 16 << 10;
/// What a key counts beside its bytes.
const EACH: usize = 64;
/// A page of keys.
const PAGE_UNITS: u32 = 32;
/// The bucket that the empty name stands for.
const DEFAULT: &str = "default";

/// An open bucket.
pub struct Bucket {
    name: Arc<str>,
}

/// A key as it was when the guest looked at it.
pub struct Cas {
    bucket: Arc<str>,
    key: String,
    version: Option<u64>,
}

type KvResult<T> = std::result::Result<T, KvError>;

impl CallBuckets {
    fn version(&self, bucket: &str, key: &str) -> KvResult<Option<u64>> {
        Ok(self.records.version(&Key::Value(bucket, key).to_bytes())?)
    }
}

impl WasiCtx {
    async fn open_bucket(&mut self, name: String) -> KvResult<Resource<Bucket>> {
        let too_long = |name: &String| match name.len() {
            length if length > MAX_BUCKET => Err(KvError::BucketTooLong(length)),
            _ => Ok(()),
        };
        let name = accept(&self.turn, name.len(), name, too_long).await?;
        self.turn.spend(0).await;
        let name = if name.is_empty() { DEFAULT } else { name.as_str() };
        Ok(self.table.push(Bucket { name: name.into() })?)
    }

    /// A key, and the work of an operation with it.
    async fn key(&mut self, key: String) -> KvResult<String> {
        accept(&self.turn, key.len(), key, |key| check_key(key)).await
    }

    /// Has something changed. What it holds meanwhile has a place in the room, and none while the turn is waited for.
    async fn change(&mut self, bucket: &Arc<str>, op: Op) -> KvResult<Outcome> {
        let outcome = self.buckets.writer.run(&self.buckets.records, bucket, op).await;
        self.turn.spend(0).await;
        outcome
    }

    async fn value(&mut self, bucket: &str, key: &str) -> KvResult<Option<Vec<u8>>> {
        self.turn.spend(0).await;
        let mut place = self.buckets.hold(0)?;
        let found =
            read::value(&*self.buckets.records, bucket, key, |length| Ok(place.grow(length)?)).await?;
        let value = found.map(|(_, value)| value);
        // Not waited for with the value in hand.
        self.turn.owe(units(value.as_ref().map_or(0, Vec::len)));
        Ok(value)
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> KvResult<Arc<str>> {
        Ok(self.table.get(bucket)?.name.clone())
    }

    async fn kv_get(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Option<Vec<u8>>> {
        let key = self.key(key).await?;
        let bucket = self.bucket(&bucket)?;
        self.value(&bucket, &key).await
    }

    async fn kv_set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        let bytes = key.len() + value.len();
        let pair = (key, value);
        let pair =
            accept(&self.turn, bytes, pair, |(key, value)| check_key(key).and(check_value(value))).await?;
        let bucket = self.bucket(&bucket)?;
        self.change(&bucket, Op::Set(vec![pair])).await?;
        Ok(())
    }

    async fn kv_delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        let key = self.key(key).await?;
        let bucket = self.bucket(&bucket)?;
        self.change(&bucket, Op::Delete(vec![key])).await?;
        Ok(())
    }

    async fn kv_exists(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<bool> {
        let key = self.key(key).await?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(0).await;
        Ok(self.buckets.version(&bucket, &key)?.is_some())
    }

    async fn kv_page(&mut self, bucket: Resource<Bucket>, from: u64) -> KvResult<(Vec<String>, Option<u64>)> {
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(PAGE_UNITS).await;
        read::page(&*self.buckets.records, &bucket, from).await
    }

    async fn kv_increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: Number,
    ) -> KvResult<Number> {
        let key = self.key(key).await?;
        let bucket = self.bucket(&bucket)?;
        match self.change(&bucket, Op::Add { key, delta }).await? {
            Outcome::Number(sum) => Ok(sum),
            Outcome::Done | Outcome::Stale => Err(KvError::NotANumber),
        }
    }

    async fn kv_get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> KvResult<Vec<(String, Option<Vec<u8>>)>> {
        let mut bytes = 0;
        let keys = self.keys(keys, |sum| bytes = sum).await?;
        let bucket = self.bucket(&bucket)?;
        let Ok(mut place) = self.buckets.hold(bytes + EACH * keys.len()) else {
            drop(keys);
            self.turn.spend(0).await;
            return Err(KvError::Overloaded);
        };
        let mut found = Vec::with_capacity(keys.len());
        self.turn.spend(0).await;
        for key in keys {
            self.turn.spend(OPERATION_UNITS).await;
            let admit = |length| {
                bytes += length;
                if bytes > MAX_BATCH_BYTES { Err(KvError::BatchTooLarge) } else { Ok(place.grow(length)?) }
            };
            let value = read::value(&*self.buckets.records, &bucket, &key, admit).await?;
            let value = value.map(|(_, value)| value);
            self.turn.owe(units(value.as_ref().map_or(0, Vec::len)));
            found.push((key, value));
        }
        Ok(found)
    }

    async fn kv_set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> KvResult<()> {
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        let check = |pairs: &Vec<(String, Vec<u8>)>| {
            check_count(pairs.len())?;
            pairs.iter().try_for_each(|(key, value)| check_key(key).and(check_value(value)))?;
            if bytes > MAX_BATCH_BYTES { Err(KvError::BatchTooLarge) } else { Ok(()) }
        };
        let pairs = accept(&self.turn, bytes + EACH * pairs.len(), pairs, check).await?;
        let bucket = self.bucket(&bucket)?;
        self.turn.owe(many_units(pairs.len()));
        self.change(&bucket, Op::Set(pairs)).await?;
        Ok(())
    }

    async fn kv_delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> KvResult<()> {
        let keys = self.keys(keys, |_| ()).await?;
        let bucket = self.bucket(&bucket)?;
        self.turn.owe(many_units(keys.len()));
        self.change(&bucket, Op::Delete(keys)).await?;
        Ok(())
    }

    /// The keys of a batch, and `total`: how many bytes they are together.
    async fn keys(&mut self, keys: Vec<String>, total: impl FnOnce(usize)) -> KvResult<Vec<String>> {
        let bytes = keys.iter().map(String::len).sum();
        total(bytes);
        let check = |keys: &Vec<String>| {
            check_count(keys.len())?;
            keys.iter().try_for_each(|key| check_key(key))
        };
        accept(&self.turn, bytes + EACH * keys.len(), keys, check).await
    }
}

impl first::store::Host for WasiCtx {
    async fn open(&mut self, identifier: String) -> KvResult<Resource<Bucket>> {
        self.open_bucket(identifier).await
    }

    fn convert_error(&mut self, error: KvError) -> Result<first::store::Error> {
        error.into_words().map(first::store::Error::Other)
    }
}

impl first::store::HostBucket for WasiCtx {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Option<Vec<u8>>> {
        self.kv_get(bucket, key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        self.kv_set(bucket, key, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        self.kv_delete(bucket, key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<bool> {
        self.kv_exists(bucket, key).await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> KvResult<first::store::KeyResponse> {
        let (keys, cursor) = self.kv_page(bucket, cursor.unwrap_or(0)).await?;
        Ok(first::store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl first::atomics::Host for WasiCtx {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> KvResult<u64> {
        match self.kv_increment(bucket, key, Number::Unsigned(delta)).await? {
            Number::Unsigned(sum) => Ok(sum),
            Number::Signed(_) => Err(KvError::NotANumber),
        }
    }
}

impl first::batch::Host for WasiCtx {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> KvResult<Vec<Option<(String, Vec<u8>)>>> {
        let found = self.kv_get_many(bucket, keys).await?;
        Ok(found.into_iter().map(|(key, value)| value.map(|value| (key, value))).collect())
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> KvResult<()> {
        self.kv_set_many(bucket, pairs).await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> KvResult<()> {
        self.kv_delete_many(bucket, keys).await
    }
}

impl second::store::Host for WasiCtx {
    async fn open(&mut self, identifier: String) -> KvResult<Resource<Bucket>> {
        self.open_bucket(identifier).await
    }

    fn convert_error(&mut self, error: KvError) -> Result<second::store::Error> {
        error.into_words().map(second::store::Error::Other)
    }
}

impl second::store::HostBucket for WasiCtx {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Option<Vec<u8>>> {
        self.kv_get(bucket, key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        self.kv_set(bucket, key, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        self.kv_delete(bucket, key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<bool> {
        self.kv_exists(bucket, key).await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> KvResult<second::store::KeyResponse> {
        let cursor = cursor.unwrap_or_else(|| "0".to_owned());
        let mut from = 0;
        let parse = |cursor: &String| {
            from = cursor.parse().map_err(|_| KvError::BadCursor)?;
            Ok(())
        };
        drop(accept(&self.turn, cursor.len(), cursor, parse).await?);
        let (keys, cursor) = self.kv_page(bucket, from).await?;
        let cursor = cursor.map(|cursor| cursor.to_string());
        Ok(second::store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl second::atomics::Host for WasiCtx {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> KvResult<i64> {
        match self.kv_increment(bucket, key, Number::Signed(delta)).await? {
            Number::Signed(sum) => Ok(sum),
            Number::Unsigned(_) => Err(KvError::NotANumber),
        }
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), second::atomics::CasError>> {
        use second::atomics::CasError;
        use second::store::Error;
        let Cas { bucket, key, version } = self.table.delete(cas)?;
        let value = match accept(&self.turn, value.len(), value, |value| check_value(value)).await {
            Ok(value) => value,
            Err(error) => return Ok(Err(CasError::StoreError(Error::Other(error.into_words()?)))),
        };
        let op = Op::Swap { key: key.clone(), expected: version, value };
        let failed = match self.change(&bucket, op).await {
            Ok(Outcome::Stale) => self.buckets.version(&bucket, &key),
            Ok(Outcome::Done | Outcome::Number(_)) => return Ok(Ok(())),
            Err(error) => Err(error),
        };
        match failed {
            Ok(version) => Ok(Err(CasError::CasFailed(self.table.push(Cas { bucket, key, version })?))),
            Err(error) => Ok(Err(CasError::StoreError(Error::Other(error.into_words()?)))),
        }
    }
}

impl second::atomics::HostCas for WasiCtx {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Resource<Cas>> {
        let key = self.key(key).await?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(0).await;
        let version = self.buckets.version(&bucket, &key)?;
        Ok(self.table.push(Cas { bucket, key, version })?)
    }

    /// The value as it is now: if that is not the handle's, its swap fails.
    async fn current(&mut self, cas: Resource<Cas>) -> KvResult<Option<Vec<u8>>> {
        let Cas { bucket, key, .. } = self.table.get(&cas)?;
        let (bucket, key) = (bucket.clone(), key.clone());
        self.turn.spend(OPERATION_UNITS).await;
        self.value(&bucket, &key).await
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl second::batch::Host for WasiCtx {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> KvResult<Vec<(String, Option<Vec<u8>>)>> {
        self.kv_get_many(bucket, keys).await
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> KvResult<()> {
        self.kv_set_many(bucket, pairs).await
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> KvResult<()> {
        self.kv_delete_many(bucket, keys).await
    }
}

/// Takes an argument of so many bytes in: it was copied out of the guest already, so that work is owed. One that is
/// refused is gone before the call waits for its next turn.
async fn accept<A>(
    turn: &Turn,
    bytes: usize,
    argument: A,
    check: impl FnOnce(&A) -> KvResult<()>,
) -> KvResult<A> {
    turn.owe(OPERATION_UNITS.saturating_add(units(bytes)));
    match check(&argument) {
        Ok(()) => Ok(argument),
        Err(error) => {
            drop(argument);
            turn.spend(0).await;
            Err(error)
        }
    }
}

fn check_key(key: &str) -> KvResult<()> {
    if key.len() > MAX_KEY { Err(KvError::KeyTooLong(key.len())) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> KvResult<()> {
    if value.len() > MAX_VALUE { Err(KvError::ValueTooLong(value.len())) } else { Ok(()) }
}

fn check_count(keys: usize) -> KvResult<()> {
    if keys > MAX_BATCH_KEYS { Err(KvError::TooManyInBatch(keys)) } else { Ok(()) }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u32::MAX)
}

fn many_units(keys: usize) -> u32 {
    OPERATION_UNITS.saturating_mul(u32::try_from(keys).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn refusing_is_work_and_what_is_refused_is_not_held_meanwhile() {
        let turn = Turn::default();
        let mut waited = 0;
        for _ in 0..10 {
            let argument: Arc<[u8]> = vec![0; 2 << 20].into();
            let held = Arc::downgrade(&argument);
            let refuse = |value: &Arc<[u8]>| check_value(value);
            let mut accepting = Box::pin(accept(&turn, argument.len(), argument, refuse));
            while block_on(poll_once(&mut accepting)).is_none() {
                assert_eq!(held.strong_count(), 0);
                waited += 1;
            }
        }
        assert_eq!(waited, 10);
    }

    #[test]
    fn refusing_what_is_short_waits_too_in_the_end() {
        let turn = Turn::default();
        let waits = (0..100).filter(|_| {
            let refuse = |_: &()| Err(KvError::BadCursor);
            let mut accepting = Box::pin(accept(&turn, 0, (), refuse));
            block_on(poll_once(&mut accepting)).is_none()
        });
        assert!(waits.count() >= 2);
    }
}
