//! What a signature says, who may make it, and that a CPU takes it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod support;

use image_tool::{
    DEVELOPMENT_KEY_FILE_NAME, KeyError, Parameters, PublicKey, SIGSTRUCT_LEN, SignError, SigningKey,
    Unsigned, assemble, convert, mrenclave, mrsigner, sign,
};
use sgx_emu::{EinitError, EnclaveState, Secinfo, Secs, Sigstruct, UninitializedEnclave};
use sha2::{Digest, Sha256};
use support::*;

const TEST_KEY: &str = include_str!("keys/test-only.pem");
/// In the other encoding (PKCS#1).
const OTHER_KEY: &str = include_str!("keys/other-test-only.pem");

fn key() -> SigningKey {
    SigningKey::from_pem(TEST_KEY).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Builds an image as a CPU does, with other attributes if asked, and starts it.
fn launched(
    sgxs: &[u8],
    sigstruct: &[u8; SIGSTRUCT_LEN],
    flags: u64,
    xfrm: u64,
    misc_select: u32,
) -> Result<EnclaveState, EinitError> {
    built(sgxs, flags, xfrm, misc_select).einit(&Sigstruct::from_bytes(sigstruct)?)
}

fn built(sgxs: &[u8], flags: u64, xfrm: u64, misc_select: u32) -> UninitializedEnclave {
    let (ssa_frame_size, size, pages) = pages(sgxs);
    let attributes = sgx_emu::attributes(flags, xfrm);
    let mut enclave =
        UninitializedEnclave::ecreate(Secs { size, ssa_frame_size, attributes, misc_select }).unwrap();
    for page in pages {
        let mut secinfo = [0; Secinfo::LEN];
        secinfo[..8].copy_from_slice(&page.flags.to_le_bytes());
        let secinfo = Secinfo::from_bytes(&secinfo).unwrap();
        let mut content = [0; 4096];
        content.copy_from_slice(page.content.as_deref().unwrap_or(&[0; 4096]));
        enclave.eadd(page.offset, secinfo, &mut content).unwrap();
        for (n, chunk) in content.as_chunks::<256>().0.iter().enumerate().filter(|_| page.content.is_some()) {
            enclave.eextend(page.offset + n as u64 * 256, chunk).unwrap();
        }
    }
    enclave
}

fn signed_image(parameters: &Parameters) -> (Vec<u8>, [u8; SIGSTRUCT_LEN]) {
    let sgxs = convert(&Program::default().link(), parameters, b"policy").unwrap().sgxs;
    let sigstruct = sign(&Unsigned::new(mrenclave(&sgxs).unwrap(), parameters), &key()).unwrap();
    (sgxs, sigstruct)
}

const MODE64BIT: u64 = 4;
const DEBUG: u64 = 2;

#[test]
fn a_cpu_measures_what_we_measure_and_takes_the_signature() {
    let (sgxs, sigstruct) = signed_image(&parameters());
    let state = launched(&sgxs, &sigstruct, MODE64BIT, 7, 0).unwrap();
    assert_eq!(state.mrenclave, mrenclave(&sgxs).unwrap());
    assert_eq!(state.mrsigner, mrsigner(&sigstruct));
    assert_eq!((state.isv_prod_id, state.isv_svn), (0x102, 0x304));
    assert!(!state.debug());
}

/// MRENCLAVE is the same in all of these: it is the signature that refuses (DESIGN D14).
#[test]
fn no_other_attributes_launch() {
    let (sgxs, sigstruct) = signed_image(&parameters());
    for (flags, xfrm, misc_select, what) in [
        (MODE64BIT | DEBUG, 7, 0, "ATTRIBUTES"),
        (MODE64BIT | 1 << 4, 7, 0, "ATTRIBUTES"),
        (MODE64BIT | 1 << 5, 7, 0, "ATTRIBUTES"),
        (MODE64BIT, 3, 0, "ATTRIBUTES"),
        (MODE64BIT, 0xe7, 0, "ATTRIBUTES"),
        (MODE64BIT, 7, 1, "MISCSELECT"),
    ] {
        let outcome = launched(&sgxs, &sigstruct, flags, xfrm, misc_select);
        assert_eq!(outcome, Err(EinitError::Attribute(what)), "{flags:#x} {xfrm:#x} {misc_select}");
    }
}

#[test]
fn a_debug_image_launches_as_one_only() {
    let debug = changed_parameters("debug = false", "debug = true");
    let (sgxs, sigstruct) = signed_image(&debug);
    assert!(launched(&sgxs, &sigstruct, MODE64BIT | DEBUG, 7, 0).unwrap().debug());
    let outcome = launched(&sgxs, &sigstruct, MODE64BIT, 7, 0);
    assert_eq!(outcome, Err(EinitError::Attribute("ATTRIBUTES")));
}

#[test]
fn a_changed_page_does_not_launch() {
    let (mut sgxs, sigstruct) = signed_image(&parameters());
    // The first byte that a record of content holds.
    let at = sgxs.windows(8).position(|w| w == b"EEXTEND\0").unwrap() + 64;
    sgxs[at] ^= 1;
    assert_eq!(launched(&sgxs, &sigstruct, MODE64BIT, 7, 0), Err(EinitError::Measurement));
}

#[test]
fn two_steps_sign_as_one_does() {
    let unsigned = Unsigned::new([0xe5; 32], &parameters());
    let one_step = sign(&unsigned, &key()).unwrap();
    // The signer elsewhere has the material and the key; what comes back is big-endian.
    let mut signature: Vec<u8> = one_step[516..900].to_vec();
    signature.reverse();
    let public = PublicKey::from_pem(&key().public().to_pem().unwrap()).unwrap();
    assert_eq!(assemble(&unsigned, &public, &signature).unwrap(), one_step);
    assert_eq!(unsigned.material(), [&one_step[..128], &one_step[900..1028]].concat());
}

/// Pins the whole SIGSTRUCT to what OpenSSL's signature and Python's integers make of the same fields.
#[test]
fn the_sigstruct_is_the_one_that_other_tools_make() {
    let sigstruct = sign(&Unsigned::new([0xe5; 32], &parameters()), &key()).unwrap();
    assert_eq!(
        hex(&Sha256::digest(sigstruct)),
        "b8c03effb36777beb2520115bb5403b8fa3764ca2b3dca84fe8d136d884c3217"
    );
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let unsigned = Unsigned::new([0xe5; 32], &parameters());
    let mut signature = sign(&unsigned, &key()).unwrap()[516..900].to_vec();
    signature.reverse();
    let refused = |unsigned: &Unsigned, key: &PublicKey, signature: &[u8]| {
        let outcome = assemble(unsigned, key, signature);
        assert!(matches!(outcome, Err(SignError::Signature(len)) if len == signature.len()), "{outcome:?}");
    };
    let public = key().public();
    refused(&unsigned, &public, &[&signature[..383], &[signature[383] ^ 1]].concat());
    refused(&unsigned, &public, &signature[..383]);
    refused(&unsigned, &public, &[&[0], &signature[..]].concat());
    refused(&unsigned, &public, &[0xff; 384]);
    refused(&unsigned, &public, &[]);
    refused(&unsigned, &SigningKey::from_pem(OTHER_KEY).unwrap().public(), &signature);
    refused(&Unsigned::new([0xe4; 32], &parameters()), &public, &signature);
    refused(&Unsigned::new([0xe5; 32], &changed_parameters("0x304", "0x305")), &public, &signature);
    let little_endian: Vec<u8> = signature.iter().rev().copied().collect();
    refused(&unsigned, &public, &little_endian);
}

#[test]
fn keys_that_cannot_sign_an_image_are_refused() {
    let private = |pem: &str| SigningKey::from_pem(pem).map(drop);
    assert!(matches!(private(include_str!("keys/short-test-only.pem")), Err(KeyError::Size(2048))));
    match private(include_str!("keys/exponent-65537-test-only.pem")) {
        Err(KeyError::Exponent(exponent)) => assert_eq!(exponent, "65537"),
        other => panic!("{other:?}"),
    }
    let cut = &TEST_KEY[..TEST_KEY.len() / 2];
    let public = key().public().to_pem().unwrap();
    for pem in ["", "not PEM", cut, &public] {
        assert!(matches!(private(pem), Err(KeyError::Pem(_))), "{pem}");
    }
    for pem in ["", "not PEM", TEST_KEY, OTHER_KEY] {
        assert!(matches!(PublicKey::from_pem(pem), Err(KeyError::Pem(_))), "{pem}");
    }
}

#[test]
fn builds_that_begin_together_sign_with_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| SigningKey::development(folder.path()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(keys.iter().filter(|(_, made)| *made).count(), 1);
    assert!(keys.iter().all(|(key, _)| key.public() == keys[0].0.public()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn the_development_key_is_made_once_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(DEVELOPMENT_KEY_FILE_NAME);
    let (first, made) = SigningKey::development(folder.path()).unwrap();
    assert!(made);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (second, made) = SigningKey::development(folder.path()).unwrap();
    assert!(!made);
    assert_eq!(first.public(), second.public());
    sign(&Unsigned::new([1; 32], &parameters()), &second).unwrap();

    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(SigningKey::development(folder.path()), Err(KeyError::Exposed(_))));
    let missing = folder.path().join("missing");
    assert!(matches!(SigningKey::development(&missing), Err(KeyError::File { .. })));
}
