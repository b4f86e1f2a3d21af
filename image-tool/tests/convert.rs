//! What becomes of a program: which pages, with which permissions, measured or not.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod support;

use image_tool::{ConvertError, convert, mrenclave};
use support::*;

const REG_R: u64 = 0x201;
const REG_RW: u64 = 0x203;
const REG_RX: u64 = 0x205;
const REG_RWX: u64 = 0x207;
const TCS: u64 = 0x100;

fn converted(policy: &[u8]) -> (u64, Vec<Page>) {
    let image = convert(&Program::default().link(), &parameters(), policy).unwrap();
    let (frame, size, pages) = pages(&image.sgxs);
    assert_eq!((frame, size, image.code), (1, image.size, CODE_LEN));
    (size, pages)
}

fn page(pages: &[Page], offset: u64) -> &Page {
    pages.iter().find(|page| page.offset == offset).unwrap_or_else(|| panic!("no page at {offset:#x}"))
}

fn word(pages: &[Page], address: u64) -> u64 {
    let content = page(pages, address & !0xfff).content.as_ref().unwrap();
    let at = (address & 0xfff) as usize;
    u64::from_le_bytes(content[at..at + 8].try_into().unwrap())
}

#[test]
fn segments_keep_their_permissions_and_are_measured() {
    let (_, pages) = converted(b"policy");
    for (offset, flags) in [
        (0, REG_R),
        (RODATA, REG_R),
        (0x1_2000, REG_R),
        (0x1_4000, REG_RX),
        (0x1_b000, REG_RW),
        (0x1_d000, REG_RW),
    ] {
        let page = page(&pages, offset);
        assert_eq!(page.flags, flags, "{offset:#x}");
        assert!(page.content.is_some(), "{offset:#x}");
    }
    let file = Program::default().link();
    let data = page(&pages, 0x1_b000).content.as_ref().unwrap();
    assert!(data[..0x80].iter().all(|&b| b == 0), "before the segment");
    assert_eq!(data[0x80..0x180], file[DATA_FILE as usize..][..0x100]);
    assert!(data[0x180..].iter().all(|&b| b == 0), "zeros behind the data are measured");
    assert!(page(&pages, 0x1_c000).content.as_ref().unwrap().iter().all(|&b| b == 0));
    let text = page(&pages, 0x1_4000).content.as_ref().unwrap();
    assert_eq!(text[0x10..0x100], file[TEXT_FILE as usize..][..0xf0]);
}

#[test]
fn code_pool_heap_stacks_and_save_areas_are_added_unmeasured() {
    let (_, pages) = converted(b"");
    let unmeasured = |from: u64, len: u64, flags: u64| {
        for offset in (from..from + len).step_by(0x1000) {
            assert_eq!(*page(&pages, offset), Page { offset, flags, content: None });
        }
    };
    unmeasured(CODE, CODE_LEN, REG_RWX);
    let heap = END.next_multiple_of(0x1000);
    unmeasured(heap, 0x10_0000, REG_RW);
    for thread in 0..3 {
        let guard = heap + 0x10_0000 + thread * 0x2_3000;
        assert!(!pages.iter().any(|p| (guard..guard + 0x1_0000).contains(&p.offset)), "a guard has no page");
        unmeasured(guard + 0x1_0000, 0x1_0000, REG_RW);
        unmeasured(guard + 0x2_2000, 0x1000, REG_RW);
    }
    let unmeasured = pages.iter().filter(|p| p.content.is_none()).count() as u64;
    assert_eq!(unmeasured, (CODE_LEN + 0x10_0000 + 3 * 0x1_1000) / 0x1000, "and nothing else");
}

