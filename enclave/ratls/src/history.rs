//! Which configurations there have been since the enclave started.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::seen::Change;

/// Most generations that are told; the newest stay.
pub const MAX_GENERATIONS: usize = 64;

/// One configuration of the enclave, from when on it was in its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Counted from 1 since the enclave started.
    pub number: u64,
    /// Extension `.1.1` of the certificates of that time.
    pub configuration_root: [u8; 32],
    /// Since when, by the enclave's clock.
    pub since: OffsetDateTime,
    /// What differs from the one before: `core`, and `app.<name>` for an app that was loaded, replaced or
    /// unloaded.
    pub changed: Vec<String>,
}

/// The newest generations, the oldest of them first.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<[Generation]>);

impl History {
    /// With one more.
    pub(crate) fn then(
        &self,
        configuration_root: [u8; 32],
        since: OffsetDateTime,
        change: &Change,
    ) -> History {
        let number = self.0.last().map_or(0, |last| last.number) + 1;
        let apps = change.apps.iter().map(|(name, _)| format!("app.{name}"));
        let changed = change.core.map(|_| "core".to_owned()).into_iter().chain(apps).collect();
        let next = Generation { number, configuration_root, since, changed };
        let from = (self.0.len() + 1).saturating_sub(MAX_GENERATIONS);
        History(self.0.iter().skip(from).cloned().chain([next]).collect())
    }

    pub(crate) fn generations(&self) -> &[Generation] {
        &self.0
    }

    /// As [`History::generations`], without the names of other apps.
    pub(crate) fn of_app(&self, app: &str) -> Vec<Generation> {
        let own = format!("app.{app}");
        let mut generations = self.0.to_vec();
        for generation in &mut generations {
            generation.changed.retain(|what| what == "core" || *what == own);
        }
        generations
    }
}
