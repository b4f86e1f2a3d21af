//! The relocations that std's entry code makes when the enclave starts.

use object::LittleEndian as LE;
use object::elf::{self, Rela64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela};

use super::{ElfError, Header, Segment, in_read_only_data};

/// Address and length of the relocation table, all of whose entries the entry code can process.
pub(super) fn table(header: &Header, file: &[u8], segments: &[Segment<'_>]) -> Result<(u64, u64), ElfError> {
    const ENTRY: u64 = size_of::<Rela64<LE>>() as u64;
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
    let (entries, _): (&[Rela64<LE>], _) = entries.ok_or(outside)?;
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
