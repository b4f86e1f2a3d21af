//! A bit flipped anywhere in quote, chain, CRLs, TCB info or QE identity is refused.
//!
//! Signatures cover header, body and QE report of a quote, its certificates, and each document of the collateral.
//! What no signature covers is held by strict parsing: the three lengths and the type in the signature data,
//! zeros after a quote of version 4 or 5, the PEM around certificates, the root at the end of each chain (equal to
//! the accepted one), and the chain beside the PCK's CRL (equal to the quote's).

use proptest::prelude::*;

use super::*;

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn accepts(quote: &[u8], collateral: &Collateral) -> bool {
    verifier(SGX_POLICY)
        .judge(&Presented::Quote(quote), Some(collateral), Disclosed::default(), at(SGX_TIME))
        .accepted()
}

/// Every document inside the collateral, by position.
const MEMBERS: usize = 9;

fn member(collateral: &mut Collateral, index: usize, change: impl Fn(&[u8]) -> Vec<u8>) -> bool {
    let text = |text: &mut String| match String::from_utf8(change(text.as_bytes())) {
        Ok(changed) => {
            *text = changed;
            true
        }
        // What is not UTF-8 is no JSON string either.
        Err(_) => false,
    };
    let bytes = |bytes: &mut Vec<u8>| {
        *bytes = change(bytes);
        true
    };
    match index {
        0 => text(&mut collateral.pck_crl_issuer_chain),
        1 => bytes(&mut collateral.root_ca_crl),
        2 => bytes(&mut collateral.pck_crl),
        3 => text(&mut collateral.tcb_info_issuer_chain),
        4 => text(&mut collateral.tcb_info),
        5 => bytes(&mut collateral.tcb_info_signature),
        6 => text(&mut collateral.qe_identity_issuer_chain),
        7 => text(&mut collateral.qe_identity),
        _ => bytes(&mut collateral.qe_identity_signature),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn of_the_quote(bit in 0..SGX.len() * 8) {
        prop_assert!(!accepts(&flipped(SGX, bit), &collateral(SGX_COLLATERAL)));
    }

    #[test]
    fn of_the_collateral(index in 0..MEMBERS, at in any::<prop::sample::Index>()) {
        let mut collateral = collateral(SGX_COLLATERAL);
        if member(&mut collateral, index, |bytes| flipped(bytes, at.index(bytes.len() * 8))) {
            prop_assert!(!accepts(SGX, &collateral));
        }
    }

    #[test]
    fn of_the_document(bit in 0..SGX_COLLATERAL.len() * 8) {
        let text = String::from_utf8(flipped(SGX_COLLATERAL.as_bytes(), bit));
        let Ok(Ok(collateral)) = text.map(|text| Collateral::from_json(&text)) else { return Ok(()) };
        // White space between members is no part of the document.
        let same = collateral == super::collateral(SGX_COLLATERAL);
        prop_assert_eq!(accepts(SGX, &collateral), same);
    }
}

/// Where chance might not look: every bit of what no signature covers, and of the bytes around it.
#[test]
fn of_what_no_signature_covers() {
    let collateral = collateral(SGX_COLLATERAL);
    let authentication = 432 + 4 + 64 + 64 + 384 + 64;
    let certification = authentication + 2 + 32;
    let end = SGX.len() - 32;
    for range in
        [432..436, authentication..authentication + 2, certification..certification + 40, end..SGX.len()]
    {
        for bit in range.start * 8..range.end * 8 {
            assert!(!accepts(&flipped(SGX, bit), &collateral), "bit {bit}");
        }
    }
    assert!(accepts(SGX, &collateral));
}
