//! The development PKI.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::authorities::Authorities;
use super::collateral::Collateral;
use super::options::PkiOptions;
use super::pem;
use super::platform::PlatformFacts;

/// A root, a PCK CA, a TCB signer, the PCK of one platform, and collateral: what Intel and a platform's
/// registration are to hardware.
#[derive(Clone, Debug)]
pub struct DevelopmentPki {
    pub(super) facts: PlatformFacts,
    pub(super) authorities: Arc<Authorities>,
    pub(super) collateral: Collateral,
    pub(super) collateral_json: String,
}

/// The PKI cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// No random numbers.
    #[error("the operating system gives no random numbers, so there are no keys")]
    Random,
    /// The certificate writer refused.
    #[error("a certificate or CRL of the development PKI cannot be written: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The JSON writer refused.
    #[error("the collateral of the development PKI cannot be written: {0}")]
    Json(#[source] serde_json::Error),
}

impl DevelopmentPki {
    /// New keys, new certificates for the platform, and collateral that finds nothing wrong with it.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn generate(facts: &PlatformFacts, now: OffsetDateTime) -> Result<Self, PkiError> {
        Self::generate_with(facts, now, &PkiOptions::default())
    }

    /// Like [`DevelopmentPki::generate`], saying what `options` ask for.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn generate_with(
        facts: &PlatformFacts,
        now: OffsetDateTime,
        options: &PkiOptions,
    ) -> Result<Self, PkiError> {
        let authorities = Arc::new(Authorities::generate(facts, now, options)?);
        Self::issue(facts.clone(), authorities, now, options)
    }

    /// The same root, certificates and platform with collateral of `now`: quotes made before still verify.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn renewed(&self, now: OffsetDateTime, options: &PkiOptions) -> Result<Self, PkiError> {
        Self::issue(self.facts.clone(), Arc::clone(&self.authorities), now, options)
    }

    pub(super) fn issue(
        facts: PlatformFacts,
        authorities: Arc<Authorities>,
        now: OffsetDateTime,
        options: &PkiOptions,
    ) -> Result<Self, PkiError> {
        let collateral = Collateral::issue(&authorities, &facts, now, options)?;
        let collateral_json = collateral.to_json()?;
        Ok(Self { facts, authorities, collateral, collateral_json })
    }

    /// The platform that the PCK certificate is for.
    pub fn facts(&self) -> &PlatformFacts {
        &self.facts
    }

    /// The root certificate (DER).
    pub fn root_der(&self) -> &[u8] {
        &self.authorities.root.certificate
    }

    /// The root certificate (PEM).
    pub fn root_pem(&self) -> String {
        pem::certificates([self.root_der()])
    }

    /// SHA-256 of the root certificate (DER): what a verifier's policy names.
    pub fn root_fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.root_der()).into()
    }

    /// PCK certificate, PCK CA and root (PEM, in this order), as quotes carry them.
    pub fn pck_chain_pem(&self) -> String {
        let Authorities { root, pck_ca, pck, .. } = &*self.authorities;
        pem::certificates([&pck.certificate[..], &pck_ca.certificate, &root.certificate])
    }

    /// The collateral document (docs/formats/quotes.md).
    pub fn collateral_json(&self) -> String {
        self.collateral_json.clone()
    }

    /// When the collateral must have been renewed; `None` if it does not say.
    pub fn next_update(&self) -> Option<OffsetDateTime> {
        self.collateral.next_update()
    }

    /// What the provisioning certification enclave does: the platform's PCK vouches for a quoting enclave's
    /// report.
    pub(super) fn certify(&self, report_body: &[u8]) -> Result<[u8; 64], PkiError> {
        self.authorities.pck.key.sign_raw(&[report_body])
    }
}
