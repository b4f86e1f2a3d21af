//! Quotes of the platform's own quoting enclave.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Who is asked first: the first of all, until it fails. Whoever gave the target info makes the quote, since
    /// the report is for him.
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
        self.providers.get(*self.chosen()).map(|provider| provider.name()).ok_or(QuotingError::Absent)
    }

    fn chosen(&self) -> MutexGuard<'_, usize> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quoting for HardwareQuoting {
    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        let first = *self.chosen();
        let mut failures = Vec::new();
        for (number, provider) in
            self.providers.iter().enumerate().cycle().skip(first).take(self.providers.len())
        {
            match provider.target_info() {
                Ok(target_info) => {
                    *self.chosen() = number;
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
        let chosen = *self.chosen();
        let provider = self.providers.get(chosen).ok_or(QuotingError::Absent)?;
        let quote = provider.quote(report).inspect_err(|_| {
            // The enclave asks for a target info again, and gets another's.
            *self.chosen() = (chosen + 1) % self.providers.len();
        })?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use sgx_emu::quoting::{DevelopmentPki, PlatformFacts, QuotingEnclave};
    use sgx_emu::{EnclaveState, SoftwareCpu};

    use super::*;
    use crate::log::{Format, Log};
    use crate::quoting::CollateralSource;

    /// Why a provider has no quotes; counts what it is asked.
    struct Fails {
        target_info: Option<QuotingError>,
        asked: Arc<AtomicU32>,
    }

    impl QuoteProvider for Fails {
        fn name(&self) -> String {
            "the one that fails".to_owned()
        }

        fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.target_info.clone().map_or_else(|| Ok(vec![7; 512]), Err)
        }

        fn quote(&self, _: &[u8]) -> Result<Vec<u8>, QuotingError> {
            Err(QuotingError::Refused("AESM refused with error 3".to_owned()))
        }
    }

    /// In place of the DCAP library: a quoting enclave.
    struct Works(QuotingEnclave);

    impl QuoteProvider for Works {
        fn name(&self) -> String {
            "the one that works".to_owned()
        }

        fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
            Ok(self.0.target_info().to_vec())
        }

        fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
            let refused = |error: &dyn std::fmt::Display| QuotingError::Refused(error.to_string());
            let report = report.try_into().map_err(|error| refused(&error))?;
            self.0.quote(report).map_err(|error| refused(&error))
        }
    }

    fn second() -> (Arc<SoftwareCpu>, Works) {
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        let now = time::OffsetDateTime::now_utc();
        let pki = DevelopmentPki::generate(&PlatformFacts::development(), now).unwrap();
        (cpu.clone(), Works(QuotingEnclave::new(cpu, &pki).unwrap()))
    }

    fn keeper(dir: &Path) -> CollateralKeeper {
        let log = Log::to(std::io::sink(), Format::Text).unwrap();
        CollateralKeeper::new(CollateralSource::None, dir, log)
    }

    /// As the enclave does: target info, report, quote.
    fn quote(quoting: &HardwareQuoting, cpu: &SoftwareCpu) -> Result<Vec<u8>, QuotingError> {
        let target = quoting.target_info()?.try_into().unwrap();
        quoting.quote(&cpu.ereport(&EnclaveState::development(), &target, &[1; 64]))
    }

    #[test]
    fn when_the_first_is_silent_or_refuses_the_second_is_asked() {
        for why in [
            QuotingError::Unavailable("AESM does not listen".to_owned()),
            QuotingError::Refused("AESM refused".to_owned()),
            QuotingError::Absent,
        ] {
            let (dir, asked) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU32::new(0)));
            let (cpu, works) = second();
            let fails = Fails { target_info: Some(why), asked: asked.clone() };
            let quoting = HardwareQuoting::new(vec![Box::new(fails), Box::new(works)], keeper(dir.path()));
            assert_eq!(quoting.probe().unwrap(), "the one that works");
            quote(&quoting, &cpu).unwrap();
            // It may take long to fail, so it is not asked before each quote.
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn when_the_first_gives_a_target_info_and_no_quote_the_second_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (cpu, works) = second();
        let fails = Fails { target_info: None, asked: Arc::default() };
        let quoting = HardwareQuoting::new(vec![Box::new(fails), Box::new(works)], keeper(dir.path()));
        assert_eq!(quoting.probe().unwrap(), "the one that fails");
        assert!(matches!(quote(&quoting, &cpu), Err(QuotingError::Refused(_))));
        quote(&quoting, &cpu).unwrap();
    }

    #[test]
    fn when_none_works_each_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let fails = |why: &str| -> Box<dyn QuoteProvider> {
            let target_info = Some(QuotingError::Unavailable(why.to_owned()));
            Box::new(Fails { target_info, asked: Arc::default() })
        };
        let quoting =
            HardwareQuoting::new(vec![fails("start aesmd"), fails("install it")], keeper(dir.path()));
        let error = quoting.probe().unwrap_err().to_string();
        assert!(error.contains("start aesmd; install it"), "{error}");
        let quoting = HardwareQuoting::new(Vec::new(), keeper(dir.path()));
        assert_eq!(quoting.probe(), Err(QuotingError::Absent));
    }
}
