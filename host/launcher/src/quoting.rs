//! Who makes the quotes.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use boundary_wire::rpc::LogLevel;
use host_services::log::Log;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use host_services::quoting::{
    AESM_SOCKET, Aesm, CollateralKeeper, CollateralSource, HardwareQuoting, Pccs, QuoteProvider,
};
use host_services::quoting::{DevelopmentQuoting, DevelopmentQuotingError, Quoting};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use launcher_image::DcapLibrary;
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

/// Quotes of the platform: AESM first, the DCAP library second. A service that does not answer now may answer later, so
/// it is no reason not to start.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) fn hardware(
    args: &Args,
    data_dir: &DataDir,
    log: &Log,
) -> Result<Option<Arc<dyn Quoting>>, HostError> {
    let source = collateral_source(args)?;
    if matches!(source, CollateralSource::None) {
        let text = "no --pccs-url and no --collateral-dir: quotes are served without collateral, and clients must have \
                    their own";
        log.host(LogLevel::Info, text);
    }
    let keeper = CollateralKeeper::new(source, data_dir.path(), log.clone());
    let providers: Vec<Box<dyn QuoteProvider>> =
        vec![Box::new(Aesm::new(Path::new(AESM_SOCKET))), Box::new(DcapLibrary::default())];
    let quoting = HardwareQuoting::new(providers, keeper);
    match quoting.probe() {
        Ok(name) => log.host(LogLevel::Info, &format!("quotes: by {name}")),
        Err(error) => log.host(LogLevel::Warn, &format!("quotes: none yet; {error}")),
    }
    Ok(Some(Arc::new(quoting)))
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn collateral_source(args: &Args) -> Result<CollateralSource, HostError> {
    if let Some(folder) = &args.collateral_dir {
        return Ok(CollateralSource::Folder(folder.clone()));
    }
    let Some(url) = &args.pccs_url else { return Ok(CollateralSource::None) };
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| HostError::PccsCa { path: path.clone(), source })
    };
    let ca = args.pccs_ca.as_ref().map(read).transpose()?;
    Ok(CollateralSource::Pccs(Pccs::new(url, ca.as_deref())?))
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
