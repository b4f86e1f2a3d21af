//! The symbols that are filled in or pointed to.

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{SectionTable, Sym};

use super::{ElfError, Header, Segment, in_read_only_data};

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

/// The global symbols of a file: name, address, size.
pub(super) struct Globals<'a>(Vec<(&'a [u8], u64, u64)>);

impl<'a> Globals<'a> {
    pub(super) fn read(sections: &SectionTable<'a, Header>, file: &'a [u8]) -> Result<Self, ElfError> {
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
    pub(super) fn find(&self, name: &'static str) -> Result<(u64, u64), ElfError> {
        let mut found = self.0.iter().filter(|(known, ..)| *known == name.as_bytes());
        match (found.next(), found.next()) {
            (Some((_, address, size)), None) => Ok((*address, *size)),
            (None, _) => Err(ElfError::MissingSymbol(name)),
            (Some(_), Some(_)) => Err(ElfError::SymbolTwice(name)),
        }
    }

    pub(super) fn spliced(&self, segments: &[Segment<'_>]) -> Result<Symbols, ElfError> {
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
