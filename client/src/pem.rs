//! Certificates in text.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// The certificates (DER) of a PEM text, in order.
///
/// # Errors
/// For text that is not PEM.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).map(|der| der.map(|der| der.to_vec())).collect()
}
