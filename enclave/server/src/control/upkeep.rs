//! Certificates that are renewed in time, and quotes that are asked for until they come.

use std::time::Duration;

use enclave_platform::clock::Monotonic;
use enclave_worker::LogLevel;

use super::Control;
use crate::limits;

/// When to look next.
pub(super) struct Upkeep {
    at: Monotonic,
    /// How long to wait if quotes are missing once more.
    retry: Duration,
    /// What was last said of the collateral.
    collateral: Option<String>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Upkeep { at: Monotonic::default(), retry: limits::QUOTE_RETRY[0], collateral: None }
    }
}

impl Upkeep {
    pub(super) fn at(&self) -> Monotonic {
        self.at
    }

    /// After a look that found quotes missing or not.
    fn looked(&mut self, now: Monotonic, wants_quotes: bool) {
        let [first, longest] = limits::QUOTE_RETRY;
        if wants_quotes {
            self.at = now.after(self.retry);
            self.retry = self.retry.saturating_mul(2).min(longest);
        } else {
            self.at = now.after(limits::UPKEEP_INTERVAL);
            self.retry = first;
        }
    }
}

impl Control {
    /// Renews certificates that are due, asks for quotes that are missing and for newer collateral.
    pub(super) async fn keep_up(&mut self) {
        let wants_quotes = match self.identities.maintain(&self.quoting).await {
            Ok(upkeep) => upkeep.wants_quotes,
            Err(error) => {
                let line = format!("a certificate cannot be renewed: {error}");
                self.handle.log(LogLevel::Error, "control", &line);
                true
            }
        };
        let said = self.quoting.refresh_collateral().await.err().map(|error| error.to_string());
        if let Some(line) = said.as_ref().filter(|_| said != self.upkeep.collateral) {
            let line = format!("{line}; clients need collateral of their own to verify quotes");
            self.handle.log(LogLevel::Warn, "quotes", &line);
        }
        self.upkeep.collateral = said;
        self.upkeep.looked(self.handle.monotonic(), wants_quotes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_quotes_are_asked_for_less_and_less_often() {
        let mut upkeep = Upkeep::default();
        let mut waits = Vec::new();
        for wants_quotes in [true, true, true, false, true] {
            upkeep.looked(Monotonic::default(), wants_quotes);
            waits.push(upkeep.at().since(Monotonic::default()).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 60, 1]);
        for _ in 0..20 {
            upkeep.looked(Monotonic::default(), true);
        }
        assert_eq!(upkeep.at().since(Monotonic::default()), limits::QUOTE_RETRY[1]);
    }
}
