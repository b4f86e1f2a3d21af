//! `cargo xtask test`: what every change has to pass, in one command.

use anyhow::{Context, Result};
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// Also what takes longer: Miri over the unsafe modules, fuzzing of every decoder, more crash rounds.
    #[arg(long)]
    full: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    tool::ensure_guest_target()?;
    run(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")?;
    crate::check::command()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    model_checks()?;
    if options.full {
        long_checks()?;
    }
    // The scenario tests run the real binaries, built each by itself so that the host links no compiler.
    run(&mut cargo(&["build", "-p", "host-launcher"]))?;
    run(&mut cargo(&["build", "-p", "enclave-os-cli"]))?;
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
    let rounds = if options.full { "10" } else { "1" };
    if tool::answers("cargo", &["nextest", "--version"]) {
        run(cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]).env("ENCLAVE_OS_TEST_ROUNDS", rounds))
    } else {
        run(cargo(&["test", "--workspace", "--no-fail-fast"]).env("ENCLAVE_OS_TEST_ROUNDS", rounds))
    }
}

/// Needs the nightly toolchain with Miri, and cargo-fuzz's library for the fuzz targets.
fn long_checks() -> Result<()> {
    run(cargo(&["+nightly", "miri", "test", "-p", "boundary-ring", "--lib"])
        .env_remove("CARGO")
        .env("CARGO_TARGET_DIR", tool::target_dir().join("miri")))
    .context("`rustup +nightly component add miri` installs what this needs")
}
