use proptest::prelude::*;
use sgx_isa::{PageType as IsaPageType, SecinfoFlags};
use sgxs::crypto::SgxHashOps;
use sgxs::sgxs::{Meas, MeasEAdd, MeasECreate, MeasEExtend, SecinfoTruncated, SgxsRead, SgxsWrite};
use sgxs::sigstruct::EnclaveHash;

use super::*;
use crate::attributes;

const R: u64 = 1;
const W: u64 = 2;
const X: u64 = 4;
const TCS: u64 = 0x100;
const REG: u64 = 0x200;
const PAGE: u64 = PAGE_SIZE as u64;

fn secs(size: u64) -> Secs {
    Secs { size, ssa_frame_size: 1, attributes: attributes(ATTRIBUTE_MODE64BIT, 7), misc_select: 0 }
}

fn secinfo(flags: u64) -> Secinfo {
    parsed(flags).unwrap()
}

fn parsed(flags: u64) -> Result<Secinfo, BuildFault> {
    let mut bytes = [0; Secinfo::LEN];
    bytes[..8].copy_from_slice(&flags.to_le_bytes());
    Secinfo::from_bytes(&bytes)
}

/// The hash that EDP's library asks its user for.
struct Hash(Sha256);

impl SgxHashOps for Hash {
    fn new() -> Self {
        Self(Sha256::new())
    }
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }
    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A page of an image under test: which of its sixteen chunks are measured, which only loaded.
#[derive(Clone, Debug)]
struct Page {
    number: u64,
    flags: u64,
    fill: u8,
    measured: u16,
    loaded: u16,
}

/// The SGXS stream of an image, written by EDP's library.
fn sgxs_stream(size: u64, ssa_frame_size: u32, pages: &[Page]) -> Vec<u8> {
    let mut out = Vec::new();
    out.write_meas(&Meas::ECreate(MeasECreate { size, ssaframesize: ssa_frame_size })).unwrap();
    for page in pages {
        let offset = page.number * PAGE;
        let flags = SecinfoFlags::from_bits(page.flags).unwrap();
        let secinfo = SecinfoTruncated { flags };
        out.write_meas(&Meas::EAdd(MeasEAdd { offset, secinfo })).unwrap();
        for chunk in 0..16 {
            let header = MeasEExtend { offset: offset + chunk * 256 };
            // A TCS is all zero but where nothing is reserved: OSSA.
            let mut data = [if page.flags & TCS != 0 { 0 } else { page.fill.wrapping_add(chunk as u8) }; 256];
            if page.flags & TCS != 0 && chunk == 0 {
                data[17] = page.fill;
            }
            if page.measured >> chunk & 1 != 0 {
                out.write_meas(&Meas::EExtend { header, data }).unwrap();
            } else if page.loaded >> chunk & 1 != 0 {
                out.write_meas(&Meas::Unmeasured { header, data }).unwrap();
            }
        }
    }
    out
}