#[test]
fn each_thread_has_a_tcs_that_points_to_its_own_pages() {
    let (_, pages) = converted(b"");
    let heap = END.next_multiple_of(0x1000);
    let tcs: Vec<_> = pages.iter().filter(|p| p.flags == TCS).collect();
    assert_eq!(tcs.len(), 3);
    for (n, tcs) in tcs.into_iter().enumerate() {
        let tls = heap + 0x10_0000 + n as u64 * 0x2_3000 + 0x2_0000;
        assert_eq!(tcs.offset, tls + 0x1000);
        let field = |at: u64| word(&pages, tcs.offset + at);
        assert_eq!(field(0), 0, "STATE");
        assert_eq!(field(8), 0, "FLAGS");
        assert_eq!(field(16), tls + 0x2000, "OSSA");
        assert_eq!(field(24), 1 << 32, "CSSA 0, NSSA 1");
        assert_eq!(field(32), TEXT + 8, "OENTRY");
        assert_eq!((field(48), field(56)), (tls, tls), "OFSBASGX, OGSBASGX");
        assert_eq!(field(64), 0xfff_0000_0fff, "FSLIMIT, GSLIMIT");
        assert!(tcs.content.as_ref().unwrap()[72..].iter().all(|&b| b == 0));
        assert_eq!(page(&pages, tls).flags, REG_RW);
        assert_eq!(word(&pages, tls), tls, "the top of the stack");
        assert_eq!(word(&pages, tls + 8), u64::from(n != 0), "secondary, but the first");
    }
}

#[test]
fn what_the_entry_code_asks_is_filled_in() {
    let (size, pages) = converted(b"");
    let heap = END.next_multiple_of(0x1000);
    let end = heap + 0x10_0000 + 3 * 0x2_3000;
    assert_eq!(size, end.next_power_of_two());
    for (name, value) in [
        ("HEAP_BASE", heap),
        ("HEAP_SIZE", 0x10_0000),
        ("RELA", RELA),
        ("RELACOUNT", 2),
        ("ENCLAVE_SIZE", size),
        ("CFGDATA_BASE", end),
        ("DEBUG", 0),
        ("TEXT_BASE", TEXT),
        ("TEXT_SIZE", 0xf0),
        ("EH_FRM_OFFSET", EH_FRAME),
        ("EH_FRM_LEN", 0x84),
        ("EH_FRM_HDR_OFFSET", EH_FRAME_HDR),
        ("EH_FRM_HDR_LEN", 0x10),
    ] {
        assert_eq!(word(&pages, spliced(name)), value, "{name}");
    }
    let debug = changed_parameters("debug = false", "debug = true");
    let image = convert(&Program::default().link(), &debug, b"").unwrap();
    assert_eq!(word(&support::pages(&image.sgxs).2, spliced("DEBUG")), 1);
}

/// It holds a system call, which an enclave cannot make.
#[test]
fn code_for_an_ordinary_process_becomes_traps() {
    let (_, pages) = converted(b"");
    let text = page(&pages, 0x1_4000).content.as_ref().unwrap();
    assert!(text[0x100..0x130].iter().all(|&b| b == 0xcc));
}

#[test]
fn the_policy_changes_its_page_and_the_measurement_and_nothing_else() {
    let elf = Program::default().link();
    let one = convert(&elf, &parameters(), b"one policy").unwrap().sgxs;
    let two = convert(&elf, &parameters(), b"two policies").unwrap().sgxs;
    assert_ne!(mrenclave(&one).unwrap(), mrenclave(&two).unwrap());
    let (one, two) = (pages(&one), pages(&two));
    assert_eq!((one.0, one.1), (two.0, two.1));
    let differing: Vec<_> =
        one.2.iter().zip(&two.2).filter(|(a, b)| a != b).map(|(a, b)| (a.offset, b.offset)).collect();
    assert_eq!(differing, [(POLICY, POLICY)]);
    let content = page(&one.2, POLICY).content.as_ref().unwrap();
    assert_eq!(content[..8], 10_u64.to_le_bytes());
    assert_eq!(&content[8..18], b"one policy");
    assert!(content[18..].iter().all(|&b| b == 0));
    assert_eq!(page(&one.2, POLICY).flags, REG_R, "read-only");
}

#[test]
fn the_longest_policy_fits_and_a_longer_one_is_refused() {
    let elf = Program::default().link();
    let longest = vec![b'x'; 64 << 10];
    let (_, _, pages) = pages(&convert(&elf, &parameters(), &longest).unwrap().sgxs);
    let page_content = |n: u64| page(&pages, POLICY + n * 0x1000).content.clone().unwrap();
    assert_eq!(page_content(15), vec![b'x'; 4096]);
    assert_eq!(page_content(16)[..8], *b"xxxxxxxx");
    assert_eq!(page_content(16)[8..], [0; 4088]);
    let outcome = convert(&elf, &parameters(), &vec![b'x'; (64 << 10) + 1]);
    assert!(matches!(outcome, Err(ConvertError::PolicyTooLarge(65537))), "{outcome:?}");
}

