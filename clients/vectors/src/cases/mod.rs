//! The cases, one file for each group of checks.

mod app;
mod authority;
mod certificate;
mod configuration;
mod evidence;
mod freshness;
mod genuine;
mod platform;
mod policy;
mod quote;

use anyhow::Result;
use attestation::vectors::File;
use sgx_emu::quoting::PkiOptions;
use time::Duration;

use crate::table::Table;
use crate::world::World;

pub(crate) fn all(world: &World) -> Result<File> {
    let mut table = Table::new();
    let issued = world.now - Duration::days(1);
    table.collateral("development", world.machine.collateral(issued, &PkiOptions::default())?);
    policy::add(&mut table, world)?;
    certificate::add(&mut table, world)?;
    authority::add(&mut table, world)?;
    quote::add(&mut table, world)?;
    freshness::add(&mut table, world)?;
    platform::add(&mut table, world)?;
    app::add(&mut table, world)?;
    configuration::add(&mut table, world)?;
    evidence::add(&mut table, world)?;
    genuine::add(&mut table, world)?;
    Ok(table.finish())
}
