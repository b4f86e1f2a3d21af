//! `cargo xtask demo`.

use anyhow::Result;
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {}

pub(crate) fn command(_: &Options) -> Result<()> {
    Ok(())
}
