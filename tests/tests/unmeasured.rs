//! The host chooses what is in pages that are not measured: it fills heap, stacks, save areas and the code pool.
//!
//! Bug: memory that was never written is taken for zeros, or for what the enclave left there. Cause: an image whose
//! heap is full of something else has the same MRENCLAVE and the same signature. Required: it behaves the same.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use boundary_wire::client::Params;
use enclave_os_client::LoadOptions;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::image;
use scenarios::platform::Platform;

/// Unmeasured pages of each segment that are filled: all but the end of the heap, and of the code pool, where nothing
/// comes in this test.
const FILLED: usize = 24 << 20 >> 12;

/// Writes the image with everything filled that is not measured (docs/formats/image.md).
fn fill(image: &Path, to: &Path, filler: u8) {
    let sgxs = fs::read(image).unwrap();
    let mut out = BufWriter::new(File::create(to).unwrap());
    let (mut at, mut run, mut next) = (0, 0, 0);
    while at < sgxs.len() {
        let added = sgxs[at..].starts_with(b"EADD\0\0\0\0");
        let len = if sgxs[at..].starts_with(b"EEXTEND\0") { 320 } else { 64 };
        out.write_all(&sgxs[at..at + len]).unwrap();
        at += len;
        if !added || sgxs[at..].starts_with(b"EEXTEND\0") {
            continue;
        }
        let offset = u64::from_le_bytes(sgxs[at - 56..at - 48].try_into().unwrap());
        run = if offset == next { run + 1 } else { 0 };
        next = offset + 4096;
        for chunk in (offset..next).step_by(256).filter(|_| run < FILLED) {
            out.write_all(b"UNMEASRD").unwrap();
            out.write_all(&chunk.to_le_bytes()).unwrap();
            out.write_all(&[0; 48]).unwrap();
            out.write_all(&[filler; 256]).unwrap();
        }
    }
    out.flush().unwrap();
    for ending in ["sig", "json"] {
        fs::copy(image.with_extension(ending), to.with_extension(ending)).unwrap();
    }
}

/// Tells the bits that are set anywhere in 8 MiB of memory, half of which it grew into.
const LOOKS_AROUND: &str = r#"(component
    (core module $m
        (memory 64 1024)
        (func (export "bits") (result i32)
            (local $at i32) (local $bits i64)
            (drop (memory.grow (i32.const 64)))
            (loop $next
                (local.set $bits (i64.or (local.get $bits) (i64.load (local.get $at))))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $next (i32.lt_u (local.get $at) (i32.const 0x800000))))
            (i32.wrap_i64 (i64.or (local.get $bits) (i64.shr_u (local.get $bits) (i64.const 32))))))
    (core instance $i (instantiate $m))
    (func (export "bits") (result u32) (canon lift (core func $i "bits"))))"#;

#[test]
fn what_the_host_leaves_in_unmeasured_pages_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::development(Platform::Emulated, folder.path().join("data"));
    let original = image::with_policy(&options.policy).unwrap();
    let artifact = enclave_os_compiler::compile(
        &wat::parse_str(LOOKS_AROUND).unwrap(),
        Platform::Emulated.target().unwrap(),
    )
    .unwrap();
    let measured = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    let limits = LoadOptions { max_fuel: Some(1 << 30), ..LoadOptions::default() };

    let load = |host: &HostProcess, name: &str| {
        host.connector().http().unwrap().load(name, &artifact, &limits, &mut |_| ()).unwrap();
    };

    let untouched = HostProcess::start(&options).unwrap();
    let mrenclave = measured(untouched.ready_line());
    load(&untouched, "looks-around");
    untouched.stop().unwrap();
    // The data goes on under an image filled otherwise: the same enclave, with the same keys.
    for filler in [0xff, 0xa5] {
        let filled = folder.path().join("filled.sgxs");
        fill(&original, &filled, filler);
        let host = HostProcess::start(&HostOptions { image: Some(filled), ..options.clone() }).unwrap();
        assert_eq!(measured(host.ready_line()), mrenclave);
        let again = format!("loaded-{filler:x}");
        load(&host, &again);
        let mut client = host.framed().unwrap();
        for name in ["looks-around", &again, "looks-around", &again] {
            let answer = client.call(name, "bits", Params::default()).unwrap();
            assert_eq!(answer[0]["value"].as_u64(), Some(0), "memory of a guest begins as zeros");
        }
        assert!(host.stop().unwrap().success());
    }
}
