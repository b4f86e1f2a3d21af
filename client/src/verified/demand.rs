//! What a connection has to show.

use std::sync::{Arc, Mutex, PoisonError};

use attestation::collateral::Collateral;
use attestation::policy::VerificationPolicy;
use attestation::verify::{Tier, Verifier};
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

    /// Whether the policy speaks of what only the manifest tells.
    pub(crate) fn needs_manifest(&self) -> bool {
        let rule = self.verifier.policy().configuration.as_ref();
        rule.is_some_and(|rule| !rule.leaves.is_empty() || rule.app_root.is_some())
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

/// This machine's time. A verifier's own clock is one of the things it trusts.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
