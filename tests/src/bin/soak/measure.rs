//! What the host needs at rest, and whether that grows.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scenarios::host::{HostProcess, PATIENCE};
use serde_json::json;

use crate::load::Tally;

/// Samples that set the scale: the pools have filled by then.
pub(crate) const WARM_UP: usize = 3;
/// Memory that later samples may need beyond the largest of the warm-up.
const MEMORY_SLACK: u64 = 24 << 20;
/// Bytes on disk that later samples may need beyond it: the storage engine reuses pages with a delay.
const DISK_SLACK: u64 = 64 << 20;

/// The host between two rounds of load.
pub(crate) struct Sample {
    memory: u64,
    descriptors: usize,
    threads: usize,
    disk: u64,
    calls: u64,
    loads: u64,
    refusals: u64,
    connections: u64,
}

impl Sample {
    /// Measures once its connections of the last round have ended.
    pub(crate) fn take(host: &HostProcess, data_dir: &Path, tally: &Tally) -> Result<Sample> {
        let process = Path::new("/proc").join(host.id().to_string());
        let count = |what: &str| Ok::<_, anyhow::Error>(fs::read_dir(process.join(what))?.count());
        let mut descriptors = count("fd")?;
        let until = Instant::now() + PATIENCE / 4;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(500));
            let now = count("fd")?;
            if now >= descriptors {
                break;
            }
            descriptors = now;
        }
        let status = fs::read_to_string(process.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = resident.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Sample {
            memory: kib << 10,
            descriptors,
            threads: count("task")?,
            disk: bytes_in(data_dir)?,
            calls: tally.answers(),
            loads: tally.loads(),
            refusals: tally.refusals(),
            connections: tally.connections(),
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, disk, calls, .. } = self;
        let (memory, disk) = (memory >> 20, disk >> 20);
        write!(f, "{calls} calls, {memory} MiB resident, {descriptors} descriptors, {disk} MiB on disk")
    }
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { bytes_in(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

/// Prints all samples.
pub(crate) fn table(samples: &[Sample], as_json: bool) -> Result<()> {
    if as_json {
        let rows: Vec<_> = samples
            .iter()
            .map(|s| {
                json!({
                    "calls": s.calls, "loads": s.loads, "misbehaved": s.refusals, "connections": s.connections,
                    "resident_bytes": s.memory, "descriptors": s.descriptors, "threads": s.threads,
                    "disk_bytes": s.disk,
                })
            })
            .collect();
        anstream::println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "after round",
        "calls",
        "loads",
        "misbehaved",
        "connections",
        "resident MiB",
        "descriptors",
        "threads",
        "disk MiB",
    ]);
    for (round, s) in samples.iter().enumerate() {
        table.add_row([
            round as u64,
            s.calls,
            s.loads,
            s.refusals,
            s.connections,
            s.memory >> 20,
            s.descriptors as u64,
            s.threads as u64,
            s.disk >> 20,
        ]);
    }
    anstream::println!("{table}");
    Ok(())
}

/// Later samples need no more than the first ones did.
pub(crate) fn verdict(samples: &[Sample]) -> Result<()> {
    let (first, later) = samples.split_at(WARM_UP.min(samples.len()));
    let most = |of: fn(&Sample) -> u64| first.iter().map(of).max().unwrap_or(0);
    let scale = (
        most(|s| s.memory) + MEMORY_SLACK,
        most(|s| s.descriptors as u64),
        most(|s| s.threads as u64),
        most(|s| s.disk) + DISK_SLACK,
    );
    for sample in later {
        ensure!(sample.memory <= scale.0, "memory grew to {} bytes, {} were allowed", sample.memory, scale.0);
        let (descriptors, threads) = (sample.descriptors as u64, sample.threads as u64);
        ensure!(descriptors <= scale.1, "{descriptors} descriptors are open, {} were", scale.1);
        ensure!(threads <= scale.2, "{threads} threads run, {} did", scale.2);
        ensure!(sample.disk <= scale.3, "the store grew to {} bytes, {} were allowed", sample.disk, scale.3);
    }
    if let [start, .., end] = samples {
        let (start, end) = (start.memory >> 20, end.memory >> 20);
        anstream::eprintln!("{start} MiB resident at the start, {end} MiB at the end");
    }
    anstream::eprintln!("nothing grew, nothing was lost");
    Ok(())
}
