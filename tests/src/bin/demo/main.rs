//! The demo: a real component loaded, called, crashed, recovered and unloaded, with every claim checked.

#![forbid(unsafe_code)]

mod example;
mod report;
mod store;
mod story;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Loads the example component over TLS, calls its six functions, kills and restarts the host, unloads, and
/// checks what must hold at each step.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// The CPU the enclave runs on.
    #[arg(long, value_enum, default_value_t = Platform::Native)]
    platform: Platform,
    /// Leave the server running on port 8443 afterwards, with the example loaded.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Platform {
    /// The enclave crates in the host's process, with software keys. Protects nothing.
    Native,
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
    let Platform::Native = arguments.platform;
    let world = world::World::prepare()?;
    let rows = story::tell(&world)?;
    report::table(&rows);
    let passed = rows.iter().filter(|row| row.passed).count();
    report::result(passed, rows.len())?;
    if arguments.keep { world.keep() } else { Ok(()) }
}
