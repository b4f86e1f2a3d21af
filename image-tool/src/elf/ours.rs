//! What our image has beside an ordinary program: a code pool and a policy page.

use std::ops::Range;

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{SectionHeader, SectionTable};

use super::symbols::Globals;
use super::{CODE_SECTION, ElfError, Header, POLICY_SECTION, POLICY_SYMBOL, Segment, in_read_only_data};
use crate::PAGE_SIZE;
use crate::convert::POLICY_PAGE_LEN;

pub(super) fn code_pool(
    sections: &SectionTable<'_, Header>,
    file: &[u8],
) -> Result<Option<Range<u64>>, ElfError> {
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

pub(super) fn policy_page(
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
