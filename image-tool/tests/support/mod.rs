//! A small program for the enclave target, made without a compiler, so that each part of it can be wrong.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part, and may stop where it fails"
)]

use image_tool::Parameters;

pub const RODATA: u64 = 0x1000;
pub const RELA: u64 = 0x1100;
pub const EH_FRAME_HDR: u64 = 0x1200;
pub const EH_FRAME: u64 = 0x1210;
pub const DYNSYM: u64 = 0x1400;
pub const POLICY: u64 = 0x2000;
pub const POLICY_LEN: u64 = 17 * 0x1000;
pub const TEXT: u64 = 0x1_4010;
pub const TEXT_FILE: u64 = 0x1_3010;
pub const NO_SGX: u64 = 0x1_4100;
pub const CODE: u64 = 0x1_6000;
pub const CODE_LEN: u64 = 4 * 0x1000;
pub const DATA: u64 = 0x1_b080;
pub const DATA_FILE: u64 = 0x1_3180;
pub const DATA_LEN: u64 = 0x100;
pub const DYNAMIC: u64 = DATA + 0x40;
/// Past two pages from where the data starts.
pub const DATA_MEMORY: u64 = 0x2000;
pub const END: u64 = DATA + DATA_MEMORY;

pub const SPLICED: [&str; 13] = [
    "HEAP_BASE",
    "HEAP_SIZE",
    "RELA",
    "RELACOUNT",
    "ENCLAVE_SIZE",
    "CFGDATA_BASE",
    "DEBUG",
    "TEXT_BASE",
    "TEXT_SIZE",
    "EH_FRM_OFFSET",
    "EH_FRM_LEN",
    "EH_FRM_HDR_OFFSET",
    "EH_FRM_HDR_LEN",
];

/// Where a symbol that is filled in lies.
pub fn spliced(name: &str) -> u64 {
    RODATA + 8 * SPLICED.iter().position(|known| *known == name).unwrap() as u64
}

pub const PT_LOAD: u32 = 1;
pub const PT_DYNAMIC: u32 = 2;
pub const R: u32 = 4;
pub const W: u32 = 2;
pub const X: u32 = 1;

#[derive(Clone)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub in_file: u64,
    pub in_memory: u64,
}

#[derive(Clone)]
pub struct Section {
    pub name: &'static str,
    pub kind: u32,
    pub address: u64,
    pub offset: u64,
    pub size: u64,
}

#[derive(Clone)]
pub struct Symbol {
    pub name: &'static str,
    pub address: u64,
    pub size: u64,
    pub global: bool,
}

/// A program whose parts a test may change before it is put together.
#[derive(Clone)]
pub struct Program {
    pub machine: u16,
    pub kind: u16,
    pub segments: Vec<Segment>,
    pub sections: Vec<Section>,
    pub symbols: Vec<Symbol>,
    pub undefined: Option<&'static str>,
    /// Offset and type with symbol.
    pub relocations: Vec<(u64, u64)>,
    pub dynamic: Vec<(u64, u64)>,
    pub note: (&'static str, u32),
    /// Bytes to change in what lies in the file before the section headers.
    pub patches: Vec<(u64, u8)>,
}

impl Default for Program {
    fn default() -> Self {
        let load = |flags, offset, address, in_file, in_memory| Segment {
            kind: PT_LOAD,
            flags,
            offset,
            address,
            in_file,
            in_memory,
        };
        let section = |name, kind, address, offset, size| Section { name, kind, address, offset, size };
        let mut symbols: Vec<_> = SPLICED
            .into_iter()
            .map(|name| Symbol {
                name,
                address: spliced(name),
                size: if name == "DEBUG" { 1 } else { 8 },
                global: true,
            })
            .collect();
        for (name, address, size) in [
            ("sgx_entry", TEXT + 8, 0),
            ("ENCLAVE_OS_POLICY", POLICY, POLICY_LEN),
            ("ENCLAVE_OS_CODE_START", CODE, 0),
            ("ENCLAVE_OS_CODE_END", CODE + CODE_LEN, 0),
        ] {
            symbols.push(Symbol { name, address, size, global: true });
        }
        Self {
            machine: 62,
            kind: 3,
            segments: vec![
                load(R, 0, 0, 0x1_3000, 0x1_3000),
                load(R | X, TEXT_FILE, TEXT, 0x120, 0x120),
                load(R | W | X, 0x1_3130, CODE, 0, CODE_LEN),
                load(R | W, DATA_FILE, DATA, DATA_LEN, DATA_MEMORY),
                Segment {
                    kind: PT_DYNAMIC,
                    flags: R | W,
                    offset: DATA_FILE + 0x40,
                    address: DYNAMIC,
                    in_file: 0x80,
                    in_memory: 0x80,
                },
            ],
            sections: vec![
                section(".eh_frame_hdr", 1, EH_FRAME_HDR, EH_FRAME_HDR, 0x10),
                section(".eh_frame", 1, EH_FRAME, EH_FRAME, 0x84),
                section(".enclave_os_policy", 1, POLICY, POLICY, POLICY_LEN),
                section(".text", 1, TEXT, TEXT_FILE, 0xf0),
                section(".text_no_sgx", 1, NO_SGX, TEXT_FILE + 0xf0, 0x30),
                section(".wasm_code", 8, CODE, 0x1_3130, CODE_LEN),
            ],
            symbols,
            undefined: None,
            relocations: vec![(DATA, 8), (DATA + 8, 8)],
            dynamic: vec![(7, RELA), (8, 48), (9, 24), (0x6fff_fff9, 2), (0x1e, 2)],
            note: ("toolchain-version", 1),
            patches: Vec::new(),
        }
    }
}

impl Program {
    pub fn symbol(&mut self, name: &str) -> &mut Symbol {
        self.symbols.iter_mut().find(|symbol| symbol.name == name).unwrap()
    }

