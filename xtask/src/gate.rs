//! `cargo xtask test`: what every change has to pass, in one command.

mod long;

use anyhow::{Context, Result};
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// Also what takes longer: two builds of the image that must measure the same, Miri, fuzzing of every
    /// decoder, ten times the crash rounds, a soak.
    #[arg(long)]
    full: bool,
    /// Minutes of load in the soak of `--full`, on each platform.
    #[arg(long, default_value_t = 10, requires = "full")]
    soak_minutes: u32,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    tool::ensure_guest_target()?;
    run(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` mends it")?;
    crate::check::command()?;
    crate::tcb::check()?;
    crate::wasi::check(&tool::root())?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    model_checks()?;
    if options.full {
        crate::reproduce::command(&crate::reproduce::Options::default())?;
        long::miri()?;
        long::fuzz()?;
        crate::soak::command(&crate::soak::Options::of_both(options.soak_minutes))?;
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
    let image = crate::image::for_development()?;
    let programs = tool::target_dir().join("programs");
    std::fs::create_dir_all(&programs)?;
    run(&mut cargo(&["build", "-p", "host-launcher"]))?;
    tool::copy_program("debug", "enclave-os-host", &programs)?;
    run(&mut suite(&["--no-run"]))?;
    tool::copy_program("debug", "enclave-os", &programs)?;
    let rounds = if options.full { "10" } else { "1" };
    run(suite(&["--no-fail-fast"])
        .env("ENCLAVE_OS_BIN_DIR", &programs)
        .env("ENCLAVE_OS_IMAGE_DIR", &image)
        // Tests leave the machine's own development PKI alone.
        .env("ENCLAVE_OS_DEV_PKI", tool::target_dir().join("dev-pki"))
        .env("ENCLAVE_OS_TEST_ROUNDS", rounds))
}