/// Runs the stream through our leaves, as a loader would.
fn build(mut stream: &[u8], ssa_frame_size: u32) -> Result<UninitializedEnclave, BuildFault> {
    let mut enclave = None;
    while let Some(step) = stream.read_meas().unwrap() {
        match (step, &mut enclave) {
            (Meas::ECreate(header), None) => {
                assert_eq!({ header.ssaframesize }, ssa_frame_size);
                enclave = Some(UninitializedEnclave::ecreate(Secs { ssa_frame_size, ..secs(header.size) })?);
            }
            (Meas::EAdd(header), Some(enclave)) => {
                enclave.eadd(header.offset, parsed(header.secinfo.flags.bits())?, &mut [0; PAGE_SIZE])?;
            }
            (Meas::EExtend { header, data }, Some(enclave)) => enclave.eextend(header.offset, &data)?,
            (Meas::Unmeasured { .. }, Some(_)) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    Ok(enclave.unwrap())
}

fn agrees(size: u64, ssa_frame_size: u32, pages: &[Page]) {
    let stream = sgxs_stream(size, ssa_frame_size, pages);
    let theirs = EnclaveHash::from_stream::<_, Hash>(&mut &stream[..]).unwrap().hash();
    assert_eq!(build(&stream, ssa_frame_size).unwrap().mrenclave(), theirs);
}

#[test]
fn a_fully_measured_image_has_the_mrenclave_that_edp_computes() {
    let page = |number, flags| Page { number, flags, fill: number as u8, measured: 0xffff, loaded: 0 };
    agrees(0x8000, 1, &[page(0, REG | R | X), page(1, REG | R), page(2, REG | R | W), page(3, TCS)]);
}

#[test]
fn so_has_one_with_unmeasured_heap_and_a_code_pool() {
    let unmeasured = |number, flags| Page { number, flags, fill: 9, measured: 0, loaded: 0 };
    let mut pages = vec![Page { number: 0, flags: REG | R | X, fill: 1, measured: 0xffff, loaded: 0 }];
    pages.extend((1..200).map(|n| unmeasured(n, REG | R | W)));
    pages.extend((300..332).map(|n| unmeasured(n, REG | R | W | X)));
    pages.push(Page { number: 511, flags: REG, fill: 0, measured: 0, loaded: 0 });
    agrees(512 * PAGE, 2, &pages);
}

#[test]
fn so_has_one_with_partly_measured_pages_and_several_threads() {
    let pages: Vec<_> = (0..32)
        .map(|n| Page {
            number: 2 * n,
            flags: if n % 4 == 3 { TCS } else { REG | R | W },
            fill: 3 * n as u8,
            measured: 0x1111_u16.rotate_left(n as u32),
            loaded: 0x8421_u16.rotate_left(n as u32),
        })
        .collect();
    agrees(64 * PAGE, 1, &pages);
}

fn any_page() -> impl Strategy<Value = (u64, Page)> {
    let flags =
        prop::sample::select(vec![TCS, REG, REG | R, REG | R | W, REG | R | X, REG | R | W | X, REG | X]);
    (1..8_u64, flags, any::<u8>(), any::<u16>(), any::<u16>()).prop_map(
        |(gap, flags, fill, measured, loaded)| (gap, Page { number: 0, flags, fill, measured, loaded }),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_image_has_the_mrenclave_that_edp_computes(drawn in prop::collection::vec(any_page(), 0..20)) {
        let mut number = 0;
        let pages: Vec<_> = drawn
            .into_iter()
            .map(|(gap, page)| {
                number += gap;
                Page { number, ..page }
            })
            .collect();
        agrees(256 * PAGE, 1, &pages);
    }

    #[test]
    fn no_offset_is_taken_that_is_misaligned_or_outside(offset in any::<u64>(), flags in any::<u64>()) {
        let mut enclave = UninitializedEnclave::ecreate(secs(0x4000)).unwrap();
        let before = enclave.mrenclave();
        if offset % PAGE != 0 || offset >= 0x4000 {
            prop_assert!(enclave.eadd(offset, secinfo(REG | R), &mut [0; PAGE_SIZE]).is_err());
        }
        prop_assert!(enclave.eextend(offset, &[0; CHUNK_SIZE]).is_err(), "no page is there");
        prop_assert_eq!(enclave.mrenclave(), before, "what faults is not measured");
        // What is read as a SECINFO says exactly what was asked, but for a TCS.
        if let Ok(read) = parsed(flags) {
            prop_assert!(read.flags() == flags || read.page_type() == PageType::Tcs);
        }
    }
}

#[test]
fn what_ecreate_refuses() {
    let refused = |secs| UninitializedEnclave::ecreate(secs).unwrap_err();
    for size in [0, 1, PAGE, PAGE * 3, PAGE * 2 + 1, MAX_ENCLAVE_SIZE * 2, u64::MAX] {
        assert_eq!(refused(secs(size)), BuildFault::EnclaveSize(size));
    }
    let with = |flags, xfrm| Secs { attributes: attributes(flags, xfrm), ssa_frame_size: 9, ..secs(0x4000) };
    for flags in [0, 5, 4 | 8, 4 | 64, 4 | 128, 4 | 1 << 40] {
        assert_eq!(refused(with(flags, 3)), BuildFault::Attributes(flags));
    }
    // Without x87 or SSE, AVX-512 in parts or without AVX, AMX in parts, MPX, unknown.
    for xfrm in [0, 1, 2, 0x27, 0x67, 0xe3, 0x2_0007, 0xf, 1 << 63 | 3] {
        assert_eq!(refused(with(4, xfrm)), BuildFault::Xfrm(xfrm));
    }
    assert_eq!(refused(Secs { misc_select: 2, ..secs(0x4000) }), BuildFault::MiscSelect(2));
    let none = Secs { ssa_frame_size: 0, ..secs(0x4000) };
    assert_eq!(refused(none), BuildFault::SsaFrameSize { given: 0, needed: 1 });
    let amx = Secs { ssa_frame_size: 2, ..with(4, 0x6_02e7) };
    assert_eq!(refused(amx), BuildFault::SsaFrameSize { given: 2, needed: 3 });
    for good in [secs(0x2000), secs(MAX_ENCLAVE_SIZE), with(4 | 2 | 16 | 32, 0x6_02e7), with(4, 3)] {
        assert!(UninitializedEnclave::ecreate(good).is_ok());
    }
}

#[test]
fn what_eadd_and_eextend_refuse() {
    let mut enclave = UninitializedEnclave::ecreate(secs(0x4000)).unwrap();
    let page = &mut [0; PAGE_SIZE];
    let rw = secinfo(REG | R | W);
    assert_eq!(enclave.eadd(0x4000, rw, page), Err(BuildFault::OutsideEnclave(0x4000)));
    assert_eq!(enclave.eadd(0x800, rw, page), Err(BuildFault::Misaligned { offset: 0x800, alignment: 4096 }));
    enclave.eadd(0x3000, rw, page).unwrap();
    assert_eq!(enclave.eadd(0x3000, rw, page), Err(BuildFault::PageValid(0x3000)));
    assert_eq!(enclave.eextend(0x2f00, &[0; 256]), Err(BuildFault::NoPage(0x2f00)));
    let misaligned = BuildFault::Misaligned { offset: 0x3010, alignment: 256 };
    assert_eq!(enclave.eextend(0x3010, &[0; 256]), Err(misaligned));
    assert_eq!(enclave.eextend(0x3f00, &[0; 256]), Ok(()));
}

#[test]
fn what_secinfo_may_say() {
    let types = [IsaPageType::Secs, IsaPageType::Va, IsaPageType::Trim].map(|t| (t as u64) << 8);
    for page_type in types {
        assert_eq!(parsed(page_type), Err(BuildFault::Secinfo(page_type)), "type {page_type:#x}");
    }
    for flags in
        [REG | W, REG | W | X, REG | R | 8, REG | R | 16, REG | R | 32, REG | 64, REG | 128, REG | 1 << 16]
    {
        assert_eq!(parsed(flags), Err(BuildFault::Secinfo(flags)), "{flags:#x}");
    }
    for reserved in 8..Secinfo::LEN {
        let mut bytes = [0; Secinfo::LEN];
        bytes[1] = 2;
        bytes[reserved] = 1;
        assert_eq!(Secinfo::from_bytes(&bytes), Err(BuildFault::Secinfo(REG)), "byte {reserved}");
    }
    let rx = secinfo(REG | R | X);
    assert!(rx.readable() && !rx.writable() && rx.executable());
    let tcs = secinfo(TCS | R | W);
    assert_eq!(tcs.page_type(), PageType::Tcs);
    assert!(!tcs.readable() && !tcs.writable() && !tcs.executable(), "only the CPU uses a TCS");
}

#[test]
fn a_tcs_is_checked_and_its_cpu_fields_are_cleared() {
    let empty = UninitializedEnclave::ecreate(secs(0x4000)).unwrap();
    for reserved in [9, 15, 72, 80, 88, 4095] {
        let mut page = [0; PAGE_SIZE];
        page[reserved] = 1;
        let outcome = empty.clone().eadd(0, secinfo(TCS), &mut page);
        assert_eq!(outcome, Err(BuildFault::Tcs(0)), "byte {reserved}");
        assert_eq!(empty.clone().eadd(0, secinfo(REG | R), &mut page), Ok(()), "of data nothing is reserved");
    }
    let mut page = [0; PAGE_SIZE];
    page[..8].fill(0xff);
    page[8] = 1;
    page[16..72].fill(0xff);
    let mut enclave = empty;
    enclave.eadd(0, secinfo(TCS), &mut page).unwrap();
    for (i, &byte) in page.iter().enumerate() {
        let kept = matches!(i, 16..24 | 28..40 | 48..72);
        assert_eq!(byte, if kept { 0xff } else { 0 }, "byte {i}");
    }
}
