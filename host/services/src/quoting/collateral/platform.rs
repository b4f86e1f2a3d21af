//! Which platform a quote is of, so far as collateral depends on it.

use x509_parser::oid_registry::asn1_rs::{Oid, oid};
use x509_parser::pem::Pem;

/// What the PCK certificate of a quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlatformId {
    /// Family of platforms.
    pub(super) fmspc: [u8; 6],
    /// Which CA of Intel's issued the PCK certificate, as the PCS API names it.
    pub(super) ca: &'static str,
    /// The certificate (DER) that its chain ends in.
    pub(super) root: Vec<u8>,
}

/// A quote says nothing of its platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlatformError {
    #[error("the quoting service returned no SGX quote of version 3")]
    NoQuote,
    #[error(
        "the quote carries no PCK certificates (certification data type {0}, wanted 5): install \
         libsgx-dcap-default-qpl, name a PCCS in /etc/sgx_default_qcnl.conf, register the platform there, and start \
         aesmd again"
    )]
    NoCertificates(u16),
    #[error("the PCK certificate in the quote does not read")]
    Certificate,
}

const SGX_EXTENSION: Oid<'static> = oid!(1.2.840.113741.1.13.1);
/// `OID …13.1.4, OCTET STRING of 6 bytes` in that extension.
const FMSPC_HEAD: [u8; 14] = [6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1, 4, 4, 6];
/// Where the length of the QE's authentication data stands: behind header, report body, length, two signatures,
/// a key and the QE's report.
const AUTHENTICATION_LENGTH: usize = 48 + 384 + 4 + 64 + 64 + 384 + 64;
const PEM_CHAIN: u16 = 5;

impl PlatformId {
    pub(super) fn of_quote(quote: &[u8]) -> Result<Self, PlatformError> {
        if quote.get(..4) != Some(&[3, 0, 2, 0]) {
            return Err(PlatformError::NoQuote);
        }
        let rest = quote.get(AUTHENTICATION_LENGTH..).ok_or(PlatformError::NoQuote)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(PlatformError::NoQuote)?;
        let rest = rest.get(usize::from(u16::from_le_bytes(*length))..).ok_or(PlatformError::NoQuote)?;
        let (kind, rest) = rest.split_first_chunk::<2>().ok_or(PlatformError::NoQuote)?;
        let kind = u16::from_le_bytes(*kind);
        if kind != PEM_CHAIN {
            return Err(PlatformError::NoCertificates(kind));
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(PlatformError::NoQuote)?;
        let chain = rest.get(..u32::from_le_bytes(*length) as usize).ok_or(PlatformError::NoQuote)?;
        Self::of_chain(chain).ok_or(PlatformError::Certificate)
    }

    fn of_chain(chain: &[u8]) -> Option<Self> {
        let mut certificates = Pem::iter_from_buffer(chain).map_while(Result::ok);
        let leaf = certificates.next()?;
        let leaf = leaf.parse_x509().ok()?;
        let extension = leaf.get_extension_unique(&SGX_EXTENSION).ok()??.value;
        let at = extension.windows(FMSPC_HEAD.len()).position(|window| window == FMSPC_HEAD)?;
        let fmspc = *extension.get(at + FMSPC_HEAD.len()..)?.first_chunk::<6>()?;
        let issuer = leaf.issuer().to_string();
        let ca = if issuer.contains("Platform") { "platform" } else { "processor" };
        Some(Self { fmspc, ca, root: certificates.last()?.contents })
    }
}
