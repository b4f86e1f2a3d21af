//! What is loaded, and what is refused.

use std::sync::Arc;

use super::image::*;
use crate::machine::{Attributes, Enclave, LoadError};
use crate::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_MODE64BIT, BuildFault, EinitError, SgxsFault, Sigstruct, SoftwareCpu,
};

enclave_code!(leaves_at_once:
    "mov rbx, rcx"
    "mov eax, 4"
    "enclu"
);

fn image() -> Image {
    Image::new(leaves_at_once())
}

fn load(sgxs: &[u8], sigstruct: &[u8; Sigstruct::LEN], attributes: Attributes) -> Result<Enclave, LoadError> {
    Enclave::load(Arc::new(SoftwareCpu::ephemeral()), sgxs, sigstruct, attributes)
}

fn refused(sgxs: &[u8], sigstruct: &[u8; Sigstruct::LEN]) -> LoadError {
    load(sgxs, sigstruct, Attributes::Signed).unwrap_err()
}

#[test]
fn what_was_not_signed_is_refused() {
    let (sgxs, signed) = (image().sgxs(), image().signed());
    let mut changed = sgxs.clone();
    changed[64 + 64 + 64 + 5] ^= 1; // a byte of the first page
    assert!(matches!(refused(&changed, &signed), LoadError::Einit(EinitError::Measurement)));
    let more = image().page(0x5_0000, RW, &[]).sgxs();
    assert!(matches!(refused(&more, &signed), LoadError::Einit(EinitError::Measurement)));
    let fewer = &sgxs[..sgxs.len() - 64];
    assert!(matches!(refused(fewer, &signed), LoadError::Einit(EinitError::Measurement)));

    let mut other_key = signed;
    other_key[128] ^= 2;
    assert!(matches!(refused(&sgxs, &other_key), LoadError::Einit(EinitError::Signature)));
    let mut other_form = signed;
    other_form[0] ^= 1;
    assert!(matches!(refused(&sgxs, &other_form), LoadError::Einit(EinitError::SigStruct("HEADER"))));
}

#[test]
fn what_the_signer_fixed_the_host_cannot_change() {
    let with = |flags, xfrm, misc_select| {
        load(&image().sgxs(), &image().signed(), Attributes::Exactly { flags, xfrm, misc_select })
    };
    assert!(with(ATTRIBUTE_MODE64BIT, 3, 0).is_ok());
    let refused = |result: Result<Enclave, LoadError>| match result {
        Err(LoadError::Einit(EinitError::Attribute(what))) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(with(ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 3, 0)), "ATTRIBUTES");
    assert_eq!(refused(with(ATTRIBUTE_MODE64BIT, 7, 0)), "ATTRIBUTES");
    assert_eq!(refused(with(ATTRIBUTE_MODE64BIT, 3, 1)), "MISCSELECT");
    // Bit 62 of XCR0 is reserved for good.
    assert!(matches!(with(ATTRIBUTE_MODE64BIT, 3 | 1 << 62, 0), Err(LoadError::Xfrm { .. })));
}

#[test]
fn files_that_are_none_are_refused() {
    let (sgxs, signed) = (image().sgxs(), image().signed());
    let form = |sgxs: &[u8]| match refused(sgxs, &signed) {
        LoadError::Sgxs(error) => error.what,
        other => panic!("{other:?}"),
    };
    assert_eq!(form(&[]), SgxsFault::CutOff);
    assert_eq!(form(&sgxs[..sgxs.len() - 1]), SgxsFault::CutOff);
    assert_eq!(form(&sgxs[64..]), SgxsFault::UnexpectedTag);

    let twice = image().page(DATA, RW, &[]).sgxs();
    assert!(matches!(refused(&twice, &signed), LoadError::Build(BuildFault::PageValid(DATA))));
    let outside = image().page(0x10_0000, RW, &[]).sgxs();
    assert!(matches!(refused(&outside, &signed), LoadError::Build(BuildFault::OutsideEnclave(0x10_0000))));
    let write_only = image().page(0x5_0000, 2, &[]).sgxs();
    assert!(matches!(refused(&write_only, &signed), LoadError::Build(BuildFault::Secinfo(0x202))));
    for size in [0, 0x1000, 0x18_0000, 1 << 63] {
        let mut image = image();
        image.size = size;
        assert!(matches!(refused(&image.sgxs(), &signed), LoadError::Build(BuildFault::EnclaveSize(_))));
    }
}

#[test]
fn tcs_come_in_the_order_of_the_file() {
    let enclave = image().thread().thread().load();
    let offsets: Vec<_> = enclave.tcs().iter().map(|tcs| tcs - enclave.base()).collect();
    assert_eq!(offsets, [0x8000, 0xb000, 0xe000]);
    assert_eq!((enclave.size(), enclave.base() % enclave.size()), (0x10_0000, 0));
}

/// Pages in memory now.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_heap_takes_no_memory_until_it_is_used() {
    const PAGES: u64 = 1 << 18; // a gibibyte
    let mut image = image();
    image.size = 1 << 31;
    for page in 0..PAGES {
        image = image.page(0x10_0000 + page * 0x1000, RW, &[]);
    }
    let (sgxs, signed) = (image.sgxs(), image.signed());
    drop(image);
    let before = resident();
    let enclave = load(&sgxs, &signed, Attributes::Signed).unwrap();
    assert!(resident() - before < 4096, "{} pages", resident() - before);
    call(&enclave, 0, 0).exited();
}
