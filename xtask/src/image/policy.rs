//! The policy that is measured with an image.

use std::path::Path;

use anyhow::{Context, Result};
use attestation::image_policy::ImagePolicy;

/// The policy of an image that nobody gave one.
pub(super) fn development() -> ImagePolicy {
    ImagePolicy { development: true, ..ImagePolicy::default() }
}

/// Says what that means.
pub(super) fn warn_of_development() {
    eprintln!("==========================================================================");
    eprintln!("  DEVELOPMENT POLICY: no --policy was given. Whoever reaches the port of");
    eprintln!("  this image may load code into it. It protects nothing.");
    eprintln!("==========================================================================");
}

/// Reads the policy file.
pub(super) fn read(file: &Path) -> Result<ImagePolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    // The files that a policy names lie beside it.
    let folder = file.parent().unwrap_or(Path::new(""));
    ImagePolicy::from_toml(&text, |named| std::fs::read_to_string(folder.join(named)))
        .with_context(|| format!("{}", file.display()))
}

/// One line about a policy.
pub(super) fn summary(policy: &ImagePolicy) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mode = if policy.development { "DEVELOPMENT, protects nothing; " } else { "" };
    let egress = if policy.egress_ca_pem.is_some() { "own egress roots" } else { "Mozilla's egress roots" };
    format!(
        "{mode}{}, {}, {}, {egress}",
        count(policy.operators.len(), "operator"),
        count(policy.code_signing.len(), "code signer"),
        count(policy.served_names.len(), "served name"),
    )
}
