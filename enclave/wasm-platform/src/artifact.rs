//! What an artifact says about itself, read before anything is made of it.
//!
//! A `.cwasm` is a 64-bit little-endian ELF file of wasmtime's own ABI. Its section `.wasmtime.engine`
//! holds a format byte, a length-prefixed version and the settings it was compiled with, which begin
//! with the target triple. Our compiler appends a digest (see [`compiler_config::trailer`]), so that a
//! damaged artifact is told apart from a wrong one.
//!
//! Native code inside is beyond any check: who may load one is decided by the code policy.

use std::ops::Range;

use compiler_config::{ENGINE_VERSION, NATIVE_TARGET, own_command, stock_command, trailer};
use graviola::hashing::{Hash, Sha256};

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const OS_ABI: u8 = 200;
const FLAG_MODULE: u32 = 1;
const FLAG_COMPONENT: u32 = 2;
const NOBITS: u32 = 8;
/// Wasmtime's own flag on code for its interpreter, which is not in here.
const NOT_EXECUTED: u64 = 1;
/// Sections of an artifact are a dozen; this is far above what any component gives.
const MOST_SECTIONS: usize = 256;

/// Why bytes are not an artifact that this enclave takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Something else altogether.
    #[error("these bytes are not a compiled component: make one with `{}`", own_command(NATIVE_TARGET))]
    NotAnArtifact,
    /// A compiled core module.
    #[error(
        "this is a compiled core module, not a component: build for wasm32-wasip2 and compile again with `{}`",
        own_command(NATIVE_TARGET)
    )]
    Module,
    /// Cut off, or changed since it was compiled.
    #[error(
        "the artifact is damaged ({what}): upload it again, or make it again with `{}`",
        own_command(NATIVE_TARGET)
    )]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// From another major version of wasmtime.
    #[error(
        "the artifact was compiled by wasmtime {found}, this enclave runs {ENGINE_VERSION}: compile it with \
         `{}`, or with wasmtime {ENGINE_VERSION}: `{}`",
        own_command(NATIVE_TARGET),
        stock_command(NATIVE_TARGET)
    )]
    EngineVersion {
        /// What the artifact says.
        found: String,
    },
    /// For another machine or operating system.
    #[error(
        "the artifact was compiled for `{found}`, this enclave takes `{NATIVE_TARGET}`: compile it with \
         `{}`, or with wasmtime {ENGINE_VERSION}: `{}`",
        own_command(NATIVE_TARGET),
        stock_command(NATIVE_TARGET)
    )]
    Target {
        /// What the artifact says.
        found: String,
    },
    /// Other engine settings: no fuel metering, guard pages, signals.
    #[error(
        "the artifact was compiled with other settings than this enclave's ({reason}): compile it with \
         `{}`, or with wasmtime {ENGINE_VERSION}: `{}`",
        own_command(NATIVE_TARGET),
        stock_command(NATIVE_TARGET)
    )]
    Settings {
        /// The first difference, in the engine's words.
        reason: String,
    },
}

/// What the loader needs to know.
#[derive(Debug)]
pub(crate) struct Inspected<'a> {
    /// The ELF file, without the digest.
    pub(crate) elf: &'a [u8],
    /// Where in it the name of the section `.eh_frame` stands, if it has one.
    pub(crate) unwind_name: Option<Range<usize>>,
}

/// Checks everything that can be checked without the engine: bounds, version, target.
pub(crate) fn inspect(bytes: &[u8], page: usize) -> Result<Inspected<'_>, ArtifactError> {
    let elf = without_digest(bytes)?;
    let header = elf.get(..HEADER).ok_or(ArtifactError::NotAnArtifact)?;
    // e_ident: magic, 64-bit, little-endian, version 1, wasmtime's ABI.
    if header.get(..9) != Some(&[0x7f, b'E', b'L', b'F', 2, 1, 1, OS_ABI, 0]) {
        return Err(ArtifactError::NotAnArtifact);
    }
    match u32_at(header, 48).unwrap_or(0) {
        flags if flags & FLAG_COMPONENT != 0 => {}
        flags if flags & FLAG_MODULE != 0 => return Err(ArtifactError::Module),
        _ => return Err(ArtifactError::NotAnArtifact),
    }
    let sections = Sections::read(elf, header)?;
    let mut engine = None;
    let mut unwind_name = None;
    let mut texts = 0;
    for section in sections.iter() {
        let section = section?;
        match section.name {
            b".wasmtime.engine" => engine = Some(section.data),
            b".eh_frame" => unwind_name = Some(section.name_at),
            b".text" => {
                texts += 1;
                if !section.offset.is_multiple_of(page) || section.offset >= elf.len() {
                    return Err(damaged("its code is not aligned to pages"));
                }
                if section.flags & NOT_EXECUTED != 0 {
                    return Err(damaged("its code is not for a processor"));
                }
            }
            _ => {}
        }
    }
    if texts != 1 {
        return Err(damaged("it has no code section, or several"));
    }
    check_engine(engine.ok_or(damaged("it does not say what compiled it"))?)?;
    Ok(Inspected { elf, unwind_name })
}

