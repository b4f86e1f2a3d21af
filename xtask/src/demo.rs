//! `cargo xtask demo`: builds what the demo needs and runs it (`tests/src/bin/demo`).

use anyhow::Result;
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// The CPU the enclave runs on.
    #[arg(long, default_value = "native", value_parser = ["native"])]
    platform: String,
    /// Leave the server running on port 8443 afterwards, with the example loaded.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    tool::ensure_guest_target()?;
    // Each by itself, so that the host links no compiler.
    run(&mut cargo(&["build", "-p", "host-launcher"]))?;
    run(&mut cargo(&["build", "-p", "enclave-os-cli", "-p", "scenarios"]))?;
    let mut demo = std::process::Command::new(tool::target_dir().join("debug/demo"));
    demo.current_dir(tool::root()).args(["--platform", &options.platform]);
    if options.keep {
        demo.arg("--keep");
    }
    run(&mut demo)
}
