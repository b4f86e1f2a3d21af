//! DCAP quotes, read strictly. Reading is not verifying: nothing here looks at a signature.
//!
//! Formats of the Intel SGX and TDX DCAP quote libraries (`sgx_quote_3.h`, `sgx_quote_4.h`, `sgx_quote_5.h`).
//! Version 3 is an SGX quote; versions 4 and 5 are read as well, so that a verifier can say what it was given.
//! Every length has to fill exactly what holds it, because no signature covers lengths.

mod body;
mod reader;
mod signature;
#[cfg(test)]
mod tests;

pub use body::{Body, ReportBody, TdReport};
pub use signature::SignatureData;

use reader::Reader;

/// Bytes of the header.
pub const HEADER_LENGTH: usize = 48;
/// `att_key_type` of ECDSA P-256, the only one here.
pub const ECDSA_P256: u16 = 2;
/// `tee_type` of SGX.
pub const TEE_SGX: u32 = 0;
/// `tee_type` of TDX.
pub const TEE_TDX: u32 = 0x81;
/// Longest quote in bytes; a genuine one has about 5,000.
pub const MAX_QUOTE: usize = 16 * 1024;

/// A quote and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Version, key type, vendor.
    pub header: Header,
    /// Whom it is about.
    pub body: Body<'a>,
    /// Signatures and the certificates they lead to.
    pub signature: SignatureData<'a>,
    /// Header and body, which the attestation key signs.
    pub signed: &'a [u8],
}

/// The first 48 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 3, 4 or 5.
    pub version: u16,
    /// [`ECDSA_P256`].
    pub attestation_key_type: u16,
    /// [`TEE_SGX`] or [`TEE_TDX`].
    pub tee_type: u32,
    /// ISVSVN of the quoting enclave (versions 3 and 4).
    pub qe_svn: u16,
    /// ISVSVN of the provisioning certification enclave (versions 3 and 4).
    pub pce_svn: u16,
    /// Who made the quoting enclave.
    pub qe_vendor_id: [u8; 16],
    /// The quoting enclave's own.
    pub user_data: [u8; 20],
}

/// Why bytes are not a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Too long to be one.
    #[error("{0} bytes are too many for a quote; it has at most {MAX_QUOTE}")]
    TooLong(usize),
    /// It ends in the middle.
    #[error("the quote ends within its {0}")]
    Truncated(&'static str),
    /// A version that is not read.
    #[error("quote version {0} is unknown; SGX quotes have version 3")]
    Version(u16),
    /// An attestation key of another kind.
    #[error("attestation key type {0} is not ECDSA P-256, which is type 2")]
    KeyType(u16),
    /// Neither SGX nor TDX, or not with this version.
    #[error("TEE type {0:#x} does not go with this version of quote")]
    TeeType(u32),
    /// A version 5 body of another kind.
    #[error("body type {0} is unknown")]
    BodyType(u16),
    /// Certification data without the certificate chain.
    #[error("certification data of type {0}; a verifiable quote has type 5, the PCK certificate chain")]
    CertificationType(u16),
    /// Bytes that belong to nothing.
    #[error("{count} bytes are left over after the {after}")]
    LeftOver {
        /// How many.
        count: usize,
        /// After which part.
        after: &'static str,
    },
}

impl<'a> Quote<'a> {
    /// Reads a quote. Versions 4 and 5 may be followed by zeros, as quoting services pad their buffers.
    ///
    /// # Errors
    /// [`ParseError`] on anything that the format does not allow.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_QUOTE {
            return Err(ParseError::TooLong(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let body = Body::read(&mut reader, &header)?;
        let signed = bytes.get(..bytes.len() - reader.left()).unwrap_or_default();
        let length = reader.length_u32("signature length")?;
        let signature = reader.bytes(length, "signature data")?;
        let signature = SignatureData::parse(signature, header.version)?;
        let padding = reader.rest();
        if !padding.is_empty() && (header.version == 3 || padding.iter().any(|byte| *byte != 0)) {
            return Err(ParseError::LeftOver { count: padding.len(), after: "signature data" });
        }
        Ok(Quote { header, body, signature, signed })
    }

    /// The body of an SGX quote; `None` for a TDX quote.
    pub fn sgx(&self) -> Option<&ReportBody> {
        match &self.body {
            Body::Sgx(report) => Some(report),
            Body::Td(_) => None,
        }
    }

    /// What the quote was asked to bind, in either kind.
    pub fn report_data(&self) -> &[u8; 64] {
        match &self.body {
            Body::Sgx(report) => &report.report_data,
            Body::Td(report) => &report.report_data,
        }
    }
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let version = reader.u16("header")?;
        if !(3..=5).contains(&version) {
            return Err(ParseError::Version(version));
        }
        let attestation_key_type = reader.u16("header")?;
        if attestation_key_type != ECDSA_P256 {
            return Err(ParseError::KeyType(attestation_key_type));
        }
        let tee_type = reader.u32("header")?;
        match (version, tee_type) {
            (3, TEE_SGX) | (4 | 5, TEE_SGX | TEE_TDX) => {}
            _ => return Err(ParseError::TeeType(tee_type)),
        }
        Ok(Header {
            version,
            attestation_key_type,
            tee_type,
            qe_svn: reader.u16("header")?,
            pce_svn: reader.u16("header")?,
            qe_vendor_id: reader.array("header")?,
            user_data: reader.array("header")?,
        })
    }
}
