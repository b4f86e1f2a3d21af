//! What takes too long for every change: Miri and fuzzing. `cargo xtask test --full` runs it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::tool::{self, run};

/// What Miri interprets: all unsafe code of ours that it can run.
///
/// It cannot run assembly, system calls or code made at run time: of `enclave-wasm-platform` it runs the pools,
/// and nothing of what enters an enclave or a guest. Every other crate forbids unsafe code, so the compiler has
/// shown there what Miri would look for.
const MIRI: &[(&[&str], &str)] = &[
    (&["-p", "boundary-ring", "--lib"], STACKED),
    (&["-p", "enclave-platform", "--lib", "alloc::"], TREE),
    (&["-p", "enclave-wasm-platform", "--lib", "--", "memory::", "stack::"], STACKED),
];
/// Miri's own model of aliasing, the stricter one.
const STACKED: &str = "";
/// The other model: `dlmalloc` keeps pointers into itself between calls with `&mut self`, which the first one
/// forbids whatever its caller does.
const TREE: &str = "-Zmiri-tree-borrows";

/// Needs the nightly toolchain with Miri.
pub(super) fn miri() -> Result<()> {
    for (what, aliasing) in MIRI {
        run(nightly_cargo(&[&["miri", "test"], *what].concat())
            .env("CARGO_TARGET_DIR", tool::target_dir().join("miri"))
            // Time and randomness of the machine; leaks of what lives as long as the program.
            .env("MIRIFLAGS", format!("-Zmiri-disable-isolation -Zmiri-ignore-leaks {aliasing}")))
        .context("`rustup +nightly component add miri` installs what this needs")?;
    }
    Ok(())
}

/// Seconds that each decoder is fuzzed for.
const FUZZ_SECONDS: u32 = 30;

/// What libFuzzer needs of the compiler: where the program has been, and what it compared.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Fuzzes every decoder for a while, from its corpus. Needs the nightly toolchain and a C++ compiler. What is
/// found lies under `target/fuzz/found`; an input that breaks a decoder belongs into its corpus.
pub(super) fn fuzz() -> Result<()> {
    let (dir, host) = (tool::target_dir().join("fuzz"), "x86_64-unknown-linux-gnu");
    run(nightly_cargo(&[
        "build",
        "--release",
        "--manifest-path",
        "fuzz/targets/Cargo.toml",
        "--target",
        host,
    ])
    .env("RUSTFLAGS", COVERAGE)
    .env("CARGO_TARGET_DIR", &dir))?;
    for corpus in std::fs::read_dir(tool::root().join("fuzz/corpus"))? {
        let corpus = corpus?.path();
        let Some(name) = corpus.file_name() else { continue };
        let found = dir.join("found").join(name);
        std::fs::create_dir_all(&found)?;
        run(Command::new(dir.join(host).join("release").join(name))
            .arg(format!("-max_total_time={FUZZ_SECONDS}"))
            .arg(format!("-artifact_prefix={}/broken-", found.display()))
            .arg(&found)
            .arg(&corpus))?;
    }
    Ok(())
}

fn nightly_cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments).current_dir(tool::root());
    command
}
