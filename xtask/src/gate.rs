//! `cargo xtask test`: what every change has to pass, in one command.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// Also what takes longer: Miri over the ring and the image's allocator, fuzzing of every decoder, ten
    /// times the crash rounds.
    #[arg(long)]
    full: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    tool::ensure_guest_target()?;
    run(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")?;
    crate::check::command()?;
    crate::tcb::check()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    model_checks()?;
    if options.full {
        long_checks()?;
    }
    tests(options)
}

/// The lock-free parts under loom: every interleaving of their small models.
fn model_checks() -> Result<()> {
    run(cargo(&["test", "-p", "boundary-ring", "--test", "loom"])
        .env("RUSTFLAGS", "--cfg loom")
        // Another cfg is another build of the same crates: kept apart, so that neither evicts the other.
        .env("CARGO_TARGET_DIR", tool::target_dir().join("loom")))
    .context("the loom model of the ring or of its bell failed")
}

/// All tests, last, so that the runner's own summary closes the gate.
fn tests(options: &Options) -> Result<()> {
    let nextest = tool::answers("cargo", &["nextest", "--version"]);
    let runner: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
    let suite = |last: &[&str]| cargo(&[runner, &["--workspace"], last].concat());
    // Scenarios run the real programs. The host is built by itself, so that it links no compiler: in a
    // build of the whole workspace the features of all its members unite.
    let programs = tool::target_dir().join("programs");
    std::fs::create_dir_all(&programs)?;
    run(&mut cargo(&["build", "-p", "host-launcher"]))?;
    tool::copy_program("enclave-os-host", &programs)?;
    run(&mut suite(&["--no-run"]))?;
    tool::copy_program("enclave-os", &programs)?;
    let rounds = if options.full { "10" } else { "1" };
    run(suite(&["--no-fail-fast"]).env("ENCLAVE_OS_BIN_DIR", &programs).env("ENCLAVE_OS_TEST_ROUNDS", rounds))
}

/// Needs the nightly toolchain with Miri, and a C++ compiler for libFuzzer.
fn long_checks() -> Result<()> {
    for (member, tests) in [("boundary-ring", ""), ("enclave-platform", "alloc::")] {
        run(nightly_cargo(&["miri", "test", "-p", member, "--lib", tests])
            .env("CARGO_TARGET_DIR", tool::target_dir().join("miri")))
        .context("`rustup +nightly component add miri` installs what this needs")?;
    }
    fuzz()
}

/// Seconds that each decoder is fuzzed for.
const FUZZ_SECONDS: u32 = 30;

/// What libFuzzer needs of the compiler: where the program has been, and what it compared.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Fuzzes every decoder for a while, from its corpus. What is found lies under `target/fuzz/found`; an input
/// that breaks a decoder belongs into its corpus.
fn fuzz() -> Result<()> {
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
