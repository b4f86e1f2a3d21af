//! Who answered: the certificates of a connection.

use attestation::leaf_certificate::LeafCertificate;
use attestation::manifest::Proof;
use attestation::verify::issuer_spki;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::ClientError;

/// The certificate chain that the server showed.
#[derive(Clone, Debug)]
pub struct Peer {
    chain: Vec<CertificateDer<'static>>,
}

impl Peer {
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain }
    }

    /// The leaf certificate, DER.
    pub fn leaf_der(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// The whole chain, leaf first, DER.
    pub fn chain_der(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.iter().map(AsRef::as_ref)
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What the leaf claims of the enclave. Reading a claim does not verify it.
    pub fn claims(&self) -> Result<LeafCertificate, ClientError> {
        Ok(LeafCertificate::from_der(self.leaf_der())?)
    }

    /// What operators' tokens for this enclave name as their audience: the SHA-256 of its CA's public key, hex.
    ///
    /// # Errors
    /// [`ClientError::NoAudience`] if the leaf is not signed by the CA beside it. Whoever put another enclave's CA
    /// there would get tokens for that one.
    pub fn audience(&self) -> Result<String, ClientError> {
        let [leaf, authority, ..] = self.chain.as_slice() else { return Err(ClientError::NoAudience) };
        let spki = issuer_spki(leaf, authority).ok_or(ClientError::NoAudience)?;
        Ok(attestation::hex::encode(&Sha256::digest(spki)))
    }

    /// That the proved leaf is part of the configuration this certificate names.
    pub fn check_proof(&self, proof: &Proof) -> Result<(), ClientError> {
        let root = self.claims()?.configuration_root;
        proof.verify(&root).map_err(|_| ClientError::Proof { leaf: proof.leaf().name().to_owned() })
    }
}