    pub fn section(&mut self, name: &str) -> &mut Section {
        self.sections.iter_mut().find(|section| section.name == name).unwrap()
    }

    pub fn without_section(mut self, name: &str) -> Self {
        self.sections.retain(|section| section.name != name);
        self
    }

    pub fn without_symbol(mut self, name: &str) -> Self {
        self.symbols.retain(|symbol| symbol.name != name);
        self
    }

    /// Puts the file together.
    pub fn link(&self) -> Vec<u8> {
        let mut file = vec![0; (DATA_FILE + DATA_LEN) as usize];
        for (at, byte) in file.iter_mut().enumerate().skip(TEXT_FILE as usize) {
            *byte = at as u8 | 1;
        }
        for (n, (offset, info)) in self.relocations.iter().enumerate() {
            put(&mut file, RELA + 24 * n as u64, &words(&[*offset, *info, 0x77]));
        }
        let dynamic: Vec<u64> = self.dynamic.iter().flat_map(|(tag, value)| [*tag, *value]).collect();
        put(&mut file, DYNAMIC - DATA + DATA_FILE, &words(&[dynamic, vec![0, 0]].concat()));
        for (at, byte) in &self.patches {
            file[*at as usize] = *byte;
        }

        // Behind what is loaded: the note, the symbols, the names, the section headers.
        let note_at = file.len() as u64;
        let mut note = [self.note.0.len() as u32 + 1, 4, 1].map(u32::to_le_bytes).concat();
        note.extend_from_slice(self.note.0.as_bytes());
        note.resize((note.len() + 1).next_multiple_of(4), 0);
        note.extend_from_slice(&self.note.1.to_le_bytes());
        file.extend_from_slice(&note);

        let mut names = Names(vec![0]);
        let mut dynsym = vec![0; 24];
        if let Some(name) = self.undefined {
            dynsym.extend(symbol(names.add(name), 0, 0, true, 0));
        }
        let mut symtab = vec![0; 24];
        // Local symbols come first, and are looked through.
        for s in self.symbols.iter().filter(|s| !s.global).chain(self.symbols.iter().filter(|s| s.global)) {
            symtab.extend(symbol(names.add(s.name), s.address, s.size, s.global, 1));
        }
        let mut sections = self.sections.clone();
        let mut add = |file: &mut Vec<u8>, name, kind, content: &[u8]| {
            sections.push(Section {
                name,
                kind,
                address: 0,
                offset: file.len() as u64,
                size: content.len() as u64,
            });
            file.extend_from_slice(content);
        };
        add(&mut file, ".dynsym", 11, &dynsym);
        add(&mut file, ".symtab", 2, &symtab);
        sections.push(Section {
            name: ".note.x86_64-fortanix-unknown-sgx",
            kind: 7,
            address: 0,
            offset: note_at,
            size: note.len() as u64,
        });
        let named: Vec<_> =
            sections.iter().map(|section| (names.add(section.name), section.clone())).collect();
        let names_name = names.add(".strtab");
        let (names_at, names_index) = (file.len() as u64, named.len() as u64 + 1);
        file.extend_from_slice(&names.0);

        let headers_at = file.len() as u64;
        file.extend_from_slice(&[0; 64]);
        for (name, s) in &named {
            let link = if matches!(s.kind, 2 | 11) { names_index as u32 } else { 0 };
            file.extend(section_header(*name, s, link));
        }
        let names =
            Section { name: ".strtab", kind: 3, address: 0, offset: names_at, size: headers_at - names_at };
        file.extend(section_header(names_name, &names, 0));

        let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        header.resize(16, 0);
        header.extend([self.kind, self.machine].map(u16::to_le_bytes).concat());
        header.extend(1_u32.to_le_bytes());
        header.extend(words(&[NO_SGX, 64, headers_at]));
        header.extend(0_u32.to_le_bytes());
        let counts = [64, 56, self.segments.len() as u16, 64, named.len() as u16 + 2, names_index as u16];
        header.extend(counts.map(u16::to_le_bytes).concat());
        for s in &self.segments {
            header.extend([s.kind, s.flags].map(u32::to_le_bytes).concat());
            header.extend(words(&[s.offset, s.address, s.address, s.in_file, s.in_memory, 0x1000]));
        }
        put(&mut file, 0, &header);
        file
    }
}

struct Names(Vec<u8>);

impl Names {
    fn add(&mut self, name: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        at
    }
}

fn symbol(name: u32, address: u64, size: u64, global: bool, section: u16) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend([u8::from(global) << 4, 0]);
    bytes.extend(section.to_le_bytes());
    bytes.extend(words(&[address, size]));
    bytes
}

