//! Who makes the quotes.

use std::path::PathBuf;
use std::sync::Arc;

use boundary_wire::rpc::LogLevel;
use host_services::log::Log;
use host_services::quoting::{DevelopmentQuoting, DevelopmentQuotingError, Quoting};
use sgx_emu::quoting::DevelopmentPki;
use sgx_emu::{SECRETS_FILE_NAME, SoftwareCpu};
use time::OffsetDateTime;

use crate::args::Args;
use crate::data_dir::DataDir;
use crate::error::HostError;
use crate::run::hex;

/// Quotes on a software CPU. Its secrets are those of the data directory, so that it is the CPU of the enclave.
pub(crate) fn development(
    args: &Args,
    data_dir: &DataDir,
    log: &Log,
) -> Result<Option<Arc<dyn Quoting>>, HostError> {
    let cpu = Arc::new(SoftwareCpu::open(&data_dir.path().join(SECRETS_FILE_NAME))?);
    // Without a home there is a place all the same: the data directory.
    let dir = dev_pki(args).unwrap_or_else(|| data_dir.path().join("dev-pki"));
    let quoting = DevelopmentQuoting::start(cpu, &dir, log.clone())?;
    log.host(
        LogLevel::Info,
        &format!(
            "quotes: development, under the root {} of {}; they prove nothing, and verifiers refuse them unless their \
             policy names that root",
            hex(&quoting.root_fingerprint()),
            dir.display()
        ),
    );
    Ok(Some(Arc::new(quoting)))
}

/// `--renew-dev-pki`. Prints where the PKI lies and the fingerprint of its root.
pub(crate) fn renew(args: &Args) -> Result<(), HostError> {
    let dir = dev_pki(args).ok_or(HostError::NoDevPki)?;
    let now = OffsetDateTime::now_utc();
    let pki = DevelopmentPki::open_or_create(&dir, now)
        .and_then(|pki| pki.renew_in(&dir, now))
        .map_err(DevelopmentQuotingError::Pki)?;
    println!("renewed: development PKI {}, root {}", dir.display(), hex(&pki.root_fingerprint()));
    Ok(())
}

fn dev_pki(args: &Args) -> Option<PathBuf> {
    args.dev_pki.clone().or_else(|| DevelopmentPki::default_dir(|name| std::env::var_os(name)))
}
