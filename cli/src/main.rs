//! What does a person type?
//!
//! Raw arguments ([`args`]), then resolved ones ([`session`]), then one file per command ([`commands`]).
//! Results go to stdout, everything else to stderr. `docs/cli.md` is the reference.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod failure;
mod key_file;
mod output;
mod session;
mod wave;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let json = args.global.json;
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