fn section_header(name: u32, s: &Section, link: u32) -> Vec<u8> {
    let mut bytes = [name, s.kind].map(u32::to_le_bytes).concat();
    bytes.extend(words(&[2, s.address, s.offset, s.size]));
    bytes.extend([link, 1].map(u32::to_le_bytes).concat());
    bytes.extend(words(&[4, if link == 0 { 0 } else { 24 }]));
    bytes
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn put(file: &mut [u8], at: u64, bytes: &[u8]) {
    file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

/// Small parameters: 1 MiB of heap, 64 KiB of stack, three threads.
pub fn parameters() -> Parameters {
    changed_parameters("", "")
}

/// The same with one line replaced.
pub fn changed_parameters(from: &str, to: &str) -> Parameters {
    let text = "heap = 0x10_0000\nstack = 0x1_0000\nthreads = 3\nisv_prod_id = 0x102\nisv_svn = 0x304\n\
        debug = false\nxfrm = 7\ndate = 2026-01-31\ncpu = \"x86-64-v3\"\ncpu_features = [\"aes\"]\n";
    assert!(text.contains(from));
    Parameters::from_toml(&text.replacen(from, to, 1)).unwrap()
}

/// One page of an SGXS stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub offset: u64,
    /// SECINFO.FLAGS.
    pub flags: u64,
    /// What is measured with it, if it is.
    pub content: Option<Vec<u8>>,
}

/// ECREATE's SSAFRAMESIZE and SIZE, then the pages. Reads the format by itself (docs/formats/image.md).
pub fn pages(sgxs: &[u8]) -> (u32, u64, Vec<Page>) {
    let word = |at: usize| u64::from_le_bytes(sgxs[at..at + 8].try_into().unwrap());
    assert_eq!(&sgxs[..8], b"ECREATE\0");
    let frame = u32::from_le_bytes(sgxs[8..12].try_into().unwrap());
    let size = word(12);
    let (mut at, mut pages) = (64, Vec::<Page>::new());
    while at < sgxs.len() {
        match &sgxs[at..at + 8] {
            b"EADD\0\0\0\0" => {
                pages.push(Page { offset: word(at + 8), flags: word(at + 16), content: None });
                at += 64;
            }
            b"EEXTEND\0" => {
                let page = pages.last_mut().unwrap();
                let content = page.content.get_or_insert_default();
                assert_eq!(word(at + 8), page.offset + content.len() as u64, "chunks come in order");
                content.extend_from_slice(&sgxs[at + 64..at + 320]);
                at += 320;
            }
            other => panic!("record {other:?} at {at:#x}"),
        }
    }
    assert!(pages.iter().all(|p| p.content.as_ref().is_none_or(|c| c.len() == 4096)), "whole pages");
    (frame, size, pages)
}
