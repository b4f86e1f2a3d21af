//! Where dependencies come from and under which licence: crates.io only, no patches, licences that an
//! AGPL program and its Apache-licensed client side may link.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use super::{Violation, place};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that may be linked, as SPDX terms.
const LICENCES: &[&str] = &[
    "0BSD",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What users link into their own programs (DESIGN D10).
const APACHE: &[&str] = &["attestation", "boundary/wire", "client", "sdk", "clients"];

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    let text = std::fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    for line in text.lines().map(str::trim) {
        if line.starts_with("[patch") || line.starts_with("[replace") {
            found.push(Violation::new("manifest", "Cargo.toml", format!("`{line}`: nothing is patched")));
        }
    }
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        match &package.source {
            Some(source) if source.repr != CRATES_IO => {
                found.push(Violation::new("manifest", &name, format!("comes from {source}, not crates.io")));
            }
            _ => {}
        }
        let licence = package.license.as_deref().unwrap_or_default();
        if !permitted(licence) {
            found.push(Violation::new("manifest", &name, format!("licence `{licence}` is not on the list")));
        }
    }
    for package in metadata.workspace_packages() {
        let at = place(root, package.manifest_path.as_std_path());
        let apache = APACHE.iter().any(|folder| at == *folder || at.starts_with(&format!("{folder}/")));
        let wanted = if apache { "Apache-2.0" } else { "AGPL-3.0-or-later" };
        if package.license.as_deref() != Some(wanted) {
            found.push(Violation::new("manifest", &at, format!("its licence must be {wanted} (DESIGN D10)")));
        }
    }
    Ok(found)
}

/// True if some alternative of an SPDX expression consists of listed licences only.
fn permitted(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let alternatives = flat.split(" OR ");
    alternatives
        .map(|all| all.split(" AND ").map(str::trim).collect::<Vec<_>>())
        .any(|all| !all.is_empty() && all.iter().all(|one| LICENCES.contains(one)))
}

#[cfg(test)]
mod tests {
    use super::permitted;

    #[test]
    fn licence_expressions() {
        assert!(permitted("MIT OR Apache-2.0"));
        assert!(permitted("MIT/Apache-2.0"));
        assert!(permitted("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(permitted("GPL-2.0-only OR MIT"));
        assert!(!permitted("GPL-2.0-only"));
        assert!(!permitted(""));
    }
}
