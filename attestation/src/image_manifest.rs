//! What is told beside a signed image: the file `enclave-os.json`.
//!
//! It is for people and for the host, which asks it what a CPU must have before it loads anything. Nothing
//! rests on it: the identity of an image is what its pages measure and what its SIGSTRUCT says.

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::image_policy::{ImagePolicy, PageError};

const FORMAT: u32 = 1;

/// The manifest of a signed image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    format: u32,
    /// What the pages measure.
    #[serde(with = "hex::bytes_32")]
    pub mrenclave: [u8; 32],
    /// Who signed.
    #[serde(with = "hex::bytes_32")]
    pub mrsigner: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// Bytes of ELRANGE.
    pub size: u64,
    /// Bytes of heap.
    pub heap: u64,
    /// Bytes of stack of each thread.
    pub stack: u64,
    /// Enclave threads, the control thread among them.
    pub threads: u32,
    /// Bytes of the code pool.
    pub code: u64,
    /// ATTRIBUTES.DEBUG.
    pub debug: bool,
    /// ATTRIBUTES.XFRM.
    pub xfrm: u64,
    /// What the CPU must have, by the names of `is_x86_feature_detected!`.
    pub cpu_features: Vec<String>,
    /// The policy is a development policy: nothing is protected.
    pub development: bool,
    /// The policy page; none in a program that has no such page.
    pub policy: Option<serde_json::Value>,
}

/// Everything a manifest says, by name.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of ImageManifest")]
pub struct Facts<'a> {
    pub mrenclave: [u8; 32],
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub size: u64,
    pub heap: u64,
    pub stack: u64,
    pub threads: u32,
    pub code: u64,
    pub debug: bool,
    pub xfrm: u64,
    pub cpu_features: &'a [&'a str],
    pub policy: Option<&'a ImagePolicy>,
}

/// Why text is not a manifest, or facts cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this shape.
    #[error("the image manifest does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// Format number unknown.
    #[error("the image manifest has format {0}; this build reads format {FORMAT}")]
    Format(u32),
    /// Its policy is none.
    #[error("the policy in the image manifest: {0}")]
    Policy(#[from] PageError),
    /// It says of the policy what the policy does not.
    #[error("the image manifest says development {0}, its policy says otherwise")]
    Development(bool),
}

impl ImageManifest {
    /// The manifest that tells `facts`.
    ///
    /// # Errors
    /// [`ManifestError::Policy`] for a policy that breaks a rule of the page.
    pub fn new(facts: &Facts<'_>) -> Result<Self, ManifestError> {
        let policy = match facts.policy {
            Some(policy) => Some(serde_json::from_slice(&policy.to_page()?)?),
            None => None,
        };
        Ok(Self {
            format: FORMAT,
            mrenclave: facts.mrenclave,
            mrsigner: facts.mrsigner,
            isv_prod_id: facts.isv_prod_id,
            isv_svn: facts.isv_svn,
            size: facts.size,
            heap: facts.heap,
            stack: facts.stack,
            threads: facts.threads,
            code: facts.code,
            debug: facts.debug,
            xfrm: facts.xfrm,
            cpu_features: facts.cpu_features.iter().map(|&name| name.to_owned()).collect(),
            development: facts.policy.is_some_and(|policy| policy.development),
            policy,
        })
    }

    /// Reads a manifest; its policy must be one.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(text)?;
        if manifest.format != FORMAT {
            return Err(ManifestError::Format(manifest.format));
        }
        let development = manifest.policy()?.is_some_and(|policy| policy.development);
        if manifest.development != development {
            return Err(ManifestError::Development(manifest.development));
        }
        Ok(manifest)
    }

    /// The manifest as text, for a person to read as well.
    ///
    /// # Errors
    /// [`ManifestError::Json`], which does not happen.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The policy that was measured with the image, as the manifest tells it.
    ///
    /// # Errors
    /// [`ManifestError::Policy`].
    pub fn policy(&self) -> Result<Option<ImagePolicy>, ManifestError> {
        let Some(policy) = &self.policy else { return Ok(None) };
        let page = serde_json_canonicalizer::to_vec(policy)?;
        Ok(Some(ImagePolicy::from_page(&page)?))
    }
}

#[cfg(test)]
mod tests;
