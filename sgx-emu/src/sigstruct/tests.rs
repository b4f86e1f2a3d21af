use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CheckedAdd, U3072};
use proptest::prelude::*;

use super::*;

/// A key that signs nothing but tests.
const TEST_MODULUS: &str = "aefe3cb1dff6066b9548ee0c788babb6042c8811e203a3765230b0f8618d1c0f21091f82247aa4f8988aba38db77a8c6\
    b6a9933d837ce6cd81275a80f54128dc0460487f05aad4fa83c089b2f3ae007ca877ddaf8016147f7cd1ebf26b5f48b0\
    441b66d14593a8185780550b3439c9adfdfc24804a1bff53ad7b3618393c96ff8a1882414151481c42f0cf4b3ddf2cad\
    fad3c5a94d3312576ac1a363fcb25c15a7f9c63ce028f0624c780b9d38a47ad737129181d0355e35f72f86917e514e0b\
    70845f2fb8963e163d69dd5c164399c5fb8742368d2b56b66050d7eeb015d7e39849368ae6d38d834a011819897bca58\
    d434da805311a54c81c41f8c1e2a415dfa8bc0810631c382b929bc437f7e1b12c2ab3b3c4a6e1101ad4dffc00f8a520b\
    060444f90390a8f99d343806c3b5daa6ca523320242fd2d2155664edc227fae46069bf06da9d963fbe2c68ea2e34c409\
    95c3dae6efe3b157c0f0dc3825d114a3ef8b6bbe09c6e747f05dfc948898db67ee81d50810a4ce1533f41baa980edcad";
const TEST_PRIVATE_EXPONENT: &str = "74a97dcbeaa40447b8db495da5b27279581db00bec026cf98c2075faebb3680a160615016da718a5bb0726d0924fc5d9\
    cf1bb77e57a899de561a3c55f8d61b3d58403054ae71e351ad2b06774d1eaafdc5a53e75000eb854fde147f6f23f85ca\
    d812448b83b7c5658faae35ccd7bdbc953fd6daadc12aa37c8fccebad0d30f5506bb0180d6363012d74b34dcd3ea1dc9\
    51e283c63377618f9c811797fdcc3d63c5512ed3401b4aec32fab268d06da73a24b70babe0239423fa1faf0ba98b895b\
    db5289d11721db893db44fb7a586aab7a0ceeb64cb4c8382d6ab2cfee9525a76426ba99f5c674404c90049debddf012a\
    aff95fa4940f14d18c7d3963378a65a7e1942da479b45f04bf043426ad58f1e2e47929730c791575b90a85257034431e\
    aab9301551965176fc4616646349c683651cff49b0a8eb055911d575fd97b4dfe7fd0f5501359d494cf6d66d80da5ccc\
    4ddd936bf27b1d0c99edee34a16a6672dd856fe5cbad44cad498476b666dad784feee12cdca05b7d337b400ea30de66b";