fn damaged(what: &'static str) -> ArtifactError {
    ArtifactError::Damaged { what }
}

/// Splits off the digest of our compiler and compares it. Stock artifacts have none.
fn without_digest(bytes: &[u8]) -> Result<&[u8], ArtifactError> {
    let Some((elf, digest)) = trailer::split(bytes) else { return Ok(bytes) };
    if Sha256::hash(elf).as_ref() == digest { Ok(elf) } else { Err(damaged("its digest does not match")) }
}

/// Format byte 0, version (u8 length), then postcard: target triple (varint length), flags, settings.
fn check_engine(section: &[u8]) -> Result<(), ArtifactError> {
    let unreadable = damaged("what it says about its compiler is unreadable");
    let (&format, rest) = section.split_first().ok_or(unreadable.clone())?;
    let (&len, rest) = rest.split_first().ok_or(unreadable.clone())?;
    let (version, rest) = rest.split_at_checked(usize::from(len)).ok_or(unreadable.clone())?;
    let version = std::str::from_utf8(version).map_err(|_| unreadable.clone())?;
    if format != 0 || version != ENGINE_VERSION {
        return Err(ArtifactError::EngineVersion { found: printable(version) });
    }
    let (len, rest) = varint(rest).ok_or(unreadable.clone())?;
    let target = rest.get(..len).and_then(|t| std::str::from_utf8(t).ok()).ok_or(unreadable)?;
    if target == NATIVE_TARGET { Ok(()) } else { Err(ArtifactError::Target { found: printable(target) }) }
}

/// Text of the artifact as it may stand in a message.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(64).collect()
}

/// An LEB128 number of at most two bytes: lengths of triples are small.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [low, rest @ ..] if *low < 0x80 => Some((usize::from(*low), rest)),
        [low, high, rest @ ..] if *high < 0x80 => {
            Some((usize::from(low & 0x7f) | usize::from(*high) << 7, rest))
        }
        _ => None,
    }
}

/// The section table, with its name table.
struct Sections<'a> {
    elf: &'a [u8],
    table: &'a [u8],
    names: Range<usize>,
}

struct Section<'a> {
    name: &'a [u8],
    name_at: Range<usize>,
    offset: usize,
    flags: u64,
    data: &'a [u8],
}

impl<'a> Sections<'a> {
    fn read(elf: &'a [u8], header: &[u8]) -> Result<Self, ArtifactError> {
        let bad = damaged("its section table lies outside of it");
        let at = u64_at(header, 40).and_then(|at| usize::try_from(at).ok()).ok_or(bad.clone())?;
        let size = usize::from(u16_at(header, 58).unwrap_or(0));
        let count = usize::from(u16_at(header, 60).unwrap_or(0));
        let names = usize::from(u16_at(header, 62).unwrap_or(0));
        if size != SECTION_HEADER || count == 0 || count > MOST_SECTIONS {
            return Err(bad);
        }
        let end = at.checked_add(count * SECTION_HEADER).ok_or(bad.clone())?;
        let table = elf.get(at..end).ok_or(bad.clone())?;
        if end != elf.len() {
            // What is left of a digest would otherwise pass for none.
            return Err(damaged("bytes follow its section table that are no digest"));
        }
        let entry = table.chunks_exact(SECTION_HEADER).nth(names).ok_or(bad.clone())?;
        let names = extent(entry).filter(|r| elf.get(r.clone()).is_some()).ok_or(bad)?;
        Ok(Self { elf, table, names })
    }

    fn iter(&self) -> impl Iterator<Item = Result<Section<'a>, ArtifactError>> + '_ {
        self.table
            .chunks_exact(SECTION_HEADER)
            .map(|entry| self.section(entry).ok_or(damaged("a section lies outside of it")))
    }

    fn section(&self, entry: &[u8]) -> Option<Section<'a>> {
        let start = self.names.start.checked_add(usize::try_from(u32_at(entry, 0)?).ok()?)?;
        let rest = self.elf.get(start..self.names.end)?;
        let name = rest.get(..rest.iter().position(|b| *b == 0)?)?;
        let name_at = start..start + name.len();
        if u32_at(entry, 4)? == NOBITS {
            return None;
        }
        let range = extent(entry)?;
        let align = usize::try_from(u64_at(entry, 48)?).ok()?;
        if align > 1 && !range.is_empty() && !range.start.is_multiple_of(align) {
            return None;
        }
        Some(Section {
            name,
            name_at,
            offset: range.start,
            flags: u64_at(entry, 8)?,
            data: self.elf.get(range)?,
        })
    }
}

/// Where a section says its bytes are.
fn extent(entry: &[u8]) -> Option<Range<usize>> {
    let at = usize::try_from(u64_at(entry, 24)?).ok()?;
    let len = usize::try_from(u64_at(entry, 32)?).ok()?;
    Some(at..at.checked_add(len)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
