//! How is the enclave started, fed and stopped?
//!
//! `enclave-os-host` reads its flags ([`args`]), takes the data directory ([`data_dir`]), reads the policy
//! ([`policy`]), and launches the enclave on a platform ([`launch`]). From then on it waits for signals and for
//! what the enclave's threads have to say ([`run`]). Flags route and size things; none can grant anything.

#![forbid(unsafe_code)]

mod args;
mod data_dir;
mod error;
mod launch;
mod native;
mod policy;
mod run;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
