//! Who answered: the certificates of a connection.

use attestation::leaf_certificate::LeafCertificate;
use attestation::manifest::Proof;
use rustls::pki_types::CertificateDer;

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

    /// That the proved leaf is part of the configuration this certificate names.
    pub fn check_proof(&self, proof: &Proof) -> Result<(), ClientError> {
        let root = self.claims()?.configuration_root;
        proof.verify(&root).map_err(|_| ClientError::Proof { leaf: proof.leaf().name().to_owned() })
    }
}
