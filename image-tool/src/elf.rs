//! What a linked program for `x86_64-fortanix-unknown-sgx` consists of, and whether it is one.

use std::ops::Range;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, SectionHeader, SectionTable, Sym};

use crate::PAGE_SIZE;
use crate::convert::POLICY_PAGE_LEN;

const LE: LittleEndian = LittleEndian;

type Header = FileHeader64<LittleEndian>;

/// The version of the contract between std's entry code and this tool, from the note in the file.
const TOOLCHAIN_VERSION: u32 = 1;
const NOTE_SECTION: &str = ".note.x86_64-fortanix-unknown-sgx";
const CODE_SECTION: &str = ".wasm_code";
const POLICY_SECTION: &str = ".enclave_os_policy";
pub(crate) const POLICY_SYMBOL: &str = "ENCLAVE_OS_POLICY";

/// The farthest that code compiled for this target reaches.
const MAX_END: u64 = 2 << 30;
/// The largest segment that is measured. What starts as zeros and is larger belongs on the heap.
const MAX_MEASURED: u64 = 256 << 20;

/// Why a file is not a program that can become an image.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not ELF, or cut off.
    #[error("not a readable ELF file: {0}")]
    Unreadable(#[from] object::Error),
    /// Another kind of ELF.
    #[error("not a program for x86_64-fortanix-unknown-sgx: {0}")]
    Kind(&'static str),
    /// Made by another toolchain.
    #[error("the program says toolchain version {0}; this tool knows version {TOOLCHAIN_VERSION}")]
    Toolchain(u32),
    /// A section that std's entry code or the linker always makes.
    #[error("the program has no section `{0}`")]
    MissingSection(&'static str),
    /// A section outside of everything that is loaded.
    #[error("the section `{0}` does not lie in a segment of the program")]
    Section(&'static str),
    /// A symbol that is filled in or pointed to.
    #[error("the program has no symbol `{0}`; it must be global, and the file not stripped")]
    MissingSymbol(&'static str),
    /// The same symbol again.
    #[error("the program has the symbol `{0}` twice")]
    SymbolTwice(&'static str),
    /// A symbol that cannot be filled in.
    #[error("symbol `{name}` is {given} bytes long, not {wanted}, or does not lie in read-only data")]
    Symbol {
        /// Its name.
        name: &'static str,
        /// Its size in the file.
        given: u64,
        /// What it must be.
        wanted: u64,
    },
    /// A symbol that the program does not bring along; an enclave has no dynamic linker.
    #[error("the program needs `{0}`, which it does not contain; an enclave loads no libraries")]
    Undefined(String),
    /// What std's entry code does not do.
    #[error("the program has {0}, which the entry code of an enclave does not process")]
    Unsupported(&'static str),
    /// A relocation that the entry code cannot make.
    #[error("the relocation at {offset:#x} {why}")]
    Relocation {
        /// What would be relocated.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment that cannot be loaded.
    #[error("the segment at {address:#x} {why}")]
    Segment {
        /// Where it starts.
        address: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The code pool is not as the image has it.
    #[error("the section `{CODE_SECTION}` {0}")]
    CodePool(&'static str),
    /// The policy page is not as the image has it.
    #[error("the section `{POLICY_SECTION}` {0}")]
    PolicyPage(&'static str),
}

/// A loadable segment (`PT_LOAD`).
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) address: u64,
    /// Size in memory; beyond `data` it is zero.
    pub(crate) len: u64,
    pub(crate) data: &'a [u8],
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) executable: bool,
}

impl Segment<'_> {
    pub(crate) fn range(&self) -> Range<u64> {
        self.address..self.address + self.len
    }

    fn first_page(&self) -> u64 {
        self.address & !(PAGE_SIZE - 1)
    }

    /// True if the file says what is in `range`.
    fn holds(&self, range: &Range<u64>) -> bool {
        self.address <= range.start
            && range.start <= range.end
            && range.end <= self.address + self.data.len() as u64
    }
}

/// Addresses of what std's entry code (`entry.S` in std's sources says what each is for) and our image leave
/// to be filled in.
#[derive(Debug)]
pub(crate) struct Symbols {
    pub(crate) entry: u64,
    pub(crate) heap_base: u64,
    pub(crate) heap_size: u64,
    pub(crate) rela: u64,
    pub(crate) relacount: u64,
    pub(crate) enclave_size: u64,
    pub(crate) cfgdata_base: u64,
    pub(crate) debug: u64,
    pub(crate) text_base: u64,
    pub(crate) text_size: u64,
    pub(crate) eh_frm_offset: u64,
    pub(crate) eh_frm_len: u64,
    pub(crate) eh_frm_hdr_offset: u64,
    pub(crate) eh_frm_hdr_len: u64,
}

/// A program, checked: everything in it lies where it says, and nothing in it needs more than an enclave does.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// In the order of addresses, no two on one page.
    pub(crate) segments: Vec<Segment<'a>>,
    pub(crate) symbols: Symbols,
    /// Address of the relocation table and entries in it.
    pub(crate) relocations: (u64, u64),
    pub(crate) text: Range<u64>,
    pub(crate) eh_frame: Range<u64>,
    pub(crate) eh_frame_hdr: Range<u64>,
    /// What runs when the file is started as an ordinary program.
    pub(crate) text_no_sgx: Option<Range<u64>>,
    /// The code pool: whole pages, a segment of its own.
    pub(crate) code: Option<Range<u64>>,
    /// The policy page.
    pub(crate) policy: Option<Range<u64>>,
}

impl<'a> Program<'a> {
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        let header = Header::parse(file)?;
        check_kind(header)?;
        let sections = header.sections(LE, file)?;
        check_toolchain(&sections, file)?;
        let code = code_pool(&sections, file)?;
        let segments = segments(header, file, code.as_ref())?;
        let symbols = Globals::read(&sections, file)?.spliced(&segments)?;
        let policy = policy_page(&sections, file, &segments)?;
        let relocations = relocations(header, file, &segments)?;
        let section = |name| {
            let range = section_range(&sections, name).ok_or(ElfError::MissingSection(name))?;
            let loaded = segments.iter().any(|s| s.holds(&range));
            if loaded { Ok(range) } else { Err(ElfError::Section(name)) }
        };
        let text_no_sgx = match section(".text_no_sgx") {
            Err(ElfError::MissingSection(_)) => None,
            other => Some(other?),
        };
        Ok(Self {
            symbols,
            relocations,
            text: section(".text")?,
            eh_frame: section(".eh_frame")?,
            eh_frame_hdr: section(".eh_frame_hdr")?,
            text_no_sgx,
            segments,
            code,
            policy,
        })
    }

    /// Where the last segment ends.
    pub(crate) fn end(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.range().end)
    }
}

fn check_kind(header: &Header) -> Result<(), ElfError> {
    let wrong = if !header.is_little_endian() {
        "it is big-endian"
    } else if header.e_machine(LE) != elf::EM_X86_64 {
        "it is for another CPU than x86-64"
    } else if header.e_type(LE) != elf::ET_DYN {
        "it is not position-independent (ET_DYN)"
    } else {
        return Ok(());
    };
    Err(ElfError::Kind(wrong))
}

fn check_toolchain(sections: &SectionTable<'_, Header>, file: &[u8]) -> Result<(), ElfError> {
    let missing = ElfError::MissingSection(NOTE_SECTION);
    let (_, section) = sections.section_by_name(LE, NOTE_SECTION.as_bytes()).ok_or(missing)?;
    let mut notes = section.notes(LE, file)?.ok_or(ElfError::MissingSection(NOTE_SECTION))?;
    while let Some(note) = notes.next()? {
        if note.name() == b"toolchain-version" {
            let version = note.desc().try_into().map_or(u32::MAX, u32::from_le_bytes);
            return if version == TOOLCHAIN_VERSION { Ok(()) } else { Err(ElfError::Toolchain(version)) };
        }
    }
    Err(ElfError::MissingSection(NOTE_SECTION))
}

fn section_range(sections: &SectionTable<'_, Header>, name: &str) -> Option<Range<u64>> {
    let (_, section) = sections.section_by_name(LE, name.as_bytes())?;
    // What has no end lies in no segment.
    Some(section.sh_addr(LE)..section.sh_addr(LE).saturating_add(section.sh_size(LE)))
}

fn segments<'a>(
    header: &Header,
    file: &'a [u8],
    code: Option<&Range<u64>>,
) -> Result<Vec<Segment<'a>>, ElfError> {
    let mut segments: Vec<Segment<'a>> = Vec::new();
    for program_header in header.program_headers(LE, file)? {
        match program_header.p_type(LE) {
            elf::PT_LOAD => {}
            elf::PT_TLS => return Err(ElfError::Unsupported("thread-local storage of ELF (PT_TLS)")),
            elf::PT_INTERP => return Err(ElfError::Unsupported("an interpreter (PT_INTERP)")),
            _ => continue,
        }
        let address = program_header.p_vaddr(LE);
        let refused = |why| ElfError::Segment { address, why };
        let data = program_header.data(LE, file).map_err(|()| refused("lies beyond the end of the file"))?;
        let len = program_header.p_memsz(LE);
        let flags = program_header.p_flags(LE);
        let segment = Segment {
            address,
            len,
            data,
            readable: flags & elf::PF_R != 0,
            writable: flags & elf::PF_W != 0,
            executable: flags & elf::PF_X != 0,
        };
        if address.checked_add(len).is_none_or(|end| end > MAX_END) {
            return Err(refused("ends beyond 2 GiB"));
        }
        if len > MAX_MEASURED && code != Some(&segment.range()) {
            return Err(refused("is larger than 256 MiB"));
        }
        if data.len() as u64 > len {
            return Err(refused("is larger in the file than in memory"));
        }
        if !segment.readable {
            return Err(refused("cannot be read"));
        }
        if segment.executable && segment.writable && code != Some(&segment.range()) {
            return Err(refused("is writable and executable, and not the code pool alone"));
        }
        // A load that is steered to address zero must not find code there (INTEL-SA-00334).
        if segment.executable && segment.first_page() == 0 {
            return Err(refused("makes the first page executable"));
        }
        if segments
            .last()
            .is_some_and(|last| last.range().end.next_multiple_of(PAGE_SIZE) > segment.first_page())
        {
            return Err(refused("lies before the one before it, or shares a page with it"));
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(ElfError::Kind("it has nothing to load"));
    }
    if let Some(code) = code
        && !segments.iter().any(|s| s.range() == *code && s.writable && s.executable)
    {
        return Err(ElfError::CodePool("is not a writable and executable segment by itself"));
    }
    Ok(segments)
}

/// The global symbols of a file.
struct Globals<'a>(Vec<(&'a [u8], u64, u64)>);

