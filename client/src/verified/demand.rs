//! What a connection has to show.

use std::sync::{Arc, Mutex, PoisonError};

use attestation::collateral::Collateral;
use attestation::leaf_certificate::LeafCertificate;
use attestation::manifest::{Manifest, Proof};
use attestation::policy::VerificationPolicy;
use attestation::verify::{Disclosed, Tier, Verifier};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

/// A policy, the tier that is asked for, and the collateral that is known.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) verifier: Verifier,
    pub(crate) tier: Tier,
    /// The caller's: what an enclave tells never takes its place.
    given: Option<Arc<Collateral>>,
    /// What an enclave told, once a quote has verified with it. Signed by the root of the platform, so it does for
    /// the next connection too.
    learned: Mutex<Option<Arc<Collateral>>>,
}

impl Demand {
    pub(crate) fn new(policy: VerificationPolicy) -> Self {
        Self { verifier: Verifier::new(policy), tier: Tier::Channel, given: None, learned: Mutex::new(None) }
    }

    /// The same at another tier.
    pub(crate) fn at_tier(&self, tier: Tier) -> Self {
        Self { tier, ..self.again() }
    }

    /// The same with collateral of the caller's.
    pub(crate) fn with_collateral(&self, collateral: Collateral) -> Self {
        Self { given: Some(Arc::new(collateral)), ..self.again() }
    }

    fn again(&self) -> Self {
        Self {
            verifier: Verifier::new(self.verifier.policy().clone()),
            tier: self.tier,
            given: self.given.clone(),
            learned: Mutex::new(self.learned()),
        }
    }

    /// What of the configuration has to be asked for, beside this certificate.
    pub(crate) fn settings(&self, leaf: Option<&CertificateDer<'_>>) -> Settings {
        let Some(rule) = &self.verifier.policy().configuration else { return Settings::default() };
        let of_app = || {
            let leaf = leaf.and_then(|der| LeafCertificate::from_der(der).ok());
            leaf.is_some_and(|leaf| leaf.app.is_some())
        };
        if rule.app_root.is_some() && !of_app() {
            return Settings { manifest: true, proofs: Vec::new() };
        }
        Settings { manifest: false, proofs: rule.leaves.keys().cloned().collect() }
    }

    /// What the caller gave.
    pub(crate) fn given(&self) -> Option<Arc<Collateral>> {
        self.given.clone()
    }

    /// What an earlier enclave told.
    pub(crate) fn learned(&self) -> Option<Arc<Collateral>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Collateral that a quote verified with; none forgets what was learned.
    pub(crate) fn learn(&self, collateral: Option<Arc<Collateral>>) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = collateral;
    }
}

/// What is asked for of a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// All of it, from which an app's root follows.
    pub(crate) manifest: bool,
    /// The proofs of these leaves alone, which show nothing of the others.
    pub(crate) proofs: Vec<String>,
}

/// What was shown of it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) proofs: Vec<Proof>,
}

impl Shown {
    pub(crate) fn disclosed(&self) -> Disclosed<'_> {
        Disclosed { manifest: self.manifest.as_ref(), proofs: &self.proofs }
    }
}

/// This machine's time. A verifier's own clock is one of the things it trusts.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

    use super::*;

    #[test]
    fn single_leaves_are_asked_for_alone() {
        let settings = |rest: &str| {
            let hash = "07".repeat(32);
            let policy = format!(
                "format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = [\"{hash}\"]\n[app]\nname = \"a\"\n{}",
                rest.replace("HASH", &hash)
            );
            Demand::new(VerificationPolicy::from_toml(&policy).unwrap()).settings(None)
        };
        assert_eq!(settings(""), Settings::default());
        assert_eq!(settings("[configuration]\nroot = [\"HASH\"]"), Settings::default());
        let leaves = "[configuration.leaves]\n\"core.operator_policy\" = [\"HASH\"]";
        let proofs = vec!["core.operator_policy".to_owned()];
        assert_eq!(settings(leaves), Settings { manifest: false, proofs });
        let root = format!("[configuration]\napp_root = [\"HASH\"]\n{leaves}");
        assert_eq!(settings(&root), Settings { manifest: true, proofs: Vec::new() });
    }
}
