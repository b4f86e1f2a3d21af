//! One command for every chore: `cargo xtask check | test | image | reproduce | tcb | wasi-docs | demo | bench | soak`.

#![forbid(unsafe_code)]

mod bench;
mod check;
mod demo;
mod gate;
mod image;
mod reproduce;
mod soak;
mod tcb;
mod tool;
mod wasi;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "One command for every chore of Enclave OS", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Hold the house rules: who depends on whom, what enclave code may use, where unsafe may live.
    Check,
    /// The gate: format, lints, rules, unit, property, model and scenario tests.
    Test(gate::Options),
    /// Build the SGX image: compile, lay out, measure, sign.
    Image(image::Options),
    /// Build the image twice, in different surroundings, and compare what it measures.
    Reproduce(reproduce::Options),
    /// Print every crate that is measured into the image, and compare with the committed list.
    Tcb(tcb::Options),
    /// Compare what is said of every function of WASI with the texts, or write the page.
    WasiDocs(wasi::Options),
    /// Build everything, start a host, run the six functions of the example and show what holds.
    Demo(demo::Options),
    /// Measure: what the enclave boundary costs, or which storage engine is how fast.
    Bench(bench::Options),
    /// Put a mixed load on a host for a while, kill and restart it, and show that nothing grew or was lost.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Check => check::command(),
        Chore::Test(options) => gate::command(&options),
        Chore::Image(options) => image::command(&options),
        Chore::Reproduce(options) => reproduce::command(&options),
        Chore::Tcb(options) => tcb::command(&options),
        Chore::WasiDocs(options) => wasi::command(&options),
        Chore::Demo(options) => demo::command(&options),
        Chore::Bench(options) => bench::command(&options),
        Chore::Soak(options) => soak::command(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
