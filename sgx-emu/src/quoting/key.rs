//! ECDSA P-256 keys of the development PKI.

use std::fmt;

use graviola::hashing::Sha256;
use graviola::key_agreement::p256::StaticPrivateKey;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::PublicKeyData;
use zeroize::Zeroizing;

use super::pki::PkiError;

/// Length of a DER signature at most, with room.
const SIGNATURE_ROOM: usize = 80;

/// A private key and its public point.
pub(super) struct Key {
    signing: SigningKey<P256>,
    point: [u8; 65],
}

impl Key {
    pub(super) fn generate() -> Result<Self, PkiError> {
        let private_key = StaticPrivateKey::new_random().map_err(|_| PkiError::Random)?;
        Ok(Self::from_private(private_key))
    }

    /// `None` for zero and for numbers beyond the order of the curve.
    pub(super) fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        Some(Self::from_private(StaticPrivateKey::from_bytes(scalar).ok()?))
    }

    fn from_private(private_key: StaticPrivateKey) -> Self {
        let point = private_key.public_key_uncompressed();
        Self { signing: SigningKey { private_key }, point }
    }

    pub(super) fn scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.private_key.as_bytes())
    }

    /// SEC 1 §2.3.3, uncompressed: `04 ‖ x ‖ y`.
    pub(super) fn point(&self) -> &[u8; 65] {
        &self.point
    }

    /// A signature as quotes and signed JSON have it: `r ‖ s`, each 32 bytes, big-endian.
    pub(super) fn sign_raw(&self, message: &[&[u8]]) -> Result<[u8; 64], PkiError> {
        let mut signature = [0; 64];
        self.signing.sign::<Sha256>(message, &mut signature).map_err(|_| PkiError::Random)?;
        Ok(signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(P-256)")
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut room = [0; SIGNATURE_ROOM];
        let signature = self.signing.sign_asn1::<Sha256>(&[message], &mut room);
        Ok(signature.map_err(|_| rcgen::Error::RemoteKeyError)?.to_vec())
    }
}
