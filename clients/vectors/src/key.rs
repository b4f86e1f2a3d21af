//! ECDSA P-256 keys that sign certificates.

use anyhow::{Context, Result, anyhow};
use graviola::hashing::Sha256;
use graviola::key_agreement::p256::StaticPrivateKey;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::PublicKeyData;
use sha2::Digest;

pub(crate) struct Key {
    signing: SigningKey<P256>,
    point: [u8; 65],
}

impl Key {
    pub(crate) fn generate() -> Result<Self> {
        let private_key = StaticPrivateKey::new_random().map_err(|error| anyhow!("no key: {error:?}"))?;
        let point = private_key.public_key_uncompressed();
        Ok(Key { signing: SigningKey { private_key }, point })
    }

    pub(crate) fn spki_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    /// RFC 7093 §2 method 1.
    pub(crate) fn identifier(&self) -> Vec<u8> {
        sha2::Sha256::digest(self.point)[..20].to_vec()
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
        let mut room = [0; 80];
        let signature = self.signing.sign_asn1::<Sha256>(&[message], &mut room);
        signature.map(<[u8]>::to_vec).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(bytes)
}
