//! The bytes of an SGX quote, version 3 (ECDSA Quote Library API, appendix A; docs/formats/quotes.md).

/// Length of the report body, a REPORT without KEYID and MAC.
pub(super) const REPORT_BODY_LEN: usize = 384;
/// Header and report body: what the attestation key signs.
pub(super) const SIGNED_LEN: usize = HEADER_LEN + REPORT_BODY_LEN;
/// Verifiers demand exactly this much.
pub(super) const AUTHENTICATION_DATA_LEN: usize = 32;

const HEADER_LEN: usize = 48;
const VERSION: u16 = 3;
/// ECDSA-256-with-P-256.
const ATTESTATION_KEY_TYPE: u16 = 2;
/// Intel's, which verifiers demand: it names the layout, not who signed.
const QE_VENDOR_ID: [u8; 16] = 0x939A_7233_F79C_4CA9_940A_0DB3_957F_0607_u128.to_be_bytes();
/// A PCK certificate chain, in PEM.
const CERTIFICATION_DATA_TYPE: u16 = 5;

/// Header and report body.
pub(super) fn signed_part(qe_svn: u16, pce_svn: u16, report_body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SIGNED_LEN);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&ATTESTATION_KEY_TYPE.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&qe_svn.to_le_bytes());
    out.extend_from_slice(&pce_svn.to_le_bytes());
    out.extend_from_slice(&QE_VENDOR_ID);
    // User data: an id of the platform for services that keep a database. There is none.
    out.extend_from_slice(&[0; 20]);
    out.extend_from_slice(report_body);
    out
}

/// What follows the signed part: all of it but the signature is the same in every quote of a quoting enclave.
pub(super) struct Certification {
    /// `x ‖ y` of the attestation key.
    pub(super) attestation_key: [u8; 64],
    /// Report body of the quoting enclave.
    pub(super) qe_report: [u8; REPORT_BODY_LEN],
    /// The PCK's signature over it.
    pub(super) qe_report_signature: [u8; 64],
    pub(super) authentication_data: [u8; AUTHENTICATION_DATA_LEN],
    pub(super) pck_chain_pem: String,
}

impl Certification {
    /// The whole quote.
    pub(super) fn quote(&self, mut signed: Vec<u8>, signature: &[u8; 64]) -> Vec<u8> {
        let mut data = Vec::with_capacity(640 + self.pck_chain_pem.len());
        data.extend_from_slice(signature);
        data.extend_from_slice(&self.attestation_key);
        data.extend_from_slice(&self.qe_report);
        data.extend_from_slice(&self.qe_report_signature);
        data.extend_from_slice(&(AUTHENTICATION_DATA_LEN as u16).to_le_bytes());
        data.extend_from_slice(&self.authentication_data);
        data.extend_from_slice(&CERTIFICATION_DATA_TYPE.to_le_bytes());
        data.extend_from_slice(&(self.pck_chain_pem.len() as u32).to_le_bytes());
        data.extend_from_slice(self.pck_chain_pem.as_bytes());
        signed.extend_from_slice(&(data.len() as u32).to_le_bytes());
        signed.extend_from_slice(&data);
        signed
    }
}