impl<'a> Globals<'a> {
    fn read(sections: &SectionTable<'a, Header>, file: &'a [u8]) -> Result<Self, ElfError> {
        let dynamic = sections.symbols(LE, file, elf::SHT_DYNSYM)?;
        if let Some(symbol) = dynamic.iter().skip(1).find(|symbol| symbol.st_shndx(LE) == elf::SHN_UNDEF) {
            let name = String::from_utf8_lossy(symbol.name(LE, dynamic.strings())?);
            return Err(ElfError::Undefined(name.into_owned()));
        }
        let all = sections.symbols(LE, file, elf::SHT_SYMTAB)?;
        let mut globals = Vec::new();
        for symbol in all.iter() {
            if symbol.st_bind() == elf::STB_GLOBAL && symbol.st_shndx(LE) != elf::SHN_UNDEF {
                globals.push((symbol.name(LE, all.strings())?, symbol.st_value(LE), symbol.st_size(LE)));
            }
        }
        Ok(Self(globals))
    }

    /// Address and size.
    fn find(&self, name: &'static str) -> Result<(u64, u64), ElfError> {
        let mut found = self.0.iter().filter(|(known, ..)| *known == name.as_bytes());
        match (found.next(), found.next()) {
            (Some((_, address, size)), None) => Ok((*address, *size)),
            (None, _) => Err(ElfError::MissingSymbol(name)),
            (Some(_), Some(_)) => Err(ElfError::SymbolTwice(name)),
        }
    }

