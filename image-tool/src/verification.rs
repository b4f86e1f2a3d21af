//! The policy with which clients recognise an image (`docs/formats/policy.md`).

use attestation::hex::encode as hex;

/// Who vouches for the platforms that the image will run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Intel.
    Intel,
    /// The development root with this fingerprint: SHA-256 of its certificate.
    Development([u8; 32]),
}

/// A verification policy that accepts exactly this measurement under that root; everything else as the format's
/// defaults have it.
pub fn verification_policy(mrenclave: &[u8; 32], root: Root) -> String {
    let root = match root {
        Root::Intel => "intel = true".to_owned(),
        Root::Development(fingerprint) => format!(
            "# DEVELOPMENT: whoever reads the key file of this root makes quotes that pass.\ndevelopment = [\"{}\"]",
            hex(&fingerprint)
        ),
    };
    format!(
        "# What a client demands of this image. Every key: docs/formats/policy.md\n\
         format = 1\n\n[roots]\n{root}\n\n[enclave]\nmrenclave = [\"{}\"]\n",
        hex(mrenclave)
    )
}
