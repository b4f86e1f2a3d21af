//! Uses buckets, the log and the configuration, one function at a time.

wit_bindgen::generate!({
    path: [
        "../../../sdk/wit/deps/keyvalue",
        "../../../sdk/wit/deps/keyvalue-draft2",
        "../../../sdk/wit/deps/config",
        "../../../sdk/wit/deps/config-draft",
        "../../../sdk/wit/deps/logging",
        "wit",
    ],
    world: "test:keyvalue/keyvalue-probe",
    generate_all,
});

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Instant;

use exports::test::keyvalue::probe::Guest;
use wasi::config0_2_0_draft::runtime;
use wasi::config0_2_0_rc_1::store as config;
use wasi::keyvalue0_2_0_draft as first;
use wasi::keyvalue0_2_0_draft2 as second;
use wasi::logging::logging::{self, Level};

use first::store::{Bucket, Error, open};
use second::atomics::{Cas, CasError};

/// Keys in one batch of [`Guest::fill`].
const BATCH: u32 = 1000;

struct Probe;

export!(Probe);

fn words(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(words) => words,
    }
}

fn words2(error: second::store::Error) -> String {
    match error {
        second::store::Error::NoSuchStore => "no-such-store".to_owned(),
        second::store::Error::AccessDenied => "access-denied".to_owned(),
        second::store::Error::Other(words) => words,
    }
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap_or_else(|_| "(not text)".to_owned())
}

fn bucket(name: &str) -> Result<Bucket, String> {
    open(name).map_err(words)
}

fn bucket2(name: &str) -> Result<second::store::Bucket, String> {
    second::store::open(name).map_err(words2)
}

fn name(n: u32) -> String {
    format!("key-{n}")
}

impl Guest for Probe {
    fn open(name: String) -> Result<(), String> {
        bucket(&name).map(drop)
    }

    fn get(name: String, key: String) -> Result<Option<String>, String> {
        let found = bucket(&name)?.get(&key).map_err(words)?;
        let again = bucket2(&name)?.get(&key).map_err(words2)?;
        if found != again {
            return Err("the drafts differ".to_owned());
        }
        Ok(found.map(text))
    }

    fn set(name: String, key: String, value: String) -> Result<(), String> {
        bucket(&name)?.set(&key, value.as_bytes()).map_err(words)
    }

    fn delete(name: String, key: String) -> Result<(), String> {
        bucket(&name)?.delete(&key).map_err(words)
    }

    fn exists(name: String, key: String) -> Result<bool, String> {
        bucket(&name)?.exists(&key).map_err(words)
    }

    fn set_sized(name: String, key: String, bytes: u32) -> Result<bool, String> {
        let value: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        let bucket = bucket2(&name)?;
        bucket.set(&key, &value).map_err(words2)?;
        Ok(bucket.get(&key).map_err(words2)?.is_some_and(|read| read == value))
    }