    fn spliced(&self, segments: &[Segment<'_>]) -> Result<Symbols, ElfError> {
        let constant = |name, wanted| {
            let (address, given) = self.find(name)?;
            let in_file = in_read_only_data(segments, address, wanted);
            if given == wanted && in_file {
                Ok(address)
            } else {
                Err(ElfError::Symbol { name, given, wanted })
            }
        };
        let (entry, _) = self.find("sgx_entry")?;
        if !segments.iter().any(|s| s.executable && !s.writable && s.range().contains(&entry)) {
            return Err(ElfError::Kind("its entry point `sgx_entry` is not in its code"));
        }
        Ok(Symbols {
            entry,
            heap_base: constant("HEAP_BASE", 8)?,
            heap_size: constant("HEAP_SIZE", 8)?,
            rela: constant("RELA", 8)?,
            relacount: constant("RELACOUNT", 8)?,
            enclave_size: constant("ENCLAVE_SIZE", 8)?,
            cfgdata_base: constant("CFGDATA_BASE", 8)?,
            debug: constant("DEBUG", 1)?,
            text_base: constant("TEXT_BASE", 8)?,
            text_size: constant("TEXT_SIZE", 8)?,
            eh_frm_offset: constant("EH_FRM_OFFSET", 8)?,
            eh_frm_len: constant("EH_FRM_LEN", 8)?,
            eh_frm_hdr_offset: constant("EH_FRM_HDR_OFFSET", 8)?,
            eh_frm_hdr_len: constant("EH_FRM_HDR_LEN", 8)?,
        })
    }
}

fn in_read_only_data(segments: &[Segment<'_>], address: u64, len: u64) -> bool {
    let Some(end) = address.checked_add(len) else { return false };
    segments.iter().any(|s| !s.writable && !s.executable && s.holds(&(address..end)))
}

fn code_pool(sections: &SectionTable<'_, Header>, file: &[u8]) -> Result<Option<Range<u64>>, ElfError> {
    let Some((_, section)) = sections.section_by_name(LE, CODE_SECTION.as_bytes()) else { return Ok(None) };
    let start = section.sh_addr(LE);
    let range = start..start.checked_add(section.sh_size(LE)).ok_or(ElfError::CodePool("has no end"))?;
    if section.sh_type(LE) != elf::SHT_NOBITS {
        return Err(ElfError::CodePool("has content in the file; it must be @nobits"));
    }
    if range.is_empty() || !range.start.is_multiple_of(PAGE_SIZE) || !range.end.is_multiple_of(PAGE_SIZE) {
        return Err(ElfError::CodePool("does not consist of whole pages"));
    }
    let globals = Globals::read(sections, file)?;
    let bounds = globals.find("ENCLAVE_OS_CODE_START")?.0..globals.find("ENCLAVE_OS_CODE_END")?.0;
    if bounds != range {
        return Err(ElfError::CodePool(
            "holds something besides the pool between ENCLAVE_OS_CODE_START and ENCLAVE_OS_CODE_END",
        ));
    }
    Ok(Some(range))
}

fn policy_page(
    sections: &SectionTable<'_, Header>,
    file: &[u8],
    segments: &[Segment<'_>],
) -> Result<Option<Range<u64>>, ElfError> {
    let Some((_, section)) = sections.section_by_name(LE, POLICY_SECTION.as_bytes()) else { return Ok(None) };
    let (address, wanted) = (section.sh_addr(LE), POLICY_PAGE_LEN as u64);
    let (symbol, size) = Globals::read(sections, file)?.find(POLICY_SYMBOL)?;
    if (symbol, size, section.sh_size(LE)) != (address, wanted, wanted) || !address.is_multiple_of(PAGE_SIZE)
    {
        return Err(ElfError::PolicyPage("must be ENCLAVE_OS_POLICY alone: 17 whole pages"));
    }
    if !in_read_only_data(segments, address, wanted) {
        return Err(ElfError::PolicyPage("must be read-only data in the file"));
    }
    if section.data(LE, file)?.iter().any(|&byte| byte != 0) {
        return Err(ElfError::PolicyPage("is filled already; the linked program has zeros there"));
    }
    Ok(Some(address..address + wanted))
}

/// Address and length of the relocation table, all of whose entries the entry code can process.
fn relocations(header: &Header, file: &[u8], segments: &[Segment<'_>]) -> Result<(u64, u64), ElfError> {
    const ENTRY: u64 = size_of::<elf::Rela64<LittleEndian>>() as u64;
    let (mut table, mut size, mut count) = (None, 0, 0);
    for program_header in header.program_headers(LE, file)? {
        for entry in program_header.dynamic(LE, file)?.unwrap_or_default() {
            let value = entry.d_val(LE);
            match entry.d_tag(LE) {
                elf::DT_RELA => table = Some(value),
                elf::DT_RELASZ => size = value,
                elf::DT_RELACOUNT => count = value,
                elf::DT_JMPREL | elf::DT_PLTREL | elf::DT_PLTRELSZ => {
                    return Err(ElfError::Unsupported("a procedure linkage table"));
                }
                elf::DT_INIT | elf::DT_INIT_ARRAY | elf::DT_PREINIT_ARRAY => {
                    return Err(ElfError::Unsupported("functions to run at start (.init)"));
                }
                elf::DT_FINI | elf::DT_FINI_ARRAY => {
                    return Err(ElfError::Unsupported("functions to run at exit (.fini)"));
                }
                elf::DT_REL | elf::DT_RELCOUNT | elf::DT_RELR => {
                    return Err(ElfError::Unsupported("relocations other than RELA"));
                }
                elf::DT_NEEDED => return Err(ElfError::Unsupported("libraries to load (DT_NEEDED)")),
                _ => {}
            }
        }
    }
    let Some(table) = table else {
        return if (size, count) == (0, 0) { Ok((0, 0)) } else { Err(ElfError::Kind("DT_RELA is missing")) };
    };
    if count.checked_mul(ENTRY) != Some(size) {
        return Err(ElfError::Unsupported(
            "relocations that are not relative (DT_RELASZ beyond DT_RELACOUNT)",
        ));
    }
    let outside = ElfError::Kind("its relocation table is not in its read-only data");
    let segment = segments.iter().find(|s| in_read_only_data(std::slice::from_ref(*s), table, size));
    let entries = segment
        .and_then(|s| s.data.get(usize::try_from(table - s.address).ok()?..))
        .and_then(|data| object::slice_from_bytes(data, usize::try_from(count).ok()?).ok());
    let (entries, _): (&[elf::Rela64<LittleEndian>], _) = entries.ok_or(outside)?;
    for entry in entries {
        let offset = entry.r_offset(LE);
        if entry.r_type(LE, false) != elf::R_X86_64_RELATIVE || entry.r_sym(LE, false) != 0 {
            return Err(ElfError::Relocation { offset, why: "is not relative to the enclave's base" });
        }
        let target = segments.iter().find(|s| s.range().contains(&offset) && s.range().end - offset >= 8);
        if !target.is_some_and(|s| s.writable && !s.executable) {
            return Err(ElfError::Relocation { offset, why: "does not lie in writable data" });
        }
    }
    Ok((table, count))
}
