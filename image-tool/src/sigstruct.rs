//! SIGSTRUCT: what the signer of an image says about it (SDM 3D, "Enclave Signature Structure").

use crypto_bigint::{NonZero, U3072, U6144};
use sgx_isa::{AttributesFlags, Miscselect, Sigstruct};
use sgxs::sigstruct::{EnclaveHash, Signer};
use sha2::{Digest, Sha256};

use crate::keys::{KEY_LEN, KeyError};
use crate::{Parameters, PublicKey, SigningKey};

/// Size of a SIGSTRUCT.
pub const SIGSTRUCT_LEN: usize = Sigstruct::UNPADDED_SIZE;

/// Why an image cannot be signed so.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No signature of that key over that image.
    #[error(
        "the signature ({0} bytes) is not this key's over this image's signing material: it must be PKCS#1 v1.5 \
         with SHA-256, as `openssl dgst -sha256 -sign` makes it, over exactly the material of this image"
    )]
    Signature(usize),
}

/// What is to be signed: a SIGSTRUCT without key and signature.
#[derive(Debug)]
pub struct Unsigned(Sigstruct);

impl Unsigned {
    /// The statement that `mrenclave` may be launched with exactly these attributes.
    ///
    /// MRENCLAVE does not cover attributes, so every bit of ATTRIBUTES and MISCSELECT is pinned: an image that
    /// is not a debug image cannot be launched as one, nor with more or less processor state, nor with the
    /// launch or provisioning key (DESIGN D14). EINIT refuses all of that.
    pub fn new(mrenclave: [u8; 32], parameters: &Parameters) -> Self {
        const EVERY_BIT: u64 = !0;
        let mut flags = AttributesFlags::MODE64BIT;
        flags.set(AttributesFlags::DEBUG, parameters.debug);
        let date = parameters.date;
        let mut signer = Signer::new(EnclaveHash::new(mrenclave));
        signer
            .date(date.year, date.month, date.day)
            .isvprodid(parameters.isv_prod_id)
            .isvsvn(parameters.isv_svn)
            .attributes_flags(flags, EVERY_BIT)
            .attributes_xfrm(parameters.xfrm, EVERY_BIT)
            .miscselect(Miscselect::empty(), !0);
        Self(signer.unsigned_sig())
    }

    /// The bytes that the signature is over, for a signer who keeps the key elsewhere.
    pub fn material(&self) -> Vec<u8> {
        let (header, body) = self.0.signature_data();
        [header, body].concat()
    }
}

/// Signs in one step.
///
/// # Errors
/// [`SignError::Key`] when the key turns out to be none.
pub fn sign(unsigned: &Unsigned, key: &SigningKey) -> Result<[u8; SIGSTRUCT_LEN], SignError> {
    assemble(unsigned, &key.public(), &key.sign(&unsigned.material())?)
}

/// Signs in two steps, of which this is the second: takes the signature (big-endian, as every tool writes it)
/// over [`Unsigned::material`], if it holds.
///
/// # Errors
/// [`SignError::Signature`] when it does not.
pub fn assemble(
    unsigned: &Unsigned,
    key: &PublicKey,
    signature: &[u8],
) -> Result<[u8; SIGSTRUCT_LEN], SignError> {
    let refused = SignError::Signature(signature.len());
    let Ok(number) = <[u8; KEY_LEN]>::try_from(signature) else { return Err(refused) };
    if !key.verifies(&unsigned.material(), signature) {
        return Err(refused);
    }
    let modulus = key.modulus();
    let Some((q1, q2)) = quotients(&number, &modulus) else { return Err(refused) };
    let mut signed = unsigned.0.clone();
    signed.modulus = reversed(modulus);
    signed.signature = reversed(number);
    signed.q1 = q1;
    signed.q2 = q2;
    let mut bytes = [0; SIGSTRUCT_LEN];
    bytes.copy_from_slice(signed.as_ref());
    Ok(bytes)
}

/// MRSIGNER of a SIGSTRUCT: SHA-256 of MODULUS.
pub fn mrsigner(sigstruct: &[u8; SIGSTRUCT_LEN]) -> [u8; 32] {
    const MODULUS: usize = 128;
    Sha256::digest(&sigstruct[MODULUS..MODULUS + KEY_LEN]).into()
}

/// Q1 and Q2, with which EINIT saves itself divisions: s² / n and (s · (s² mod n)) / n, little-endian.
fn quotients(signature: &[u8; KEY_LEN], modulus: &[u8; KEY_LEN]) -> Option<([u8; KEY_LEN], [u8; KEY_LEN])> {
    let signature = U3072::from_be_slice(signature);
    let divisor = NonZero::new(U3072::from_be_slice(modulus)).into_option()?;
    let square: U6144 = signature.concatenating_square();
    let (q1, rest) = square.div_rem_vartime(&divisor);
    let product: U6144 = signature.concatenating_mul(&rest);
    let (q2, _) = product.div_rem_vartime(&divisor);
    // Both are below the modulus, because the signature is.
    let low = |number: U6144| {
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(&number.to_le_bytes().as_slice()[..KEY_LEN]);
        bytes
    };
    Some((low(q1), low(q2)))
}

fn reversed(mut bytes: [u8; KEY_LEN]) -> [u8; KEY_LEN] {
    bytes.reverse();
    bytes
}
