//! The demo: a real component loaded, called, crashed, recovered and unloaded, with every claim checked.

#![forbid(unsafe_code)]

mod example;
mod report;
mod store;
mod story;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use scenarios::platform::Platform;

/// Loads the example component over TLS, calls its six functions, kills and restarts the host, unloads, and
/// checks what must hold at each step.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// What the enclave runs on [default: the image, on hardware if there is any and emulated otherwise]
    #[arg(long, value_enum)]
    platform: Option<Platform>,
    /// Leave the server running on port 8443 afterwards, with the example loaded.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("\n{}", report::failure(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let world = world::World::prepare(arguments.platform.unwrap_or_else(Platform::of_the_image))?;
    let rows = story::tell(&world)?;
    report::table(&rows);
    let passed = rows.iter().filter(|row| row.passed).count();
    report::result(passed, rows.len())?;
    if arguments.keep { world.keep() } else { Ok(()) }
}
