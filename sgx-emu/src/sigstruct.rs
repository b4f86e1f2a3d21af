//! SIGSTRUCT: what the signer of an enclave says, and whether the signer said it.

use crypto_bigint::{NonZero, U3072, U6144};
use sha2::{Digest, Sha256};

use crate::EinitError;
use crate::keys::field;

/// SHA-256's DigestInfo (RFC 8017, section 9.2, note 1).
const DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

const KEY_BYTES: usize = 384;

/// Offsets in a SIGSTRUCT (SDM 3D, "Enclave Signature Structure").
mod at {
    use std::ops::Range;

    pub(super) const HEADER: usize = 0;
    pub(super) const VENDOR: usize = 16;
    pub(super) const HEADER2: usize = 24;
    pub(super) const MODULUS: usize = 128;
    pub(super) const EXPONENT: usize = 512;
    pub(super) const SIGNATURE: usize = 516;
    pub(super) const MISC_SELECT: usize = 900;
    pub(super) const MISC_MASK: usize = 904;
    pub(super) const ATTRIBUTES: usize = 928;
    pub(super) const ATTRIBUTE_MASK: usize = 944;
    pub(super) const ENCLAVE_HASH: usize = 960;
    pub(super) const ISV_PROD_ID: usize = 1024;
    pub(super) const ISV_SVN: usize = 1026;
    pub(super) const Q1: usize = 1040;
    pub(super) const Q2: usize = 1424;

    /// What the signature is over.
    pub(super) const SIGNED: [Range<usize>; 2] = [0..128, 900..1028];
    /// Reserved, on a CPU without CET (908, 909) and KSS (ISVFAMILYID 912, ISVEXTPRODID 1008).
    pub(super) const RESERVED: [Range<usize>; 4] = [44..128, 908..928, 992..1024, 1028..1040];
}

const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];
const VENDOR_INTEL: u32 = 0x8086;

/// A SIGSTRUCT whose form is right; its signature is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sigstruct {
    /// ENCLAVEHASH: the MRENCLAVE that was signed.
    pub enclave_hash: [u8; 32],
    /// ATTRIBUTES that the enclave must have, where the mask is set.
    pub attributes: [u8; 16],
    /// ATTRIBUTEMASK.
    pub attribute_mask: [u8; 16],
    /// MISCSELECT that the enclave must have, where the mask is set.
    pub misc_select: u32,
    /// MISCMASK.
    pub misc_mask: u32,
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    modulus: [u8; KEY_BYTES],
    signature: [u8; KEY_BYTES],
    q1: [u8; KEY_BYTES],
    q2: [u8; KEY_BYTES],
    /// SHA-256 of what is signed.
    digest: [u8; 32],
}

impl Sigstruct {
    /// Size of the SIGSTRUCT structure.
    pub const LEN: usize = 1808;

    /// Reads a SIGSTRUCT and checks its form, as EINIT does first.
    ///
    /// # Errors
    /// [`EinitError::SigStruct`] for another header, vendor or exponent, or a reserved byte that is set.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, EinitError> {
        let word = |at| u32::from_le_bytes(field(bytes, at));
        let wrong = if field(bytes, at::HEADER) != HEADER {
            Some("HEADER")
        } else if field(bytes, at::HEADER2) != HEADER2 {
            Some("HEADER2")
        } else if !matches!(word(at::VENDOR), 0 | VENDOR_INTEL) {
            Some("VENDOR")
        } else if word(at::EXPONENT) != 3 {
            Some("EXPONENT")
        } else if at::RESERVED.into_iter().any(|r| bytes[r].iter().any(|&b| b != 0)) {
            Some("a reserved field (CET and KSS are reserved here)")
        } else {
            None
        };
        if let Some(what) = wrong {
            return Err(EinitError::SigStruct(what));
        }
        let signed = at::SIGNED.into_iter().fold(Sha256::new(), |hash, r| hash.chain_update(&bytes[r]));
        Ok(Self {
            enclave_hash: field(bytes, at::ENCLAVE_HASH),
            attributes: field(bytes, at::ATTRIBUTES),
            attribute_mask: field(bytes, at::ATTRIBUTE_MASK),
            misc_select: word(at::MISC_SELECT),
            misc_mask: word(at::MISC_MASK),
            isv_prod_id: u16::from_le_bytes(field(bytes, at::ISV_PROD_ID)),
            isv_svn: u16::from_le_bytes(field(bytes, at::ISV_SVN)),
            modulus: field(bytes, at::MODULUS),
            signature: field(bytes, at::SIGNATURE),
            q1: field(bytes, at::Q1),
            q2: field(bytes, at::Q2),
            digest: signed.finalize().into(),
        })
    }

    /// MRSIGNER: SHA-256 of MODULUS as it is stored, little endian.
    pub fn mrsigner(&self) -> [u8; 32] {
        Sha256::digest(self.modulus).into()
    }

    /// Checks the signature with the enclosed key: RSA-3072 with exponent 3, PKCS#1 v1.5, SHA-256, by way of
    /// Q1 and Q2, which must be the quotients that the SDM defines.
    ///
    /// # Errors
    /// [`EinitError::Signature`].
    pub fn verify_signature(&self) -> Result<(), EinitError> {
        let [signature, modulus, q1, q2] =
            [&self.signature, &self.modulus, &self.q1, &self.q2].map(|number| U3072::from_le_slice(number));
        let divisor = NonZero::new(modulus).into_option().ok_or(EinitError::Signature)?;
        let square: U6144 = signature.concatenating_square();
        let (square_quotient, square_rest) = square.div_rem_vartime(&divisor);
        let cube: U6144 = signature.concatenating_mul(&square_rest);
        let (cube_quotient, message) = cube.div_rem_vartime(&divisor);
        let valid = signature < modulus
            && square_quotient == q1.resize()
            && cube_quotient == q2.resize()
            && message == U3072::from_be_slice(&self.encoded_message());
        if valid { Ok(()) } else { Err(EinitError::Signature) }
    }

    /// EMSA-PKCS1-v1_5 (RFC 8017, section 9.2).
    fn encoded_message(&self) -> [u8; KEY_BYTES] {
        let mut message = [0xff; KEY_BYTES];
        let digest_at = KEY_BYTES - self.digest.len();
        let info_at = digest_at - DIGEST_INFO.len();
        message[..2].copy_from_slice(&[0, 1]);
        message[info_at - 1] = 0;
        message[info_at..digest_at].copy_from_slice(&DIGEST_INFO);
        message[digest_at..].copy_from_slice(&self.digest);
        message
    }
}

#[cfg(test)]
pub(crate) mod tests;
