//! The genuine verifier accepts what is right, under its root only, and tells what is wrong.

mod knobs;
mod reports;
mod store;

use std::sync::Arc;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256, Sha384};
use time::OffsetDateTime;

use super::{DevelopmentPki, PkiOptions, PlatformFacts, QuotingEnclave};
use crate::{EnclaveState, SoftwareCpu};

struct Graviola;

impl Config for Graviola {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Graviola {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        let all = rustls_graviola::default_provider().signature_verification_algorithms.all;
        let p256 = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id() == alg_id::ECDSA_P256
                && algorithm.signature_alg_id() == alg_id::ECDSA_SHA256
        };
        *all.iter().find(p256).unwrap()
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        Sha384::digest(data).into()
    }
}

/// A fixed time: 2026-11-01T00:00:00Z.
fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_793_491_200).unwrap()
}

/// A machine: CPU, PKI and quoting enclave.
struct Machine {
    cpu: Arc<SoftwareCpu>,
    pki: DevelopmentPki,
    quoting: QuotingEnclave,
}

impl Machine {
    fn new(options: &PkiOptions) -> Self {
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        let pki = DevelopmentPki::generate_with(&PlatformFacts::development(), now(), options).unwrap();
        let quoting = QuotingEnclave::new(Arc::clone(&cpu), &pki).unwrap();
        Self { cpu, pki, quoting }
    }

    fn report(&self, data: [u8; 64]) -> [u8; crate::REPORT_LEN] {
        self.cpu.ereport(&EnclaveState::development(), &self.quoting.target_info(), &data)
    }

    fn quote(&self, data: [u8; 64]) -> Vec<u8> {
        self.quoting.quote(&self.report(data)).unwrap()
    }
}

fn verify(
    quote: &[u8],
    pki: &DevelopmentPki,
    root_der: &[u8],
    at: OffsetDateTime,
) -> Result<VerifiedReport, String> {
    let collateral: QuoteCollateralV3 = serde_json::from_str(&pki.collateral_json()).unwrap();
    let at = u64::try_from(at.unix_timestamp()).unwrap();
    QuoteVerifier::<Graviola>::new_with_config(root_der.to_vec())
        .verify(quote, &collateral, at)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn a_quote_verifies_under_its_own_root() {
    let machine = Machine::new(&PkiOptions::default());
    let quote = machine.quote([7; 64]);
    let verified = verify(&quote, &machine.pki, machine.pki.root_der(), now()).unwrap();
    assert_eq!(verified.status, "UpToDate");
    assert!(verified.advisory_ids.is_empty());
    assert_eq!(verified.ppid, machine.pki.facts().ppid);
    let report = verified.report.as_sgx().unwrap();
    let enclave = EnclaveState::development();
    assert_eq!((report.mr_enclave, report.mr_signer), (enclave.mrenclave, enclave.mrsigner));
    assert_eq!((report.report_data, report.cpu_svn), ([7; 64], machine.cpu.cpu_svn()));
    assert!(quote.len() < 5000, "{} bytes", quote.len());
    assert!(machine.pki.collateral_json().len() < 16 * 1024);
}

#[test]
fn a_quote_is_refused_under_intels_root_and_under_another_development_root() {
    let machine = Machine::new(&PkiOptions::default());
    let quote = machine.quote([7; 64]);
    let intel = include_bytes!("intel-sgx-root-ca.der");
    verify(&quote, &machine.pki, intel, now()).unwrap_err();
    let other = Machine::new(&PkiOptions::default());
    verify(&quote, &machine.pki, other.pki.root_der(), now()).unwrap_err();
    verify(&quote, &other.pki, other.pki.root_der(), now()).unwrap_err();
}

#[test]
fn the_certificates_say_what_the_platform_is() {
    let machine = Machine::new(&PkiOptions::default());
    let facts = machine.pki.facts();
    let chain = machine.pki.pck_chain_pem();
    let pck = dcap_qvl::intel::parse_pck_extension_from_pem_with::<Graviola>(chain.as_bytes()).unwrap();
    assert_eq!((&pck.ppid[..], &pck.pce_id[..]), (&facts.ppid[..], &facts.pce_id[..]));
    assert_eq!((pck.cpu_svn, pck.pce_svn, pck.fmspc), (facts.cpu_svn, facts.pce_svn, facts.fmspc));
    assert_eq!(
        (pck.sgx_type, pck.platform_instance_id.as_deref()),
        (0, Some(&facts.platform_instance_id[..]))
    );
    assert_eq!(
        (pck.dynamic_platform, pck.cached_keys, pck.smt_enabled),
        (Some(false), Some(false), Some(false))
    );
    assert_eq!(machine.pki.root_fingerprint(), <[u8; 32]>::from(Sha256::digest(machine.pki.root_der())));
}
