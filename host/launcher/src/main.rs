//! How is the enclave started, fed and stopped?
//!
//! `enclave-os-host` reads its flags ([`args`]), chooses a platform and reads the image or the policy for it
//! ([`launch`]), takes the data directory ([`data_dir`]), and starts the enclave. From then on it waits for signals
//! and for what the enclave's threads have to say ([`run`]). Flags route and size things; none can grant anything.

#![forbid(unsafe_code)]

mod args;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod check;
mod data_dir;
mod error;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod image;
mod launch;
mod native;
mod policy;
mod quoting;
mod run;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if args.check_platform {
        return check::run(&args);
    }
    let ended = if args.renew_dev_pki { quoting::renew(&args) } else { run::run(&args) };
    match ended {
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
