//! Whom a quote is about.

use super::reader::Reader;
use super::{Header, ParseError, TEE_SGX};

/// Bytes of an SGX report body.
const REPORT_BODY: usize = 384;

/// The body of a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// An SGX enclave.
    Sgx(ReportBody),
    /// A TDX trust domain.
    Td(TdReport<'a>),
}

/// REPORT body of an SGX enclave (Intel SDM vol. 3D, table 38-21 up to REPORTDATA).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportBody {
    /// CPUSVN of the platform that made the report.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT.
    pub misc_select: u32,
    /// ATTRIBUTES: flags, then XFRM.
    pub attributes: [u8; 16],
    /// What was measured.
    pub mrenclave: [u8; 32],
    /// Who signed it.
    pub mrsigner: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// What the enclave asked to bind.
    pub report_data: [u8; 64],
}

/// What a verifier of enclaves says about a trust domain (Intel TDX module ABI, TDREPORT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdReport<'a> {
    /// 2, 3 or 4: TDX 1.0, 1.5, 1.5 extended.
    pub body_type: u16,
    /// MRTD.
    pub mr_td: &'a [u8; 48],
    /// RTMR0 to RTMR3.
    pub rt_mr: [&'a [u8; 48]; 4],
    /// What the trust domain asked to bind.
    pub report_data: [u8; 64],
}

impl ReportBody {
    /// ATTRIBUTES.DEBUG: everything in the enclave can be read from outside.
    pub fn is_debug(&self) -> bool {
        self.attributes[0] & 0x02 != 0
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const PART: &str = "report body";
        let cpu_svn = reader.array(PART)?;
        let misc_select = reader.u32(PART)?;
        reader.bytes(12 + 16, PART)?;
        let attributes = reader.array(PART)?;
        let mrenclave = reader.array(PART)?;
        reader.bytes(32, PART)?;
        let mrsigner = reader.array(PART)?;
        reader.bytes(32 + 64, PART)?;
        let isv_prod_id = reader.u16(PART)?;
        let isv_svn = reader.u16(PART)?;
        reader.bytes(2 + 42 + 16, PART)?;
        Ok(ReportBody {
            cpu_svn,
            misc_select,
            attributes,
            mrenclave,
            mrsigner,
            isv_prod_id,
            isv_svn,
            report_data: reader.array(PART)?,
        })
    }
}

impl<'a> Body<'a> {
    /// Version 5 says which kind of body follows and how long it is; before, the TEE type does.
    pub(super) fn read(reader: &mut Reader<'a>, header: &Header) -> Result<Self, ParseError> {
        let (body_type, length) = if header.version == 5 {
            (reader.u16("body type")?, Some(reader.length_u32("body length")?))
        } else {
            (if header.tee_type == TEE_SGX { 1 } else { 2 }, None)
        };
        if (body_type == 1) != (header.tee_type == TEE_SGX) {
            return Err(ParseError::TeeType(header.tee_type));
        }
        let expected = match body_type {
            1 => REPORT_BODY,
            2 => 584,
            3 => 648,
            4 => 885,
            _ => return Err(ParseError::BodyType(body_type)),
        };
        match length {
            Some(length) if length > expected => {
                return Err(ParseError::LeftOver { count: length - expected, after: "body" });
            }
            Some(length) if length < expected => return Err(ParseError::Truncated("body")),
            _ => {}
        }
        let mut body = Reader::new(reader.bytes(expected, "body")?);
        if body_type == 1 {
            return ReportBody::read(&mut body).map(Body::Sgx);
        }
        TdReport::read(&mut body, body_type).map(Body::Td)
    }
}

impl<'a> TdReport<'a> {
    fn read(reader: &mut Reader<'a>, body_type: u16) -> Result<Self, ParseError> {
        const PART: &str = "TD report";
        // TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES, TDATTRIBUTES, XFAM.
        reader.bytes(16 + 48 + 48 + 8 + 8 + 8, PART)?;
        let mr_td = reader.reference(PART)?;
        // MRCONFIGID, MROWNER, MROWNERCONFIG.
        reader.bytes(3 * 48, PART)?;
        let rt_mr = [
            reader.reference(PART)?,
            reader.reference(PART)?,
            reader.reference(PART)?,
            reader.reference(PART)?,
        ];
        Ok(TdReport { body_type, mr_td, rt_mr, report_data: reader.array(PART)? })
    }
}
