use sgx_isa::{AttributesFlags, Miscselect};
use sgxs::sigstruct::{EnclaveHash, Signer};

use super::*;
use crate::sigstruct::tests::{sign, signed_by_test_key};
use crate::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_MODE64BIT, KeyName, KeyPolicy, KeyRequest, SoftwareCpu, UninitializedEnclave,
    attributes,
};

fn secs() -> Secs {
    Secs { size: 0x4000, ssa_frame_size: 1, attributes: attributes(ATTRIBUTE_MODE64BIT, 7), misc_select: 0 }
}

/// A production signer: every attribute, every bit of XFRM and MISCSELECT is fixed.
fn strict(mrenclave: [u8; 32]) -> Signer {
    let mut signer = Signer::new(EnclaveHash::new(mrenclave));
    signer.attributes_flags(AttributesFlags::MODE64BIT, !0).attributes_xfrm(7, !0);
    signer.miscselect(Miscselect::empty(), !0).isvprodid(11).isvsvn(12);
    signer
}

fn launch(secs: Secs, signer: impl FnOnce([u8; 32]) -> Signer) -> Result<EnclaveState, EinitError> {
    let enclave = UninitializedEnclave::ecreate(secs).unwrap();
    let bytes = signed_by_test_key(&signer(enclave.mrenclave()));
    enclave.einit(&Sigstruct::from_bytes(&bytes)?)
}

#[test]
fn an_enclave_as_its_signer_described_it_starts() {
    let enclave = UninitializedEnclave::ecreate(secs()).unwrap();
    let mrenclave = enclave.mrenclave();
    let sig = Sigstruct::from_bytes(&signed_by_test_key(&strict(mrenclave))).unwrap();
    let state = enclave.einit(&sig).unwrap();
    let expected = EnclaveState {
        mrenclave,
        mrsigner: sig.mrsigner(),
        attributes: attributes(ATTRIBUTE_INIT | ATTRIBUTE_MODE64BIT, 7),
        misc_select: 0,
        isv_prod_id: 11,
        isv_svn: 12,
    };
    assert_eq!(state, expected);
    assert!(!state.debug());
}

#[test]
fn another_measurement_is_refused() {
    let other = launch(secs(), |mut m| {
        m[31] ^= 1;
        strict(m)
    });
    assert_eq!(other, Err(EinitError::Measurement));
}

#[test]
fn what_the_mask_covers_must_be_equal() {
    let debug = Secs { attributes: attributes(ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 7), ..secs() };
    let xfrm = Secs { attributes: attributes(ATTRIBUTE_MODE64BIT, 3), ..secs() };
    let misc = Secs { misc_select: 1, ..secs() };
    assert_eq!(launch(debug, strict), Err(EinitError::Attribute("ATTRIBUTES")));
    assert_eq!(launch(xfrm, strict), Err(EinitError::Attribute("ATTRIBUTES")));
    assert_eq!(launch(misc, strict), Err(EinitError::Attribute("MISCSELECT")));

    // The signer may ask for more than the host gave.
    let wants_debug = launch(secs(), |m| {
        let mut signer = strict(m);
        signer.attributes_flags(AttributesFlags::MODE64BIT | AttributesFlags::DEBUG, !0);
        signer
    });
    assert_eq!(wants_debug, Err(EinitError::Attribute("ATTRIBUTES")));
}

#[test]
fn what_the_mask_leaves_open_is_the_hosts_choice_and_is_recorded() {
    let open = |m| {
        let mut signer = strict(m);
        signer.attributes_flags(AttributesFlags::MODE64BIT, !ATTRIBUTE_DEBUG).attributes_xfrm(3, 3);
        signer.miscselect(Miscselect::empty(), !1);
        signer
    };
    let chosen = Secs {
        attributes: attributes(ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 0xe7),
        misc_select: 1,
        ..secs()
    };
    let state = launch(chosen, open).unwrap();
    assert!(state.debug());
    assert_eq!(state.attributes, attributes(ATTRIBUTE_INIT | ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 0xe7));
    assert_eq!(state.misc_select, 1);

    // A relaunch with DEBUG has the same MRENCLAVE and gets another sealing key.
    let production = launch(secs(), open).unwrap();
    assert_eq!(production.mrenclave, state.mrenclave);
    let cpu = SoftwareCpu::ephemeral();
    let request = KeyRequest {
        name: KeyName::SEAL,
        policy: KeyPolicy { mrenclave: true, mrsigner: false },
        isv_svn: 0,
        cpu_svn: cpu.cpu_svn(),
        attribute_mask: [0; 16],
        key_id: [0; 32],
        misc_mask: 0,
    };
    assert_ne!(cpu.egetkey(&production, &request), cpu.egetkey(&state, &request));
}

#[test]
fn changing_a_signed_field_without_the_key_is_an_invalid_signature() {
    let enclave = UninitializedEnclave::ecreate(secs()).unwrap();
    let good = signed_by_test_key(&strict(enclave.mrenclave()));
    // DATE, SWDEFINED, MISCSELECT, MISCMASK, ATTRIBUTES, ATTRIBUTEMASK, ENCLAVEHASH, ISVPRODID, ISVSVN,
    // then the key, the signature and the quotients themselves.
    for at in [20, 40, 900, 904, 928, 944, 960, 1024, 1026, 128, 516, 1040, 1424] {
        let mut bad = good;
        bad[at] ^= 1;
        let sig = Sigstruct::from_bytes(&bad).unwrap();
        assert_eq!(enclave.clone().einit(&sig), Err(EinitError::Signature), "byte {at}");
    }
    let mut newer = good;
    newer[1026] += 1;
    sign(&mut newer);
    assert_eq!(enclave.einit(&Sigstruct::from_bytes(&newer).unwrap()).unwrap().isv_svn, 13);
}

#[test]
fn of_several_faults_the_manuals_first_is_named() {
    let debug = Secs { attributes: attributes(ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 7), ..secs() };
    let enclave = UninitializedEnclave::ecreate(debug).unwrap();
    let mut bytes = signed_by_test_key(&strict([0; 32]));
    let outcome = |bytes: &[u8; Sigstruct::LEN]| {
        Sigstruct::from_bytes(bytes).and_then(|s| enclave.clone().einit(&s)).map_err(EinitError::code)
    };
    assert_eq!(outcome(&bytes), Err(4), "SGX_INVALID_MEASUREMENT");
    bytes[516] ^= 1;
    assert_eq!(outcome(&bytes), Err(8), "SGX_INVALID_SIGNATURE");
    bytes[0] ^= 1;
    assert_eq!(outcome(&bytes), Err(1), "SGX_INVALID_SIG_STRUCT");
    let bytes = signed_by_test_key(&strict(enclave.mrenclave()));
    assert_eq!(outcome(&bytes), Err(2), "SGX_INVALID_ATTRIBUTE");
}
