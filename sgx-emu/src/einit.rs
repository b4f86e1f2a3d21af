//! EINIT: does the signer's statement fit the enclave that was built?

use crate::keys::field;
use crate::{ATTRIBUTE_INIT, EnclaveState, Secs, Sigstruct};

/// Why EINIT refuses (SDM 3D, "EINIT—Initialize an Enclave for Execution").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EinitError {
    /// The SIGSTRUCT is none.
    #[error("SGX_INVALID_SIG_STRUCT: {0} of SIGSTRUCT is not what the manual says")]
    SigStruct(&'static str),
    /// ATTRIBUTES or MISCSELECT of the enclave are not those that were signed.
    #[error("SGX_INVALID_ATTRIBUTE: the enclave was created with other {0} than its signer allows")]
    Attribute(&'static str),
    /// What was built is not what was signed.
    #[error("SGX_INVALID_MEASUREMENT: MRENCLAVE is not the ENCLAVEHASH that was signed")]
    Measurement,
    /// The signature does not hold, or Q1 or Q2 are wrong.
    #[error("SGX_INVALID_SIGNATURE: the signature of SIGSTRUCT does not hold under its key")]
    Signature,
}

impl EinitError {
    /// What the instruction leaves in RAX (SDM, table "SGX error codes").
    pub fn code(self) -> u32 {
        match self {
            Self::SigStruct(_) => 1,
            Self::Attribute(_) => 2,
            Self::Measurement => 4,
            Self::Signature => 8,
        }
    }
}

/// The checks in the order of the SDM, so that an enclave with several faults is refused for the same one.
pub(crate) fn einit(
    secs: &Secs,
    mrenclave: [u8; 32],
    sigstruct: &Sigstruct,
) -> Result<EnclaveState, EinitError> {
    sigstruct.verify_signature()?;
    if sigstruct.enclave_hash != mrenclave {
        return Err(EinitError::Measurement);
    }
    let differs =
        |n: usize| (secs.attributes[n] ^ sigstruct.attributes[n]) & sigstruct.attribute_mask[n] != 0;
    if (0..secs.attributes.len()).any(differs) {
        return Err(EinitError::Attribute("ATTRIBUTES"));
    }
    if (secs.misc_select ^ sigstruct.misc_select) & sigstruct.misc_mask != 0 {
        return Err(EinitError::Attribute("MISCSELECT"));
    }
    let flags = u64::from_le_bytes(field(&secs.attributes, 0));
    let xfrm = u64::from_le_bytes(field(&secs.attributes, 8));
    Ok(EnclaveState {
        mrenclave,
        mrsigner: sigstruct.mrsigner(),
        attributes: crate::attributes(flags | ATTRIBUTE_INIT, xfrm),
        misc_select: secs.misc_select,
        isv_prod_id: sigstruct.isv_prod_id,
        isv_svn: sigstruct.isv_svn,
    })
}

#[cfg(test)]
mod tests;
