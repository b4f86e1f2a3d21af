//! The policy that is measured with an image.

use std::path::Path;

use anyhow::{Context, Result};
use attestation::image_policy::ImagePolicy;
use image_tool::Root;
use sgx_emu::quoting::DevelopmentPki;
use time::OffsetDateTime;

/// The policy of an image that nobody gave one.
pub(super) fn development() -> ImagePolicy {
    ImagePolicy { development: true, ..ImagePolicy::default() }
}

/// Who will vouch for the platform: Intel, or this machine's development PKI for an image that protects nothing.
pub(super) fn root(policy: Option<&ImagePolicy>) -> Result<Root> {
    if !policy.is_none_or(|policy| policy.development) {
        return Ok(Root::Intel);
    }
    let dir = DevelopmentPki::default_dir(|name| std::env::var_os(name))
        .context("no folder for the development PKI: set HOME or ENCLAVE_OS_DEV_PKI")?;
    let pki = DevelopmentPki::open_or_create(&dir, OffsetDateTime::now_utc())?;
    Ok(Root::Development(pki.root_fingerprint()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_policy_names_lie_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, "served_names = [\"a.example\"]\negress_ca = \"roots.pem\"\n").unwrap();
        let missing = format!("{:#}", read(&file).unwrap_err());
        assert!(missing.contains("roots.pem") && missing.contains("policy.toml"), "{missing}");
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(folder.path().join("roots.pem"), pem).unwrap();
        let policy = read(&file).unwrap();
        assert_eq!(summary(&policy), "0 operators, 0 code signers, 1 served name, own egress roots");
        assert!(summary(&development()).starts_with("DEVELOPMENT, protects nothing"));
    }
}
