//! The policy that is measured with an image.

use std::path::Path;

use anyhow::{Context, Result};
use attestation::image_policy::ImagePolicy;

/// Reads the policy file; without one, the development policy, loudly.
pub(super) fn read(file: Option<&Path>) -> Result<ImagePolicy> {
    let Some(file) = file else {
        eprintln!("==========================================================================");
        eprintln!("  DEVELOPMENT POLICY: no --policy was given. Whoever reaches the port of");
        eprintln!("  this image may load code into it. It protects nothing.");
        eprintln!("==========================================================================");
        return Ok(ImagePolicy { development: true, ..ImagePolicy::default() });
    };
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
