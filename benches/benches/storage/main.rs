//! Which engine keeps the enclave's records? redb, as the host runs it, against fjall behind the same trait.
//!
//! `cargo bench -p benches --bench storage`. What came out, and what was decided:
//! `docs/decisions/0001-storage-engine.md`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]
#![expect(clippy::expect_used, reason = "a measurement that fails measures nothing")]

mod fjall_engine;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fjall_engine::Fjall;
use host_services::storage::{self, Engine, Key, KvOp};

/// Sealed sizes: a small value, a page of a file, a chunk of a large one.
const SIZES: [usize; 3] = [100 + 92, 4096 + 92, 65536 + 92];
const BATCHES: [usize; 3] = [1, 16, 64];
/// Records that lie in the store before anything is measured.
const PRESENT: u64 = 5_000;

fn redb(dir: &Path) -> Arc<dyn Engine> {
    storage::open(dir).expect("an empty directory")
}

fn fjall(dir: &Path) -> Arc<dyn Engine> {
    Arc::new(Fjall::open(&dir.join("fjall")).expect("an empty directory"))
}

type Open = fn(&Path) -> Arc<dyn Engine>;
const ENGINES: [(&str, Open); 2] = [("redb", redb), ("fjall", fjall)];

/// Keys and values look like ciphertext: a generator, so that engines cannot compress them.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}

/// The key of the `n`th record: in no order, as keyed hashes are.
fn key(n: u64) -> Key {
    let mut noise = Noise(n);
    let mut key = [0; 32];
    key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&noise.next().to_le_bytes()));
    key
}

fn put(noise: &mut Noise, size: usize) -> KvOp {
    KvOp::Put { key: key(noise.next() % (2 * PRESENT)), value: noise.value(size) }
}

/// A store with records in it.
fn filled(open: Open, size: usize) -> (tempfile::TempDir, Arc<dyn Engine>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = open(dir.path());
    let mut noise = Noise(1);
    let numbers: Vec<u64> = (0..PRESENT.min(64 * 1024 * 1024 / size as u64)).collect();
    for some in numbers.chunks(256) {
        let ops: Vec<_> = some.iter().map(|n| KvOp::Put { key: key(*n), value: noise.value(size) }).collect();
        engine.batch(&ops).expect("room");
    }
    (dir, engine)
}

fn durable_batches(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("batch/{size}B"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(900));
        for (name, open) in ENGINES {
            let (_dir, engine) = filled(open, size);
            for count in BATCHES {
                group.throughput(Throughput::Bytes((count * size) as u64));
                let mut noise = Noise(count as u64);
                group.bench_function(BenchmarkId::new(name, count), |b| {
                    b.iter_batched(
                        || (0..count).map(|_| put(&mut noise, size)).collect::<Vec<_>>(),
                        |ops| engine.batch(&ops).expect("room"),
                        BatchSize::PerIteration,
                    );
                });
            }
        }
        group.finish();
    }
}

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("read/4188B");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(900));
    for (name, open) in ENGINES {
        let (_dir, engine) = filled(open, SIZES[1]);
        let mut noise = Noise(7);
        group.bench_function(BenchmarkId::new(name, "get"), |b| {
            b.iter(|| engine.get(&key(noise.next() % PRESENT)).expect("readable"));
        });
        group.bench_function(BenchmarkId::new(name, "scan all"), |b| {
            b.iter(|| {
                let (mut after, mut records) = (None, 0);
                loop {
                    let page = engine.scan(after.as_ref(), 768 * 1024).expect("readable");
                    records += page.records.len();
                    after = page.records.last().map(|(key, _)| *key);
                    if !page.more {
                        break records;
                    }
                }
            });
        });
    }
    group.finish();
}

/// What lies on disk after every record was written four times, and how long opening takes after a crash.
fn space(_: &mut Criterion) {
    for (name, open) in ENGINES {
        let (dir, engine) = filled(open, 1024);
        let mut noise = Noise(3);
        for n in (0..3 * PRESENT).step_by(64) {
            let ops: Vec<_> =
                (n..n + 64).map(|n| KvOp::Put { key: key(n % PRESENT), value: noise.value(1024) }).collect();
            engine.batch(&ops).expect("room");
        }
        let bytes = disk(dir.path());
        println!("space/{name}: {} live KiB take {} KiB", PRESENT, bytes / 1024);
    }
}

fn disk(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() { disk(&entry.path()) } else { blocks(&meta) }
        })
        .sum()
}

fn blocks(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

criterion_group!(benches, durable_batches, reads, space);
criterion_main!(benches);