#[test]
fn an_ordinary_program_converts_with_no_policy_only() {
    let ordinary = Program::default().without_section(".enclave_os_policy").without_section(".wasm_code");
    let ordinary = Program {
        segments: ordinary.segments.iter().filter(|s| s.address != CODE).cloned().collect(),
        ..ordinary
    }
    .link();
    let image = convert(&ordinary, &parameters(), b"").unwrap();
    assert_eq!(image.code, 0);
    assert!(matches!(convert(&ordinary, &parameters(), b"x"), Err(ConvertError::NoPolicyPage)));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let make = || convert(&Program::default().link(), &parameters(), b"policy").unwrap();
    assert_eq!(make(), make());
}

/// A compiler names internal functions by where it ran; what is loaded does not say so.
#[test]
fn names_of_what_is_inside_are_not_measured() {
    let one = Program::default();
    let mut other = one.clone();
    let symbol = Symbol { name: "internal.llvm.10297293262858266307", address: TEXT, size: 8, global: false };
    other.symbols.push(symbol);
    let [one, other] = [one, other].map(|program| {
        let elf = program.link();
        (elf[..64].to_vec(), convert(&elf, &parameters(), b"").unwrap())
    });
    assert_ne!(one.0, other.0, "the header says where the section headers are");
    assert_eq!(one.1, other.1);
    let (_, _, pages) = pages(&one.1.sgxs);
    assert_eq!(word(&pages, 0x28), 0, "e_shoff");
    assert_eq!(word(&pages, 0x38), word(&pages, 0x38) & 0xffff_ffff, "e_shnum, e_shstrndx");
    assert_eq!(
        page(&pages, 0).content.as_ref().unwrap()[..0x28],
        one.0[..0x28],
        "the rest of it is as it was"
    );
}

/// Each parameter that is in the pages changes the measurement.
#[test]
fn parameters_are_measured() {
    let elf = Program::default().link();
    let measured = |parameters| mrenclave(&convert(&elf, &parameters, b"").unwrap().sgxs).unwrap();
    let changes = [
        ("heap = 0x10_0000", "heap = 0x10_1000"),
        ("stack = 0x1_0000", "stack = 0x1_1000"),
        ("threads = 3", "threads = 4"),
        ("debug = false", "debug = true"),
    ];
    let mut seen = vec![measured(parameters())];
    for (from, to) in changes {
        let mrenclave = measured(changed_parameters(from, to));
        assert!(!seen.contains(&mrenclave), "{to}");
        seen.push(mrenclave);
    }
    // What the signature says is not in the pages.
    assert_eq!(measured(changed_parameters("isv_svn = 0x304", "isv_svn = 5")), seen[0]);
}

#[test]
fn what_is_no_stream_has_no_measurement() {
    let sgxs = convert(&Program::default().link(), &parameters(), b"").unwrap().sgxs;
    for bad in [&sgxs[..0], &sgxs[..63], &sgxs[64..], &sgxs[..sgxs.len() - 1], b"not an SGXS stream at all"] {
        assert!(mrenclave(bad).is_err(), "{} bytes", bad.len());
    }
    let mut twice = sgxs.clone();
    twice.extend_from_slice(&sgxs);
    assert!(mrenclave(&twice).is_err());
}

#[test]
fn differing_builds_are_told_by_section() {
    let one = Program::default();
    let mut other = one.clone();
    other.patches.push((TEXT_FILE + 5, 0));
    other.section(".eh_frame").size += 4;
    let differences = image_tool::differences(&one.link(), &other.link()).unwrap();
    let text = differences.iter().find(|d| d.section == ".text").unwrap();
    assert_eq!((text.first, text.sizes), (5, (0xf0, 0xf0)));
    let frame = differences.iter().find(|d| d.section == ".eh_frame").unwrap();
    assert_eq!(frame.sizes, (0x84, 0x88));
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(image_tool::differences(&one.link(), &one.link()).unwrap(), []);
    assert!(image_tool::differences(&one.link(), b"not ELF").is_err());
}
