//! `cargo xtask demo`: builds what the demo needs and runs it (`tests/src/bin/demo`).

use anyhow::Result;
use clap::Args;

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// What the enclave runs on [default: the image, on hardware if there is any and emulated otherwise]
    #[arg(long, value_parser = ["sgx", "emulated", "native"])]
    platform: Option<String>,
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
    demo.current_dir(tool::root());
    if options.platform.as_deref() != Some("native") {
        demo.env("ENCLAVE_OS_IMAGE_DIR", crate::image::for_development()?);
    }
    if let Some(platform) = &options.platform {
        demo.args(["--platform", platform]);
    }
    if options.keep {
        demo.arg("--keep");
    }
    run(&mut demo)
}
