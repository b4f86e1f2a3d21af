//! `cargo xtask soak`: a mixed load for a while, with kills and restarts (`tests/src/bin/soak`).

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// What the enclave runs on [default: native and emulated, one after the other]
    #[arg(long, value_parser = ["sgx", "emulated", "native"])]
    platform: Option<String>,
    /// How long the load lasts on each platform, in minutes.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Print the measurements as JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// On native and emulated.
    pub(crate) fn of_both(minutes: u32) -> Options {
        Options { platform: None, minutes, json: false }
    }
}

pub(crate) fn command(options: &Options) -> Result<()> {
    tool::ensure_guest_target()?;
    let image = crate::image::for_development()?;
    // Each by itself, so that the host links no compiler.
    run(&mut cargo(&["build", "-p", "host-launcher"]))?;
    run(&mut cargo(&["build", "-p", "enclave-os-cli", "-p", "scenarios"]))?;
    let platforms = options.platform.as_deref().map_or(vec!["native", "emulated"], |one| vec![one]);
    for platform in platforms {
        let mut soak = Command::new(tool::target_dir().join("debug/soak"));
        soak.env("ENCLAVE_OS_IMAGE_DIR", &image).current_dir(tool::root()).args([
            "--platform",
            platform,
            "--minutes",
            &options.minutes.to_string(),
        ]);
        if options.json {
            soak.arg("--json");
        }
        run(&mut soak)?;
    }
    Ok(())
}
