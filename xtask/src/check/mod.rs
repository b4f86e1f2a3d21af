//! The house rules, each a function over a tree, so that a planted violation can test it.

mod closure;
mod edges;
mod manifest;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::tool;

/// One broken rule: where, what, and the rule itself.
#[derive(Debug)]
pub(crate) struct Violation {
    rule: &'static str,
    place: String,
    what: String,
}

impl Violation {
    fn new(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule, place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.what, self.rule)
    }
}

/// `cargo xtask check`: prints every violation, fails if there is one.
pub(crate) fn command() -> Result<()> {
    let root = tool::root();
    let violations = all(&root, &metadata(&root)?)?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("check: every house rule holds");
            Ok(())
        }
        n => bail!("{n} house rules broken, listed above; docs/ARCHITECTURE.md explains them"),
    }
}

/// Every rule over one tree.
fn all(root: &Path, metadata: &Metadata) -> Result<Vec<Violation>> {
    let mut found = edges::check(root, metadata);
    found.extend(closure::check(metadata));
    found.extend(manifest::check(root, metadata)?);
    found.extend(source::check(root, metadata)?);
    Ok(found)
}

fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(root)
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .context("cargo metadata failed")
}

/// The path of a workspace member relative to the root, with forward slashes.
fn place(root: &Path, manifest_path: &Path) -> String {
    let folder = manifest_path.parent().unwrap_or(manifest_path);
    folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().replace('\\', "/")
}
