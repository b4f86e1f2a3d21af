//! Development quotes: for enclaves on a software CPU.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use boundary_wire::rpc::LogLevel;
use sgx_emu::SoftwareCpu;
use sgx_emu::quoting::{DevelopmentPki, PkiStoreError, QuotingEnclave, QuotingEnclaveError};
use time::OffsetDateTime;

use super::{Quoting, QuotingError};
use crate::log::Log;

/// The development quoting enclave, and the development PKI that vouches for it.
pub struct DevelopmentQuoting {
    enclave: QuotingEnclave,
    dir: PathBuf,
    pki: Mutex<DevelopmentPki>,
    root: [u8; 32],
    log: Log,
}

/// There are no development quotes.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentQuotingError {
    /// No PKI.
    #[error("{0}; --dev-pki names another folder")]
    Pki(#[from] PkiStoreError),
    /// No quoting enclave.
    #[error(transparent)]
    Enclave(#[from] QuotingEnclaveError),
}

impl DevelopmentQuoting {
    /// On `cpu`, under the PKI in `dir`, which is made if there is none.
    ///
    /// # Errors
    /// [`DevelopmentQuotingError`].
    pub fn start(cpu: Arc<SoftwareCpu>, dir: &Path, log: Log) -> Result<Self, DevelopmentQuotingError> {
        let pki = DevelopmentPki::open_or_create(dir, OffsetDateTime::now_utc())?;
        let enclave = QuotingEnclave::new(cpu, &pki)?;
        let root = pki.root_fingerprint();
        Ok(Self { enclave, dir: dir.to_owned(), pki: Mutex::new(pki), root, log })
    }

    /// SHA-256 of the root certificate: what a policy names.
    pub fn root_fingerprint(&self) -> [u8; 32] {
        self.root
    }

    /// Where the PKI lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Quoting for DevelopmentQuoting {
    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        Ok(self.enclave.target_info().to_vec())
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        let refused = |why: String| QuotingError::Refused(why);
        let report =
            report.try_into().map_err(|_| refused(format!("{} bytes are no REPORT", report.len())))?;
        self.enclave.quote(report).map_err(|error| refused(error.to_string()))
    }

    /// From the folder, so that a renewal by another process counts; what was read last when that fails.
    fn collateral(&self) -> Result<Vec<u8>, QuotingError> {
        let mut pki = self.pki.lock().unwrap_or_else(PoisonError::into_inner);
        match DevelopmentPki::open_or_create(&self.dir, OffsetDateTime::now_utc()) {
            Ok(now) if now.root_fingerprint() == self.root => *pki = now,
            Ok(_) => self.log.host(
                LogLevel::Warn,
                &format!(
                    "{} holds another development PKI than at the start: quotes stay under the old root until this \
                     host is started again",
                    self.dir.display()
                ),
            ),
            Err(error) => {
                self.log.host(LogLevel::Warn, &format!("collateral is not renewed, the last one is served: {error}"));
            }
        }
        Ok(pki.collateral_json().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sgx_emu::EnclaveState;
    use sgx_emu::quoting::COLLATERAL_FILE_NAME;

    use super::*;
    use crate::log::Format;

    fn start(dir: &Path) -> (Arc<SoftwareCpu>, DevelopmentQuoting) {
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        let log = Log::to(std::io::sink(), Format::Text).unwrap();
        let quoting = DevelopmentQuoting::start(cpu.clone(), dir, log).unwrap();
        (cpu, quoting)
    }

    #[test]
    fn reports_of_this_cpu_are_quoted_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cpu, quoting) = start(dir.path());
        let target = quoting.target_info().unwrap().try_into().unwrap();
        let report = cpu.ereport(&EnclaveState::development(), &target, &[9; 64]);
        let quote = quoting.quote(&report).unwrap();
        assert_eq!(quote[48..432], report[..384]);
        let other = SoftwareCpu::ephemeral().ereport(&EnclaveState::development(), &target, &[9; 64]);
        for bad in [&other[..], &report[..431], &[]] {
            assert!(matches!(quoting.quote(bad), Err(QuotingError::Refused(_))));
        }
    }

    #[test]
    fn collateral_is_what_lies_in_the_folder_and_is_kept_when_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("pki");
        let (_, quoting) = start(&home);
        let stored = || fs::read(home.join(COLLATERAL_FILE_NAME)).unwrap();
        assert_eq!(quoting.collateral().unwrap(), stored());
        fs::remove_file(home.join(COLLATERAL_FILE_NAME)).unwrap();
        assert_eq!(quoting.collateral().unwrap(), stored());
        let last = stored();

        // Another PKI in its place does not vouch for quotes of this one.
        fs::remove_dir_all(&home).unwrap();
        DevelopmentPki::open_or_create(&home, OffsetDateTime::now_utc()).unwrap();
        assert_eq!(quoting.collateral().unwrap(), last);
        fs::remove_dir_all(&home).unwrap();
        fs::write(&home, "in the way").unwrap();
        assert_eq!(quoting.collateral().unwrap(), last);
    }
}
