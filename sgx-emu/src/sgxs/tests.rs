use proptest::prelude::*;

use super::*;

fn block(tag: &[u8; 8], words: &[u64]) -> Vec<u8> {
    let mut bytes = tag.to_vec();
    bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    bytes.resize(BLOCK, 0);
    bytes
}

fn create() -> Vec<u8> {
    let mut bytes = ECREATE.to_vec();
    bytes.extend(2u32.to_le_bytes());
    bytes.extend(0x8000u64.to_le_bytes());
    bytes.resize(BLOCK, 0);
    bytes
}

fn chunk(tag: &[u8; 8], offset: u64, fill: u8) -> Vec<u8> {
    let mut bytes = block(tag, &[offset]);
    bytes.resize(BLOCK + CHUNK_SIZE, fill);
    bytes
}

/// The first error of a file, and how many pages came before it.
fn refused(parts: &[Vec<u8>]) -> (usize, SgxsError) {
    let file = [create(), parts.concat()].concat();
    let sgxs = Sgxs::parse(&file).unwrap();
    let mut pages = sgxs.pages();
    let good = pages.by_ref().take_while(|p| p.is_ok()).count();
    assert!(pages.next().is_none(), "nothing comes after an error");
    (good, sgxs.pages().find_map(Result::err).unwrap())
}

#[test]
fn pages_come_with_their_chunks() {
    let file = [
        create(),
        block(&EADD, &[0x1000, 0x205]),
        chunk(&EEXTEND, 0x1000, 1),
        chunk(&UNMEASURED, 0x1f00, 2),
        block(&EADD, &[0, 0x203]),
    ]
    .concat();
    let sgxs = Sgxs::parse(&file).unwrap();
    assert_eq!((sgxs.ssa_frame_size, sgxs.size), (2, 0x8000));
    let pages: Vec<_> = sgxs.pages().map(Result::unwrap).collect();
    assert_eq!(pages.iter().map(|p| p.offset).collect::<Vec<_>>(), [0x1000, 0]);
    assert_eq!(pages[0].secinfo[..2], [5, 2]);
    let chunks: Vec<_> = pages[0].chunks().map(|c| (c.offset, c.data[255], c.measured)).collect();
    assert_eq!(chunks, [(0x1000, 1, true), (0x1f00, 2, false)]);
    assert_eq!(pages[1].chunks().count(), 0);
}

#[test]
fn what_is_no_sgxs_file_is_refused_where_it_goes_wrong() {
    let page = || block(&EADD, &[0x1000, 0x203]);
    let error = |at, what| SgxsError { at, what };
    assert_eq!(Sgxs::parse(&[]).unwrap_err(), error(0, SgxsFault::CutOff));
    assert_eq!(Sgxs::parse(&page()).unwrap_err(), error(0, SgxsFault::UnexpectedTag));
    let mut reserved = create();
    reserved[63] = 1;
    assert_eq!(Sgxs::parse(&reserved).unwrap_err(), error(0, SgxsFault::Reserved));

    let unexpected = (0, error(64, SgxsFault::UnexpectedTag));
    assert_eq!(refused(&[block(b"EADD\0\0\0x", &[])]), unexpected);
    assert_eq!(refused(&[chunk(&EEXTEND, 0, 0)]), unexpected, "a chunk without a page");
    assert_eq!(refused(&[page(), create()]), (1, error(128, SgxsFault::UnexpectedTag)), "ECREATE is once");
    assert_eq!(refused(&[page(), vec![0; 63]]), (1, error(128, SgxsFault::CutOff)));

    let misplaced = |parts: &[Vec<u8>]| {
        let (good, error) = refused(parts);
        assert_eq!((good, error.what), (0, SgxsFault::ChunkOutOfPlace));
    };
    misplaced(&[page(), chunk(&EEXTEND, 0x0f00, 0)]);
    misplaced(&[page(), chunk(&EEXTEND, 0x2000, 0)]);
    misplaced(&[page(), chunk(&EEXTEND, 0x1080, 0)]);
    misplaced(&[page(), chunk(&EEXTEND, 0x1100, 0), chunk(&EEXTEND, 0x1100, 0)]);
    misplaced(&[page(), chunk(&UNMEASURED, 0x1100, 0), chunk(&EEXTEND, 0x1000, 0)]);
    misplaced(&[block(&EADD, &[u64::MAX - 0x80, 0x203]), chunk(&EEXTEND, 0x7f, 0)]);

    let cut = chunk(&EEXTEND, 0x1000, 0)[..300].to_vec();
    assert_eq!(refused(&[page(), cut]), (0, error(128, SgxsFault::CutOff)));
    let mut reserved = chunk(&EEXTEND, 0x1000, 0);
    reserved[16] = 1;
    assert_eq!(refused(&[page(), reserved]), (0, error(128, SgxsFault::Reserved)));
}

proptest! {
    /// Whatever the bytes, reading ends; what comes out lies where it says.
    #[test]
    fn any_bytes_get_an_answer(parts in prop::collection::vec(part(), 0..12), cut in any::<u16>()) {
        let mut file = [create(), parts.concat()].concat();
        file.truncate(file.len().saturating_sub(usize::from(cut) % 80));
        let Ok(sgxs) = Sgxs::parse(&file) else { return Ok(()) };
        for page in sgxs.pages().filter_map(Result::ok) {
            for chunk in page.chunks() {
                prop_assert!(chunk.offset - page.offset <= (PAGE_SIZE - CHUNK_SIZE) as u64);
            }
        }
    }
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let offset = prop_oneof![0u64..0x40, Just(u64::MAX >> 8)].prop_map(|n| n << 8);
    prop_oneof![
        3 => offset.clone().prop_map(|o| block(&EADD, &[o & !0xfff, 0x203])),
        4 => (offset.clone(), any::<u8>()).prop_map(|(o, fill)| chunk(&EEXTEND, o, fill)),
        1 => offset.prop_map(|o| chunk(&UNMEASURED, o, 0)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}
