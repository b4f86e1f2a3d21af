//! ECDSA P-256 keys, drawn from the CPU's generator.

use std::fmt;

use enclave_platform::{Platform, RandomError};
use graviola::hashing::Sha256;
use graviola::key_agreement::p256::StaticPrivateKey;
use graviola::signing::ecdsa::{P256, SigningKey};
use rcgen::PublicKeyData;
use rustls::sign::{self, Signer};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Length of a DER signature at most, with room.
const SIGNATURE_ROOM: usize = 80;
/// A random number is no key with a chance of 2^-32, so this many tries in a row mean a broken generator.
const TRIES: usize = 8;

/// A private key and its public point.
pub(crate) struct Key {
    signing: SigningKey<P256>,
    point: [u8; 65],
}

impl Key {
    pub(crate) fn generate(platform: &dyn Platform) -> Result<Key, RandomError> {
        for _ in 0..TRIES {
            let mut scalar = Zeroizing::new([0; 32]);
            platform.entropy(&mut scalar[..])?;
            if let Some(key) = Key::from_scalar(&scalar) {
                return Ok(key);
            }
        }
        Err(RandomError)
    }

    /// `None` for zero and for numbers beyond the order of the curve.
    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Option<Key> {
        let private_key = StaticPrivateKey::from_bytes(scalar).ok()?;
        let point = private_key.public_key_uncompressed();
        Some(Key { signing: SigningKey { private_key }, point })
    }

    pub(crate) fn scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.private_key.as_bytes())
    }

    pub(crate) fn point(&self) -> &[u8; 65] {
        &self.point
    }

    pub(crate) fn spki_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    fn sign_sha256(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut room = [0; SIGNATURE_ROOM];
        let signature = self.signing.sign_asn1::<Sha256>(&[message], &mut room).ok()?;
        Some(signature.to_vec())
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
        self.sign_sha256(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// A leaf's key as rustls uses it.
#[derive(Clone, Debug)]
pub(crate) struct TlsKey(pub(crate) Arc<Key>);

impl sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.spki_der()))
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign_sha256(message).ok_or_else(|| rustls::Error::General("signing failed".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
