//! What a linked program for `x86_64-fortanix-unknown-sgx` consists of, and whether it is one.

mod ours;
mod relocations;
mod symbols;

use std::ops::Range;

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};

use crate::PAGE_SIZE;
use symbols::{Globals, Symbols};

type Header = FileHeader64<LE>;

const HEADER_LEN: usize = size_of::<Header>();

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
    /// Where the file's header is loaded, if it is.
    pub(crate) header: Option<u64>,
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
        let code = ours::code_pool(&sections, file)?;
        let segments = segments(header, file, code.as_ref())?;
        let symbols = Globals::read(&sections, file)?.spliced(&segments)?;
        let policy = ours::policy_page(&sections, file, &segments)?;
        let relocations = relocations::table(header, file, &segments)?;
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
            header: segments.iter().find(|s| s.data.starts_with(&file[..HEADER_LEN])).map(|s| s.address),
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

fn in_read_only_data(segments: &[Segment<'_>], address: u64, len: u64) -> bool {
    let Some(end) = address.checked_add(len) else { return false };
    segments.iter().any(|s| !s.writable && !s.executable && s.holds(&(address..end)))
}
