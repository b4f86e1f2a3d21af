//! The cryptography under quote verification: graviola, as everywhere in this system.

use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256, Sha384};

/// Every algorithm that certificates above an enclave's may be signed with.
pub(super) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    rustls_graviola::default_provider().signature_verification_algorithms.all
}

/// What dcap-qvl is made of here: its own parsers, our cryptography.
pub(super) struct Graviola;

impl Config for Graviola {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Graviola;
}

impl CryptoProvider for Graviola {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        let p256 = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id() == alg_id::ECDSA_P256
                && algorithm.signature_alg_id() == alg_id::ECDSA_SHA256
        };
        algorithms().iter().find(p256).copied().unwrap_or(&Nothing)
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        Sha384::digest(data).into()
    }
}

/// Verifies nothing: what is left if the provider had no ECDSA P-256.
#[derive(Debug)]
struct Nothing;

impl SignatureVerificationAlgorithm for Nothing {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Err(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}
