//! Who the development quoting enclave is: what its reports say, and what the QE identity demands.

use crate::{ATTRIBUTE_INIT, ATTRIBUTE_MODE64BIT, ATTRIBUTE_PROVISIONKEY, EnclaveState, attributes};

/// MRENCLAVE of the development quoting enclave, which is no image.
const MEASUREMENT: [u8; 32] = *b"DEVELOPMENT QUOTING ENCLAVE ....";
/// MRSIGNER, which the QE identity demands.
pub(super) const SIGNER: [u8; 32] = *b"NO SIGNER, DEVELOPMENT QUOTING..";
/// ISVPRODID, which the QE identity demands.
pub(super) const PRODUCT: u16 = 1;
/// ISVSVN, whose status the QE identity says.
pub(super) const VERSION: u16 = 8;
/// ATTRIBUTES.FLAGS but for MODE64BIT, which the QE identity does not look at.
pub(super) const FLAGS: u64 = ATTRIBUTE_INIT | ATTRIBUTE_PROVISIONKEY;
/// Which of ATTRIBUTES.FLAGS the QE identity looks at. XFRM it does not.
pub(super) const FLAGS_MASK: u64 = !ATTRIBUTE_MODE64BIT;

/// The enclave as the CPU knows it.
pub(super) fn state() -> EnclaveState {
    EnclaveState {
        mrenclave: MEASUREMENT,
        mrsigner: SIGNER,
        attributes: attributes(FLAGS | ATTRIBUTE_MODE64BIT, 7),
        misc_select: 0,
        isv_prod_id: PRODUCT,
        isv_svn: VERSION,
    }
}
