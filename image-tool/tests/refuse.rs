//! Programs that must not become images: each with one thing wrong, refused for that thing.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod support;

use image_tool::{ConvertError, ElfError, convert};
use proptest::prelude::*;
use support::*;

#[track_caller]
fn error(program: &Program) -> ElfError {
    match convert(&program.link(), &parameters(), b"") {
        Err(ConvertError::Elf(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The program with one change.
fn with(change: impl FnOnce(&mut Program)) -> Program {
    let mut program = Program::default();
    change(&mut program);
    program
}

#[test]
fn other_files() {
    for bytes in [&b""[..], b"not ELF", &[0x7f, b'E', b'L', b'F'], &[0; 4096]] {
        let outcome = convert(bytes, &parameters(), b"");
        assert!(matches!(outcome, Err(ConvertError::Elf(ElfError::Unreadable(_)))), "{outcome:?}");
    }
    assert!(matches!(error(&with(|p| p.machine = 183)), ElfError::Kind(_)));
    assert!(matches!(error(&with(|p| p.kind = 2)), ElfError::Kind(_)));
    assert!(matches!(
        error(&with(|p| p.segments.retain(|s| s.kind != PT_LOAD))),
        ElfError::CodePool(_) | ElfError::Kind(_)
    ));
}

#[test]
fn a_file_cut_anywhere() {
    let whole = Program::default().link();
    for len in (0..whole.len()).step_by(97).chain(whole.len() - 80..whole.len()) {
        let outcome = convert(&whole[..len], &parameters(), b"");
        assert!(matches!(outcome, Err(ConvertError::Elf(_))), "{len} of {} bytes", whole.len());
    }
}

#[test]
fn another_toolchain() {
    assert!(matches!(error(&with(|p| p.note.1 = 2)), ElfError::Toolchain(2)));
    let other = error(&with(|p| p.note.0 = "something-else"));
    assert!(matches!(other, ElfError::MissingSection(".note.x86_64-fortanix-unknown-sgx")), "{other}");
}

#[test]
fn missing_symbols_and_sections() {
    for name in SPLICED.into_iter().chain([
        "sgx_entry",
        "ENCLAVE_OS_POLICY",
        "ENCLAVE_OS_CODE_START",
        "ENCLAVE_OS_CODE_END",
    ]) {
        let missing = error(&Program::default().without_symbol(name));
        assert!(matches!(missing, ElfError::MissingSymbol(named) if named == name), "{missing}");
        let local = error(&with(|p| p.symbol(name).global = false));
        assert!(matches!(local, ElfError::MissingSymbol(named) if named == name), "{local}");
        let twice = error(&with(|p| {
            let again = p.symbol(name).clone();
            p.symbols.push(again);
        }));
        assert!(matches!(twice, ElfError::SymbolTwice(named) if named == name), "{twice}");
    }
    for name in [".text", ".eh_frame", ".eh_frame_hdr"] {
        let missing = error(&Program::default().without_section(name));
        assert!(matches!(missing, ElfError::MissingSection(named) if named == name), "{missing}");
    }
    for name in [".text", ".text_no_sgx", ".eh_frame", ".eh_frame_hdr"] {
        for address in [0x1_3000, CODE, END, u64::MAX - 0x10] {
            let outside = error(&with(|p| p.section(name).address = address));
            assert!(
                matches!(outside, ElfError::Section(_) | ElfError::MissingSection(_)),
                "{name}: {outside}"
            );
        }
    }
    let undefined = error(&with(|p| p.undefined = Some("malloc")));
    assert!(matches!(&undefined, ElfError::Undefined(name) if name == "malloc"), "{undefined}");
}

#[test]
fn symbols_that_cannot_be_filled_in() {
    for name in SPLICED {
        for address in [DATA, TEXT, CODE, 0x1_2ffc, u64::MAX - 2, END + 0x10_0000] {
            // DEBUG is one byte, for which there would be room.
            let address = if (name, address) == ("DEBUG", 0x1_2ffc) { 0x1_3000 } else { address };
            let outcome = error(&with(|p| p.symbol(name).address = address));
            assert!(matches!(outcome, ElfError::Symbol { .. }), "{name} at {address:#x}: {outcome}");
        }
        let outcome = error(&with(|p| p.symbol(name).size = 4));
        assert!(matches!(outcome, ElfError::Symbol { given: 4, .. }), "{name}: {outcome}");
    }
    for address in [RODATA, DATA, CODE, u64::MAX] {
        let outcome = error(&with(|p| p.symbol("sgx_entry").address = address));
        assert!(matches!(outcome, ElfError::Kind(_)), "{address:#x}: {outcome}");
    }
}

#[test]
fn what_the_entry_code_does_not_process() {
    for tag in [23, 20, 12, 25, 32, 13, 26, 17, 0x6fff_fffa, 36, 1] {
        let outcome = error(&with(|p| p.dynamic.push((tag, 1))));
        assert!(matches!(outcome, ElfError::Unsupported(_)), "dynamic tag {tag}: {outcome}");
    }
    for kind in [7, 3] {
        let outcome = error(&with(|p| {
            let segment = Segment { kind, ..p.segments[3].clone() };
            p.segments.push(segment);
        }));
        assert!(matches!(outcome, ElfError::Unsupported(_)), "segment type {kind}: {outcome}");
    }
}

#[test]
fn relocations_that_cannot_be_made() {
    for (offset, info) in [
        (DATA, 1),
        (DATA, 8 | 1 << 32),
        (RODATA, 8),
        (POLICY, 8),
        (TEXT, 8),
        (CODE, 8),
        (END - 4, 8),
        (END + 0x1000, 8),
        (u64::MAX - 3, 8),
    ] {
        let outcome = error(&with(|p| p.relocations[1] = (offset, info)));
        assert!(matches!(outcome, ElfError::Relocation { .. }), "{offset:#x} {info:#x}: {outcome}");
    }
    let dynamic = |tag: u64, value: u64| {
        error(&with(|p| p.dynamic.iter_mut().find(|(known, _)| *known == tag).unwrap().1 = value))
    };
    assert!(matches!(dynamic(0x6fff_fff9, 1), ElfError::Unsupported(_)), "not all are relative");
    assert!(matches!(dynamic(0x6fff_fff9, u64::MAX / 8), ElfError::Unsupported(_)));
    assert!(matches!(dynamic(7, DATA), ElfError::Kind(_)), "a table that the program could write");
    assert!(matches!(dynamic(7, u64::MAX - 8), ElfError::Kind(_)));
    assert!(matches!(error(&with(|p| p.dynamic.retain(|(tag, _)| *tag != 7))), ElfError::Kind(_)));
}

#[test]
fn segments_that_cannot_be_loaded() {
    let segment = |n: usize, change: fn(&mut Segment)| error(&with(|p| change(&mut p.segments[n])));
    let refused: [(&str, ElfError); 10] = [
        ("beyond the file", segment(3, |s| s.offset = 0x10_0000)),
        ("larger in the file", segment(3, |s| s.in_memory = 0x80)),
        ("no end", segment(3, |s| s.in_memory = u64::MAX)),
        ("out of reach", segment(3, |s| s.in_memory = u64::MAX - s.address)),
        ("too much to measure", segment(3, |s| s.in_memory = 1 << 30)),
        ("not readable", segment(3, |s| s.flags = W)),
        ("writable code", segment(1, |s| s.flags = R | W | X)),
        ("code at zero", segment(0, |s| s.flags = R | X)),
        ("out of order", segment(3, |s| s.address = 0x1_3000)),
        ("on one page", segment(3, |s| s.address = CODE + CODE_LEN - 1)),
    ];
    for (what, outcome) in refused {
        assert!(matches!(outcome, ElfError::Segment { .. } | ElfError::Symbol { .. }), "{what}: {outcome}");
    }
}

#[test]
fn a_code_pool_that_is_not_one() {
    let refused = |what: &str, change: fn(&mut Program)| {
        let outcome = error(&with(change));
        assert!(matches!(outcome, ElfError::CodePool(_) | ElfError::Segment { .. }), "{what}: {outcome}");
    };
    refused("content in the file", |p| p.section(".wasm_code").kind = 1);
    refused("empty", |p| p.section(".wasm_code").size = 0);
    refused("half a page", |p| p.section(".wasm_code").size -= 0x800);
    refused("unaligned", |p| p.section(".wasm_code").address += 8);
    refused("no end", |p| p.section(".wasm_code").size = u64::MAX - 0xfff);
    refused("more in the section", |p| p.symbol("ENCLAVE_OS_CODE_END").address -= 0x1000);
    refused("more in the segment", |p| p.segments[2].in_memory += 0x1000);
    refused("not executable", |p| p.segments[2].flags = R | W);
    refused("no segment", |p| p.segments.retain(|s| s.address != CODE));
}

#[test]
fn a_policy_page_that_is_not_one() {
    let refused = |what: &str, change: fn(&mut Program)| {
        let outcome = error(&with(change));
        assert!(matches!(outcome, ElfError::PolicyPage(_)), "{what}: {outcome}");
    };
    refused("too small", |p| p.section(".enclave_os_policy").size -= 0x1000);
    refused("symbol too small", |p| p.symbol("ENCLAVE_OS_POLICY").size = 8);
    refused("not at its start", |p| p.symbol("ENCLAVE_OS_POLICY").address += 0x1000);
    refused("filled already", |p| p.patches.push((POLICY + 9, 1)));
    refused("writable", |p| {
        p.segments[3].in_memory = 0x2_0000;
        p.section(".enclave_os_policy").address = 0x1_c000;
        p.symbol("ENCLAVE_OS_POLICY").address = 0x1_c000;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the linker wrote, there is an answer, and no panic.
    #[test]
    fn any_changed_bytes_get_an_answer(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut file = Program::default().link();
        // The headers, the dynamic section, the tables at the end: what is read, not what is carried.
        let interesting: Vec<usize> = (0..0x200).chain(0x1000..0x1200).chain(DATA_FILE as usize..file.len()).collect();
        for (index, byte) in changes {
            file[*index.get(&interesting)] = byte;
        }
        if let Ok(image) = convert(&file, &parameters(), b"policy") {
            prop_assert!(image_tool::mrenclave(&image.sgxs).is_ok());
        }
    }
}
