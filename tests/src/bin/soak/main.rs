//! A long, mixed load on the real programs: does anything grow that should not, is anything lost?
//!
//! Some threads call the example and check every answer, one loads and unloads, one runs guests that
//! misbehave, one opens connections and leaves them half done. Between rounds of load the host is measured at
//! rest; later rounds must not need more than the first ones did. At the end it is killed and restarted under
//! load, and every value that was acknowledged must be there. It stops by itself.

#![forbid(unsafe_code)]

mod load;
mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use scenarios::example::World;
use scenarios::host::HostProcess;
use scenarios::platform::Platform;

use crate::load::{Guests, Load, Tally};
use crate::measure::{Sample, table, verdict};

/// Rounds of load with a measurement after each. The first [`measure::WARM_UP`] set the scale.
const ROUNDS: u32 = 8;
/// Kills under load, after the rounds.
const KILLS: u32 = 5;

/// Puts a mixed load on a host for a while, and checks that it neither grows nor forgets.
#[derive(Parser)]
#[command(name = "soak")]
struct Arguments {
    /// What the enclave runs on [default: the image, on hardware if there is any and emulated otherwise]
    #[arg(long, value_enum)]
    platform: Option<Platform>,
    /// How long the load lasts, in minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Print the measurements as one JSON document.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("enclave-os-soak-").tempdir()?;
    let platform = arguments.platform.unwrap_or_else(Platform::of_the_image);
    let guests = Guests::build(platform)?;
    let world = World::new(platform, folder.path().join("data"))?;
    let mut host = world.start()?;
    anstream::eprintln!("{}", host.ready_line());
    let tally = Arc::new(Tally::default());
    load::prepare(&host, &guests)?;
    load::fill(&host)?;

    let round = Duration::from_secs(u64::from(arguments.minutes) * 60) / (ROUNDS + KILLS);
    let mut samples = vec![Sample::take(&host, world.data_dir(), &tally)?];
    for number in 1..=ROUNDS {
        let load = Load::start(&host, &guests, &tally);
        std::thread::sleep(round);
        load.stop()?;
        let sample = Sample::take(&host, world.data_dir(), &tally)?;
        anstream::eprintln!("round {number} of {ROUNDS}: {sample}");
        samples.push(sample);
    }
    ensure!(tally.answers() > 0, "no call was answered: this shows nothing");
    for number in 1..=KILLS {
        host = kill_under_load(host, &world, &guests, &tally, round)?;
        anstream::eprintln!("kill {number} of {KILLS}: {} acknowledged values are there", tally.values());
    }
    ensure!(host.stop()?.success(), "the host did not stop gracefully");
    table(&samples, arguments.json)?;
    verdict(&samples)
}

/// Kills the host in the middle of its work, starts it again and looks for everything acknowledged.
fn kill_under_load(
    host: HostProcess,
    world: &World,
    guests: &Guests,
    tally: &Arc<Tally>,
    round: Duration,
) -> Result<HostProcess> {
    let load = Load::start(&host, guests, tally);
    std::thread::sleep(round);
    host.kill()?;
    load.abandon();
    let host = world.start()?;
    let until = Instant::now() + scenarios::host::PATIENCE;
    let mut client = host.framed()?;
    client.ping()?;
    tally.demand(&mut client)?;
    ensure!(Instant::now() < until, "looking for what was acknowledged took too long");
    load::prepare(&host, guests)?;
    Ok(host)
}
