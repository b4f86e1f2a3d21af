//! What an SGXS stream measures.

use sgxs::crypto::{Hash, SgxHashOps};
use sgxs::sgxs::CanonicalSgxsReader;
use sgxs::sigstruct::EnclaveHash;
use sha2::{Digest, Sha256};

/// Why bytes are not an SGXS stream.
#[derive(Debug, thiserror::Error)]
#[error("not an SGXS image: {0}")]
pub struct StreamError(String);

/// MRENCLAVE of an image: SHA-256 over its ECREATE, EADD and EEXTEND records (SDM 3D, "MRENCLAVE").
///
/// # Errors
/// [`StreamError`] when the bytes are not a canonical SGXS stream.
pub fn mrenclave(sgxs: &[u8]) -> Result<[u8; 32], StreamError> {
    let mut bytes = sgxs;
    let mut records = CanonicalSgxsReader::new(&mut bytes);
    match EnclaveHash::from_stream::<_, Hasher>(&mut records) {
        Ok(hash) if !sgxs.is_empty() => Ok(hash.hash()),
        Ok(_) => Err(StreamError("it is empty".to_owned())),
        Err(error) => Err(StreamError(format!("{error:#}"))),
    }
}

struct Hasher(Sha256);

impl SgxHashOps for Hasher {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}