    fn count(name: String) -> Result<(u32, u32, u32, u32), String> {
        let bucket = bucket(&name)?;
        let (mut all, mut pages, mut longest, mut different) = (0, 0, 0, HashSet::new());
        let mut cursor = None;
        loop {
            let page = bucket.list_keys(cursor).map_err(words)?;
            pages += 1;
            all += page.keys.len() as u32;
            longest = longest.max(page.keys.len() as u32);
            different.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok((all, pages, different.len() as u32, longest));
            }
        }
    }

    fn page(name: String, cursor: Option<String>) -> Result<(Vec<String>, Option<String>), String> {
        let page = bucket2(&name)?.list_keys(cursor.as_deref()).map_err(words2)?;
        Ok((page.keys, page.cursor))
    }

    fn increment(name: String, key: String, delta: u64) -> Result<u64, String> {
        first::atomics::increment(&bucket(&name)?, &key, delta).map_err(words)
    }

    fn increment_signed(name: String, key: String, delta: i64) -> Result<i64, String> {
        second::atomics::increment(&bucket2(&name)?, &key, delta).map_err(words2)
    }

    fn increment_often(name: String, key: String, times: u32) -> Result<u64, String> {
        let bucket = bucket(&name)?;
        let mut last = 0;
        for _ in 0..times {
            last = first::atomics::increment(&bucket, &key, 1).map_err(words)?;
        }
        Ok(last)
    }

    fn swap_often(name: String, key: String, times: u32) -> Result<u32, String> {
        let bucket = bucket2(&name)?;
        let mut failed = 0;
        for _ in 0..times {
            let mut cas = Cas::new(&bucket, &key).map_err(words2)?;
            loop {
                let old =
                    cas.current().map_err(words2)?.map_or(0, |value| text(value).parse().unwrap_or(0_u64));
                match second::atomics::swap(cas, (old + 1).to_string().as_bytes()) {
                    Ok(()) => break,
                    Err(CasError::CasFailed(again)) => {
                        failed += 1;
                        cas = again;
                    }
                    Err(CasError::StoreError(error)) => return Err(words2(error)),
                }
            }
        }
        Ok(failed)
    }

    fn get_many(name: String, keys: Vec<String>) -> Result<Vec<Option<String>>, String> {
        let found = first::batch::get_many(&bucket(&name)?, &keys).map_err(words)?;
        let again = second::batch::get_many(&bucket2(&name)?, &keys).map_err(words2)?;
        let again: Vec<_> = again.into_iter().map(|(key, value)| value.map(|value| (key, value))).collect();
        if found != again {
            return Err("the drafts differ".to_owned());
        }
        Ok(found.into_iter().map(|pair| pair.map(|(_, value)| text(value))).collect())
    }

    fn set_many(name: String, pairs: Vec<(String, String)>) -> Result<(), String> {
        let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        second::batch::set_many(&bucket2(&name)?, &pairs).map_err(words2)
    }

    fn delete_many(name: String, keys: Vec<String>) -> Result<(), String> {
        // What is gone is skipped.
        first::batch::delete_many(&bucket(&name)?, &keys).map_err(words)?;
        second::batch::delete_many(&bucket2(&name)?, &keys).map_err(words2)
    }

    fn fill(name: String, first: u32, end: u32) -> Result<(), String> {
        let bucket = bucket(&name)?;
        for from in (first..end).step_by(BATCH as usize) {
            let pairs: Vec<_> =
                (from..end.min(from + BATCH)).map(|n| (self::name(n), n.to_string().into_bytes())).collect();
            first::batch::set_many(&bucket, &pairs).map_err(words)?;
        }
        Ok(())
    }

    fn batch(name: String, keys: u32, bytes: u32) -> Result<(), String> {
        let pairs: Vec<_> = (0..keys).map(|n| (self::name(n), vec![0; bytes as usize])).collect();
        first::batch::set_many(&bucket(&name)?, &pairs).map_err(words)
    }

    fn set_endlessly(name: String, first: u32) -> Result<(), String> {
        let bucket = bucket(&name)?;
        for n in first.. {
            bucket.set(&self::name(n), n.to_string().as_bytes()).map_err(words)?;
        }
        Ok(())
    }

    fn time(operation: String, name: String, keys: u32, rounds: u32) -> Result<Vec<u64>, String> {
        let bucket = bucket(&name)?;
        let mut cursor = None;
        let mut times = Vec::new();
        for round in 0..rounds {
            // Spread over all keys, in no order.
            let n = (u64::from(round) * 2_654_435_761 % u64::from(keys)) as u32;
            let key = self::name(n);
            if operation == "new" {
                bucket.delete(&key).map_err(words)?;
            }
            let start = Instant::now();
            match operation.as_str() {
                "get" => drop(bucket.get(&key).map_err(words)?),
                "set" | "new" => bucket.set(&key, key.as_bytes()).map_err(words)?,
                "delete" => bucket.delete(&key).map_err(words)?,
                "page" => cursor = bucket.list_keys(cursor).map_err(words)?.cursor,
                _ => return Err(format!("no operation {operation}")),
            }
            times.push(start.elapsed().as_nanos() as u64);
            if operation == "delete" {
                bucket.set(&key, key.as_bytes()).map_err(words)?;
            }
        }
        Ok(times)
    }

    fn make_file(path: String, bytes: u64) -> Result<(), String> {
        File::create(path).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())
    }

    fn append(path: String, bytes: u32, times: u32) -> Result<Vec<u64>, String> {
        let mut file = OpenOptions::new().append(true).open(path).map_err(|error| error.to_string())?;
        let some = vec![b'x'; bytes as usize];
        (0..times)
            .map(|_| {
                let start = Instant::now();
                file.write_all(&some).and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
                Ok(start.elapsed().as_nanos() as u64)
            })
            .collect()
    }

    fn log(level: String, context: String, message: String) {
        let level = match level.as_str() {
            "trace" => Level::Trace,
            "debug" => Level::Debug,
            "warn" => Level::Warn,
            "error" => Level::Error,
            "critical" => Level::Critical,
            _ => Level::Info,
        };
        logging::log(level, &context, &message);
    }

    fn config(key: String) -> (Option<String>, Option<String>) {
        (config::get(&key).ok().flatten(), runtime::get(&key).ok().flatten())
    }

    fn config_all() -> (Vec<(String, String)>, Vec<(String, String)>) {
        (config::get_all().unwrap_or_default(), runtime::get_all().unwrap_or_default())
    }
}
