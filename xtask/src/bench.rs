//! `cargo xtask bench`: the measurements of the documents, repeated on this machine.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::tool::{self, cargo, run};

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure.
    what: What,
    /// Print the figures as JSON (all but those of storage).
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Round trips, calls, wake-ups and loads: native against emulated, by turns.
    Boundary,
    /// Attested handshakes beside those of a plain TLS server, and one verification in each client.
    Handshake,
    /// A call of one app alone and beside another at its limits, and throughput beyond capacity.
    Neighbour,
    /// Keys, values and files of a guest: among 100 keys and among 100,000, a small file and one of 1 GiB.
    StoreGuest,
    /// The host's storage engine against another.
    Storage,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    match options.what {
        What::Boundary => with_hosts("boundary", options.json),
        What::Handshake => with_hosts("handshake", options.json),
        What::Neighbour => with_hosts("neighbour", options.json),
        What::StoreGuest => with_hosts("store-guest", options.json),
        What::Storage => {
            run(&mut cargo(&["bench", "--profile", "dev", "-p", "benches", "--bench", "storage"]))
        }
    }
}

/// A measurement of hosts.
fn with_hosts(bench: &str, json: bool) -> Result<()> {
    tool::ensure_guest_target()?;
    let image = crate::image::for_development()?;
    // The image is always optimised; the native enclave has to be as well.
    run(&mut cargo(&["build", "--release", "-p", "host-launcher"]))?;
    run(&mut cargo(&["build", "-p", "enclave-os-cli"]))?;
    let programs = tool::target_dir().join("bench-programs");
    std::fs::create_dir_all(&programs)?;
    tool::copy_program("release", "enclave-os-host", &programs)?;
    tool::copy_program("debug", "enclave-os", &programs)?;
    let mut bench = cargo(&["bench", "--profile", "dev", "-p", "benches", "--bench", bench]);
    if json {
        bench.args(["--", "--json"]);
    }
    run(bench.env("ENCLAVE_OS_BIN_DIR", &programs).env("ENCLAVE_OS_IMAGE_DIR", &image))
}
