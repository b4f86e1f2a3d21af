//! Which functions the WIT texts have.

use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::Resolve;

use super::Interfaces;

/// All interfaces of a folder and what it depends on, in order of their names, each with its functions in order.
pub(super) fn interfaces(folder: &Path) -> Result<Interfaces> {
    // What is marked as unstable is offered as well.
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    resolve.push_dir(folder).with_context(|| format!("the texts of {} do not parse", folder.display()))?;
    let mut found = Interfaces::new();
    for (id, interface) in resolve.interfaces.iter() {
        if let Some(name) = resolve.id_of(id) {
            found.insert(name, interface.functions.keys().cloned().collect());
        }
    }
    Ok(found)
}
