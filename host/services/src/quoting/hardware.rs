//! Quotes of the platform's own quoting enclave.

use std::sync::{Mutex, PoisonError};

use super::collateral::CollateralKeeper;
use super::{Quoting, QuotingError};

/// One way to the platform's quoting enclave.
pub trait QuoteProvider: Send + Sync {
    /// For the log.
    fn name(&self) -> String;

    /// The TARGETINFO that a REPORT must be made for.
    ///
    /// # Errors
    /// [`QuotingError`], with what to do about it.
    fn target_info(&self) -> Result<Vec<u8>, QuotingError>;

    /// A DCAP quote over a REPORT.
    ///
    /// # Errors
    /// [`QuotingError`], with what to do about it.
    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError>;
}

/// The first of some providers that works, and the collateral for its quotes.
pub struct HardwareQuoting {
    providers: Vec<Box<dyn QuoteProvider>>,
    /// Whose target info was given last: reports are for it.
    chosen: Mutex<usize>,
    collateral: CollateralKeeper,
}

impl HardwareQuoting {
    /// `providers` in the order in which they are tried.
    pub fn new(providers: Vec<Box<dyn QuoteProvider>>, collateral: CollateralKeeper) -> Self {
        Self { providers, chosen: Mutex::new(0), collateral }
    }

    /// What quotes would be made by now, or why there are none. May take long.
    ///
    /// # Errors
    /// [`QuotingError`].
    pub fn probe(&self) -> Result<String, QuotingError> {
        self.target_info()?;
        let chosen = *self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        self.providers.get(chosen).map(|provider| provider.name()).ok_or(QuotingError::Absent)
    }
}

impl Quoting for HardwareQuoting {
    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        let mut failures = Vec::new();
        for (number, provider) in self.providers.iter().enumerate() {
            match provider.target_info() {
                Ok(target_info) => {
                    *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = number;
                    return Ok(target_info);
                }
                Err(QuotingError::Unavailable(why) | QuotingError::Refused(why)) => failures.push(why),
                Err(QuotingError::Absent) => {}
            }
        }
        if failures.is_empty() {
            return Err(QuotingError::Absent);
        }
        Err(QuotingError::Unavailable(failures.join("; ")))
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        let chosen = *self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let provider = self.providers.get(chosen).ok_or(QuotingError::Absent)?;
        let quote = provider.quote(report)?;
        self.collateral.learn(&quote)?;
        Ok(quote)
    }

    fn collateral(&self) -> Result<Vec<u8>, QuotingError> {
        self.collateral.current()
    }
}

/// A quote (version 3) without what lies behind its signature data; `None` if that is not all there.
pub fn whole_quote(mut quote: Vec<u8>) -> Option<Vec<u8>> {
    const SIGNATURE_LENGTH: usize = 432;
    let length = quote.get(SIGNATURE_LENGTH..)?.first_chunk::<4>()?;
    let end = (u32::from_le_bytes(*length) as usize).checked_add(SIGNATURE_LENGTH + 4)?;
    if quote.len() < end {
        return None;
    }
    quote.truncate(end);
    Some(quote)
}
