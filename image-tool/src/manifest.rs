//! What is told beside a signed image.

use attestation::image_manifest::{Facts, ImageManifest, ManifestError};
use attestation::image_policy::ImagePolicy;

use crate::{Image, Parameters, SIGSTRUCT_LEN, mrsigner};

/// The manifest of an image that measures `mrenclave`, was laid out with `parameters` and `policy`, and is signed
/// by `sigstruct`.
///
/// # Errors
/// [`ManifestError::Policy`] for a policy that breaks a rule of the page.
pub fn manifest(
    image: &Image,
    mrenclave: [u8; 32],
    sigstruct: &[u8; SIGSTRUCT_LEN],
    parameters: &Parameters,
    policy: Option<&ImagePolicy>,
) -> Result<ImageManifest, ManifestError> {
    ImageManifest::new(&Facts {
        mrenclave,
        mrsigner: mrsigner(sigstruct),
        isv_prod_id: parameters.isv_prod_id,
        isv_svn: parameters.isv_svn,
        size: image.size,
        heap: parameters.heap,
        stack: parameters.stack,
        threads: parameters.threads,
        code: image.code,
        debug: parameters.debug,
        xfrm: parameters.xfrm,
        cpu_features: &parameters.cpu_features(),
        policy,
    })
}