fn put(bytes: &mut [u8; Sigstruct::LEN], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Puts the test key, its signature and the quotients into a SIGSTRUCT.
pub(crate) fn sign(bytes: &mut [u8; Sigstruct::LEN]) {
    let modulus = U3072::from_be_hex(TEST_MODULUS);
    put(bytes, at::MODULUS, modulus.to_le_bytes().as_slice());
    let message = U3072::from_be_slice(&Sigstruct::from_bytes(bytes).unwrap().encoded_message());
    let params = FixedMontyParams::new_vartime(modulus.to_odd().unwrap());
    let exponent = U3072::from_be_hex(TEST_PRIVATE_EXPONENT);
    let signature = FixedMontyForm::new(&message, &params).pow(&exponent).retrieve();
    let divisor = modulus.to_nz().unwrap();
    let square: U6144 = signature.concatenating_square();
    let (q1, rest) = square.div_rem_vartime(&divisor);
    let cube: U6144 = signature.concatenating_mul(&rest);
    let (q2, _) = cube.div_rem_vartime(&divisor);
    put(bytes, at::SIGNATURE, signature.to_le_bytes().as_slice());
    put(bytes, at::Q1, &q1.to_le_bytes().as_slice()[..KEY_BYTES]);
    put(bytes, at::Q2, &q2.to_le_bytes().as_slice()[..KEY_BYTES]);
}

/// What EDP's signing library makes of these, signed by the test key.
pub(crate) fn signed_by_test_key(signer: &sgxs::sigstruct::Signer) -> [u8; Sigstruct::LEN] {
    let unsigned = signer.unsigned_sig();
    let mut bytes: [u8; Sigstruct::LEN] = unsigned.as_ref().try_into().unwrap();
    sign(&mut bytes);
    bytes
}

fn example() -> [u8; Sigstruct::LEN] {
    let mut signer = sgxs::sigstruct::Signer::new(sgxs::sigstruct::EnclaveHash::new([0xe5; 32]));
    signer.date(2026, 1, 31).isvprodid(0x0102).isvsvn(0x0304).swdefined(5);
    signer.attributes_xfrm(0xe7, !0).miscselect(sgx_isa::Miscselect::EXINFO, 3);
    signed_by_test_key(&signer)
}

#[test]
fn a_struct_laid_out_by_another_library_is_read_and_holds() {
    let bytes = example();
    let sig = Sigstruct::from_bytes(&bytes).unwrap();
    assert_eq!(sig.enclave_hash, [0xe5; 32]);
    assert_eq!((sig.isv_prod_id, sig.isv_svn, sig.misc_select, sig.misc_mask), (0x0102, 0x0304, 1, 3));
    assert_eq!(sig.attributes, crate::attributes(4, 0xe7));
    assert_eq!(sig.attribute_mask, crate::attributes(!2, u64::MAX));
    assert_eq!(sig.mrsigner(), <[u8; 32]>::from(Sha256::digest(&bytes[128..512])));
    assert_eq!(sig.verify_signature(), Ok(()));
}

#[test]
fn form_is_checked_before_anything_else() {
    let good = example();
    let refused = |what: &str, at: usize| {
        let mut bad = good;
        bad[at] ^= 0x40;
        match Sigstruct::from_bytes(&bad) {
            Err(EinitError::SigStruct(named)) => assert!(named.starts_with(what), "byte {at}: {named}"),
            other => panic!("byte {at}: {other:?}"),
        }
    };
    (0..16).for_each(|i| refused("HEADER", i));
    (16..20).for_each(|i| refused("VENDOR", i));
    (24..40).for_each(|i| refused("HEADER2", i));
    (512..516).for_each(|i| refused("EXPONENT", i));
    for reserved in [44..128, 908..928, 992..1024, 1028..1040] {
        reserved.for_each(|i| refused("a reserved field", i));
    }
    let mut intel = good;
    intel[16..18].copy_from_slice(&[0x86, 0x80]);
    sign(&mut intel);
    assert_eq!(Sigstruct::from_bytes(&intel).unwrap().verify_signature(), Ok(()));
}

#[test]
fn a_changed_byte_anywhere_breaks_form_or_signature() {
    let good = example();
    for at in 0..Sigstruct::LEN {
        // Every byte of the small fields; of the four long numbers one in sixteen.
        if matches!(at, 128..512 | 516..900 | 1040..) && at % 16 != 4 {
            continue;
        }
        let mut bad = good;
        bad[at] ^= 1;
        let outcome = Sigstruct::from_bytes(&bad).and_then(|s| s.verify_signature());
        assert!(outcome.is_err(), "byte {at}");
    }
}

#[test]
fn numbers_without_sense_are_refused() {
    let good = example();
    for (at, value) in [(at::MODULUS, 0), (at::MODULUS, 0xff), (at::SIGNATURE, 0), (at::SIGNATURE, 0xff)] {
        let mut bad = good;
        bad[at..at + KEY_BYTES].fill(value);
        assert_eq!(Sigstruct::from_bytes(&bad).unwrap().verify_signature(), Err(EinitError::Signature));
    }
}

/// The signature plus the modulus has the same remainders, and would be a second signature.
#[test]
fn a_signature_beyond_the_modulus_is_refused() {
    let modulus = U3072::from_be_hex(TEST_MODULUS);
    let divisor = modulus.to_nz().unwrap();
    // Only a small signature leaves room for the sum and its quotients.
    let second = (0..200).find_map(|defined| {
        let mut bytes = example_form();
        put(&mut bytes, 40, &u32::to_le_bytes(defined));
        sign(&mut bytes);
        let sum = U3072::from_le_slice(&bytes[516..900]).checked_add(&modulus).into_option()?;
        let square: U6144 = sum.concatenating_square();
        let (q1, rest) = square.div_rem_vartime(&divisor);
        let cube: U6144 = sum.concatenating_mul(&rest);
        let (q2, _) = cube.div_rem_vartime(&divisor);
        let fits = |q: &U6144| q.bits_vartime() <= 3072;
        put(&mut bytes, at::SIGNATURE, sum.to_le_bytes().as_slice());
        put(&mut bytes, at::Q1, &q1.to_le_bytes().as_slice()[..KEY_BYTES]);
        put(&mut bytes, at::Q2, &q2.to_le_bytes().as_slice()[..KEY_BYTES]);
        (fits(&q1) && fits(&q2)).then_some(bytes)
    });
    let sig = Sigstruct::from_bytes(&second.unwrap()).unwrap();
    assert_eq!(sig.verify_signature(), Err(EinitError::Signature));
}

/// Pins signature, Q1 and Q2 to what OpenSSL and Python's integers make of the same SIGSTRUCT.
#[test]
fn the_signature_is_the_one_that_other_tools_make() {
    let digest: String = Sha256::digest(example()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "f021c201250d5d0e587a6187dc876f0c30d1798dd631e95cab8e364850ee6295");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the bytes, reading and verifying end with an answer.
    #[test]
    fn any_numbers_get_an_answer(noise in prop::collection::vec(any::<u8>(), 4 * KEY_BYTES)) {
        let mut bytes = example_form();
        for (at, number) in [at::MODULUS, at::SIGNATURE, at::Q1, at::Q2].into_iter().zip(noise.chunks(KEY_BYTES)) {
            put(&mut bytes, at, number);
        }
        prop_assert_eq!(Sigstruct::from_bytes(&bytes).unwrap().verify_signature(), Err(EinitError::Signature));
    }
}

fn example_form() -> [u8; Sigstruct::LEN] {
    let mut bytes = [0; Sigstruct::LEN];
    put(&mut bytes, at::HEADER, &HEADER);
    put(&mut bytes, at::HEADER2, &HEADER2);
    put(&mut bytes, at::EXPONENT, &3u32.to_le_bytes());
    bytes
}
