#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop where it fails")]

use super::*;

const SGX: &[u8] = include_bytes!("../../tests/data/sgx_quote");
const TDX_V4: &[u8] = include_bytes!("../../tests/data/tdx_quote");
const TDX_V5: &[u8] = include_bytes!("../../tests/data/tdx_quote_td15ex");

#[test]
fn a_genuine_sgx_quote_is_read() {
    let quote = Quote::parse(SGX).unwrap();
    assert_eq!((quote.header.version, quote.header.tee_type), (3, TEE_SGX));
    assert_eq!(crate::hex::encode(&quote.header.qe_vendor_id), "939a7233f79c4ca9940a0db3957f0607");
    let report = quote.sgx().unwrap();
    // The offsets that existing clients of this arc read at.
    assert_eq!(report.mrenclave, SGX[112..144]);
    assert_eq!(report.mrsigner, SGX[176..208]);
    assert_eq!(report.report_data, SGX[368..432]);
    assert_eq!(report.cpu_svn, SGX[48..64]);
    assert_eq!(quote.report_data(), &report.report_data);
    assert_eq!(quote.signed, &SGX[..432]);
    assert_eq!(quote.signature.qe_authentication_data.len(), 32);
    assert!(quote.signature.pck_chain_pem.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn genuine_tdx_quotes_are_read() {
    for (bytes, version, body_type) in [(TDX_V4, 4, 2), (TDX_V5, 5, 4)] {
        let quote = Quote::parse(bytes).unwrap();
        assert_eq!((quote.header.version, quote.header.tee_type), (version, TEE_TDX));
        assert_eq!(quote.sgx(), None);
        let Body::Td(report) = &quote.body else { panic!("not a TD report") };
        assert_eq!(report.body_type, body_type);
        assert_ne!(report.mr_td, &[0; 48]);
    }
}

#[test]
fn only_zeros_may_follow_and_only_from_version_4_on() {
    let with = |quote: &[u8], byte| [quote, &[byte]].concat();
    assert!(Quote::parse(&with(TDX_V4, 0)).is_ok());
    for (bytes, count) in [(with(SGX, 0), 1), (with(TDX_V4, 1), 71), (with(TDX_V5, 1), 1)] {
        let left_over = ParseError::LeftOver { count, after: "signature data" };
        assert_eq!(Quote::parse(&bytes), Err(left_over));
    }
}

#[test]
fn every_length_fills_what_holds_it() {
    // Offsets in the version 3 sample: signature length, QE authentication data length, certification length.
    for (at, step) in
        [(432, 1), (432 + 4 + 64 + 64 + 384 + 64, 1), (432 + 4 + 64 + 64 + 384 + 64 + 2 + 32 + 2, 1)]
    {
        for delta in [step, -step] {
            let mut bytes = SGX.to_vec();
            bytes[at] = bytes[at].wrapping_add_signed(delta);
            assert!(Quote::parse(&bytes).is_err(), "{at} {delta}");
        }
    }
}

#[test]
fn what_is_not_ours_is_named() {
    let changed = |at: usize, value: u8| {
        let mut bytes = SGX.to_vec();
        bytes[at] = value;
        Quote::parse(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(changed(0, 2), ParseError::Version(2));
    assert_eq!(changed(2, 3), ParseError::KeyType(3));
    assert_eq!(changed(4, 0x81), ParseError::TeeType(0x81));
    assert_eq!(changed(432 + 4 + 64 + 64 + 384 + 64 + 2 + 32, 4), ParseError::CertificationType(4));
    assert_eq!(Quote::parse(&[3, 0, 2, 0]).unwrap_err(), ParseError::Truncated("header"));
    assert_eq!(Quote::parse(&[0; MAX_QUOTE + 1]).unwrap_err(), ParseError::TooLong(MAX_QUOTE + 1));
    for end in 0..SGX.len() {
        assert!(Quote::parse(&SGX[..end]).is_err(), "{end}");
    }
}
