//! Where two builds of one program differ.

use std::collections::BTreeMap;

use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use crate::ElfError;

/// A section that two programs do not have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub section: String,
    /// Its size in the one and in the other, 0 where it is missing.
    pub sizes: (usize, usize),
    /// The first differing byte, from the start of the section.
    pub first: usize,
}

/// Compares two linked programs by their sections, in the order of names. A hint for a person: programs that
/// differ in none may still differ in their headers.
///
/// # Errors
/// [`ElfError::Unreadable`] when one of them is not ELF.
pub fn differences(one: &[u8], other: &[u8]) -> Result<Vec<Difference>, ElfError> {
    let (one, other) = (sections(one)?, sections(other)?);
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let content =
        |sections: &BTreeMap<String, Vec<u8>>, name: &str| sections.get(name).cloned().unwrap_or_default();
    let compared = names.into_iter().filter_map(|name| {
        let (one, other) = (content(&one, name), content(&other, name));
        let first = one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
        (one != other).then(|| Difference { section: name.clone(), sizes: (one.len(), other.len()), first })
    });
    Ok(compared.collect())
}

fn sections(file: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ElfError> {
    let header = FileHeader64::<LittleEndian>::parse(file)?;
    let table = header.sections(LittleEndian, file)?;
    let mut sections = BTreeMap::new();
    for section in table.iter() {
        let name = String::from_utf8_lossy(table.section_name(LittleEndian, section)?).into_owned();
        sections.insert(name, section.data(LittleEndian, file)?.to_vec());
    }
    Ok(sections)
}
