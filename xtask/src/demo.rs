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
    run(&mut cargo(&["build", "-p", "enclave-os-cli"]))?;
    let mut demo = cargo(&["run", "--quiet", "-p", "scenarios", "--bin", "demo", "--"]);
    demo.args(["--platform", &options.platform]);
    if options.keep {
        demo.arg("--keep");
    }
    run(&mut demo)
}
