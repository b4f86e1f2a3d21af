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
    /// Signed by the root of the platform and dated: who it came from does not matter, so what one enclave
    /// told is used for the next connection too.
    collateral: Mutex<Option<Arc<Collateral>>>,
}

impl Demand {
    pub(crate) fn new(policy: VerificationPolicy) -> Self {
        Self { verifier: Verifier::new(policy), tier: Tier::Channel, collateral: Mutex::new(None) }
    }

    /// The same at another tier.
    pub(crate) fn at_tier(&self, tier: Tier) -> Self {
        let verifier = Verifier::new(self.verifier.policy().clone());
        Self { verifier, tier, collateral: Mutex::new(self.collateral()) }
    }

    /// Whether the policy speaks of what only the manifest tells.
    pub(crate) fn needs_manifest(&self) -> bool {
        let rule = self.verifier.policy().configuration.as_ref();
        rule.is_some_and(|rule| !rule.leaves.is_empty() || rule.app_root.is_some())
    }

    pub(crate) fn collateral(&self) -> Option<Arc<Collateral>> {
        self.collateral.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remember(&self, collateral: Arc<Collateral>) {
        *self.collateral.lock().unwrap_or_else(PoisonError::into_inner) = Some(collateral);
    }
}

/// This machine's time. A verifier's own clock is one of the things it trusts.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
