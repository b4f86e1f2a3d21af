//! Large artifacts: one of 56 MB runs, and a thousand of 2 MB leave nothing behind.
//!
//! Bug: code memory is given out and never freed, or not in pieces large enough for a Python interpreter.
//! Required: loads and unloads end with the memory they began with; the pool is far smaller than their sum.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::Path;

use boundary_wire::client::{Load, Params};
use enclave_os_client::{Framed, LoadOptions};
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;

scenarios::on_each_platform!(one_larger_than_a_python_runs, loads_and_unloads_leave_nothing_behind);

/// Loads in the gate: together more than the code pool of an image. The long gate makes ten times as many.
const LOADS: usize = 100;
/// Loads after which pools have their size.
const WARM_UP: usize = 20;
/// What the allocator of the machine may keep.
const SLACK: u64 = 32 << 20;

/// A component with that many bytes of data and a function that adds two of them up.
fn component(bytes: usize) -> Vec<u8> {
    let pages = bytes.div_ceil(65536) + 1;
    // Not compressible, and different in each segment: 1 MiB of it, over and over.
    let mut state = 7u32;
    let segment: String = (0..1 << 16)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("\\{:02x}", state >> 24)
        })
        .collect();
    let data: String =
        (0..bytes >> 16).map(|n| format!("(data (i32.const {}) \"{segment}\")\n", n << 16)).collect();
    let text = format!(
        "(component (core module $m (memory {pages}) {data} \
         (func (export \"sum\") (result i32) \
           (i32.add (i32.load8_u (i32.const 0)) (i32.load8_u (i32.const {})))))\
         (core instance $i (instantiate $m)) \
         (func (export \"sum\") (result u32) (canon lift (core func $i \"sum\"))))",
        ((bytes >> 16) - 1) << 16
    );
    wat::parse_str(text).unwrap()
}

fn artifact(platform: Platform, bytes: usize) -> Vec<u8> {
    let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
    enclave_os_compiler::compile(&component(bytes), target).unwrap()
}

fn sum(client: &mut Framed) -> u64 {
    client.call("large", "sum", Params::default()).unwrap()[0]["value"].as_u64().unwrap()
}

fn one_larger_than_a_python_runs(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
    let bytes = artifact(platform, 56 << 20);
    assert!(bytes.len() > 56 << 20);
    // More than a framed message holds.
    let limits = LoadOptions {
        max_memory_bytes: Some(128 << 20),
        // Copying the data into memory costs fuel.
        max_fuel: Some(1 << 30),
        ..LoadOptions::default()
    };
    host.connector().http().unwrap().load("large", &bytes, &limits, &mut |_| ()).unwrap();
    let mut client = host.framed().unwrap();
    let first = sum(&mut client);
    assert!(first > 0 && sum(&mut client) == first);
}

fn loads_and_unloads_leave_nothing_behind(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
    let bytes = artifact(platform, 2 << 20);
    let mut client = host.framed().unwrap();
    let mut round = || {
        client.load(Load { name: "large".into(), bytes: bytes.clone(), ..Load::default() }).unwrap();
        assert!(sum(&mut client) > 0);
        assert!(client.unload("large").unwrap());
    };
    (0..WARM_UP).for_each(|_| round());
    let before = resident(&host);
    let times: usize = std::env::var("ENCLAVE_OS_TEST_ROUNDS").map_or(1, |times| times.parse().unwrap());
    (0..LOADS * times).for_each(|_| round());
    let after = resident(&host);
    assert!(after <= before + SLACK, "resident memory went from {before} to {after} bytes");
}

/// Memory of the host process, the enclave's included.
fn resident(host: &HostProcess) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(host.id().to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}
