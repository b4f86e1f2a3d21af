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

/// What an operation of one key is in units of work ([`Turn`](crate::turn::Turn)).
const OPERATION_UNITS: u32 = 2;
/// Bytes of a value, or of a batch, that are one unit more.
const BYTES_PER_UNIT: usize = 16 << 10;
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
    async fn change(&self, bucket: &Arc<str>, op: Op) -> KvResult<Outcome> {
        self.writer.run(&self.records, bucket, op).await
    }

    fn version(&self, bucket: &str, key: &str) -> KvResult<Option<u64>> {
        Ok(self.records.version(&Key::Value(bucket, key).to_bytes())?)
    }
}

impl WasiCtx {
    fn open_bucket(&mut self, name: &str) -> KvResult<Resource<Bucket>> {
        if name.len() > MAX_BUCKET {
            return Err(KvError::BucketTooLong(name.len()));
        }
        let name = if name.is_empty() { DEFAULT } else { name };
        Ok(self.table.push(Bucket { name: name.into() })?)
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> KvResult<Arc<str>> {
        Ok(self.table.get(bucket)?.name.clone())
    }

    async fn kv_get(&mut self, bucket: Resource<Bucket>, key: &str) -> KvResult<Option<Vec<u8>>> {
        check_key(key)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS).await;
        let found = read::value(&*self.buckets.records, &bucket, key).await?;
        let value = found.map(|(_, value)| value);
        self.turn.spend(units(value.as_ref().map_or(0, Vec::len))).await;
        Ok(value)
    }

    async fn kv_set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        check_key(&key)?;
        check_value(&value)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS + units(value.len())).await;
        self.buckets.change(&bucket, Op::Set(vec![(key, value)])).await?;
        Ok(())
    }

    async fn kv_delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        check_key(&key)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS).await;
        self.buckets.change(&bucket, Op::Delete(vec![key])).await?;
        Ok(())
    }

    async fn kv_exists(&mut self, bucket: Resource<Bucket>, key: &str) -> KvResult<bool> {
        check_key(key)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS).await;
        Ok(self.buckets.version(&bucket, key)?.is_some())
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
        check_key(&key)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS).await;
        match self.buckets.change(&bucket, Op::Add { key, delta }).await? {
            Outcome::Number(sum) => Ok(sum),
            Outcome::Done | Outcome::Stale => Err(KvError::NotANumber),
        }
    }

    async fn kv_get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> KvResult<Vec<(String, Option<Vec<u8>>)>> {
        let mut bytes = check_keys(&keys)?;
        let bucket = self.bucket(&bucket)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            self.turn.spend(OPERATION_UNITS).await;
            let value = read::value(&*self.buckets.records, &bucket, &key).await?.map(|(_, value)| value);
            let length = value.as_ref().map_or(0, Vec::len);
            self.turn.spend(units(length)).await;
            bytes += length;
            if bytes > MAX_BATCH_BYTES {
                return Err(KvError::BatchTooLarge);
            }
            found.push((key, value));
        }
        Ok(found)
    }

    async fn kv_set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> KvResult<()> {
        check_count(pairs.len())?;
        let mut bytes = 0;
        for (key, value) in &pairs {
            check_key(key)?;
            check_value(value)?;
            bytes += key.len() + value.len();
        }
        if bytes > MAX_BATCH_BYTES {
            return Err(KvError::BatchTooLarge);
        }
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(many_units(pairs.len()) + units(bytes)).await;
        self.buckets.change(&bucket, Op::Set(pairs)).await?;
        Ok(())
    }

    async fn kv_delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> KvResult<()> {
        check_keys(&keys)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(many_units(keys.len())).await;
        self.buckets.change(&bucket, Op::Delete(keys)).await?;
        Ok(())
    }
}

impl first::store::Host for WasiCtx {
    async fn open(&mut self, identifier: String) -> KvResult<Resource<Bucket>> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: KvError) -> Result<first::store::Error> {
        error.into_words().map(first::store::Error::Other)
    }
}

impl first::store::HostBucket for WasiCtx {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Option<Vec<u8>>> {
        self.kv_get(bucket, &key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        self.kv_set(bucket, key, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        self.kv_delete(bucket, key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<bool> {
        self.kv_exists(bucket, &key).await
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
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: KvError) -> Result<second::store::Error> {
        error.into_words().map(second::store::Error::Other)
    }
}

impl second::store::HostBucket for WasiCtx {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<Option<Vec<u8>>> {
        self.kv_get(bucket, &key).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> KvResult<()> {
        self.kv_set(bucket, key, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<()> {
        self.kv_delete(bucket, key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> KvResult<bool> {
        self.kv_exists(bucket, &key).await
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> KvResult<second::store::KeyResponse> {
        let from = cursor.map_or(Ok(0), |cursor| cursor.parse()).map_err(|_| KvError::BadCursor)?;
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
        if let Err(error) = check_value(&value) {
            return Ok(Err(CasError::StoreError(Error::Other(error.to_string()))));
        }
        self.turn.spend(OPERATION_UNITS + units(value.len())).await;
        let op = Op::Swap { key: key.clone(), expected: version, value };
        let failed = match self.buckets.change(&bucket, op).await {
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
        check_key(&key)?;
        let bucket = self.bucket(&bucket)?;
        self.turn.spend(OPERATION_UNITS).await;
        let version = self.buckets.version(&bucket, &key)?;
        Ok(self.table.push(Cas { bucket, key, version })?)
    }

    /// The value as it is now: if that is not the handle's, its swap fails.
    async fn current(&mut self, cas: Resource<Cas>) -> KvResult<Option<Vec<u8>>> {
        let Cas { bucket, key, .. } = self.table.get(&cas)?;
        let (bucket, key) = (bucket.clone(), key.clone());
        self.turn.spend(OPERATION_UNITS).await;
        let found = read::value(&*self.buckets.records, &bucket, &key).await?;
        Ok(found.map(|(_, value)| value))
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

fn check_key(key: &str) -> KvResult<()> {
    if key.len() > MAX_KEY { Err(KvError::KeyTooLong(key.len())) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> KvResult<()> {
    if value.len() > MAX_VALUE { Err(KvError::ValueTooLong(value.len())) } else { Ok(()) }
}

fn check_count(keys: usize) -> KvResult<()> {
    if keys > MAX_BATCH_KEYS { Err(KvError::TooManyInBatch(keys)) } else { Ok(()) }
}

/// Bytes of these keys together, if they are not too many or too long.
fn check_keys(keys: &[String]) -> KvResult<usize> {
    check_count(keys.len())?;
    keys.iter().try_for_each(|key| check_key(key))?;
    Ok(keys.iter().map(String::len).sum())
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u32::MAX)
}

fn many_units(keys: usize) -> u32 {
    OPERATION_UNITS.saturating_mul(u32::try_from(keys).unwrap_or(u32::MAX))
}
