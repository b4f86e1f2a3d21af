//! What follows header and body: signatures, the quoting enclave's report, and the PCK certificate chain.

use super::ParseError;
use super::reader::Reader;

/// Certification data type 5: the PCK certificate chain as PEM.
const PCK_CERTIFICATE_CHAIN: u16 = 5;
/// Certification data type 6: the quoting enclave's report, from version 4 on.
const QE_REPORT: u16 = 6;

/// The signature data of an ECDSA quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureData<'a> {
    /// Over header and body, by the attestation key: `r ‖ s`.
    pub signature: &'a [u8; 64],
    /// The attestation key: `x ‖ y`.
    pub attestation_key: &'a [u8; 64],
    /// REPORT body of the quoting enclave; its report data vouches for the attestation key.
    pub qe_report: &'a [u8; 384],
    /// Over the QE report, by the PCK: `r ‖ s`.
    pub qe_report_signature: &'a [u8; 64],
    /// Hashed together with the attestation key into the QE report.
    pub qe_authentication_data: &'a [u8],
    /// The PCK certificate chain, PEM, leaf first.
    pub pck_chain_pem: &'a [u8],
}

impl<'a> SignatureData<'a> {
    pub(super) fn parse(bytes: &'a [u8], version: u16) -> Result<Self, ParseError> {
        let mut outer = Reader::new(bytes);
        let signature = outer.reference("signature")?;
        let attestation_key = outer.reference("attestation key")?;
        let mut reader = if version == 3 {
            outer
        } else {
            let kind = outer.u16("certification data")?;
            if kind != QE_REPORT {
                return Err(ParseError::CertificationType(kind));
            }
            let length = outer.length_u32("certification data")?;
            let inner = outer.bytes(length, "certification data")?;
            outer.end("certification data")?;
            Reader::new(inner)
        };
        let qe_report = reader.reference("QE report")?;
        let qe_report_signature = reader.reference("QE report signature")?;
        let length = usize::from(reader.u16("QE authentication data")?);
        let qe_authentication_data = reader.bytes(length, "QE authentication data")?;
        let kind = reader.u16("certification data")?;
        if kind != PCK_CERTIFICATE_CHAIN {
            return Err(ParseError::CertificationType(kind));
        }
        let length = reader.length_u32("certification data")?;
        let pck_chain_pem = reader.bytes(length, "PCK certificate chain")?;
        reader.end("PCK certificate chain")?;
        Ok(SignatureData {
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_authentication_data,
            pck_chain_pem,
        })
    }
}
