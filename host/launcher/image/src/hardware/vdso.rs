//! The kernel's way into an enclave: `__vdso_sgx_enter_enclave`, found in the vDSO that the kernel maps into every
//! process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use crate::enter::Entry;

const SYMBOL: &str = "__vdso_sgx_enter_enclave";
/// A vDSO is a few pages.
const MOST: u64 = 1 << 20;

/// Why there is no way in.
#[derive(Debug, thiserror::Error)]
pub enum VdsoError {
    /// This process has no vDSO.
    #[error("it maps no vDSO")]
    NoVdso,
    /// The vDSO has no such function.
    #[error("its vDSO has no {SYMBOL}")]
    NoSymbol,
    /// It could not be looked at.
    #[error("its vDSO cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The entry.
pub(super) fn entry() -> Result<Entry, VdsoError> {
    let (base, image) = read()?;
    let offset = find_symbol(&image, SYMBOL).ok_or(VdsoError::NoSymbol)?;
    let offset = usize::try_from(offset).map_err(|_| VdsoError::NoSymbol)?;
    // SAFETY: the kernel maps the vDSO for as long as the process lives, and the function of this name has this ABI.
    Ok(unsafe { Entry::new(base + offset) })
}

/// Where the vDSO lies, and a copy of it.
fn read() -> Result<(usize, Vec<u8>), VdsoError> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).ok_or(VdsoError::NoVdso)?;
    let (start, end) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).unwrap_or_default();
    let parse = |text| u64::from_str_radix(text, 16).map_err(|_| VdsoError::NoVdso);
    let (start, end) = (parse(start)?, parse(end)?);
    let len = end.checked_sub(start).filter(|len| *len <= MOST).ok_or(VdsoError::NoVdso)?;
    let base = usize::try_from(start).map_err(|_| VdsoError::NoVdso)?;
    let mut image = vec![0; usize::try_from(len).map_err(|_| VdsoError::NoVdso)?];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, start)?;
    Ok((base, image))
}

/// The value of a defined dynamic symbol of an ELF image for x86-64, as an offset from the image's start.
pub fn find_symbol(image: &[u8], name: &str) -> Option<u64> {
    const ELF64_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    const PROGRAM_HEADER: usize = 56;
    const SYMBOL_SIZE: usize = 24;
    const PT_LOAD: u64 = 1;
    const PT_DYNAMIC: u64 = 2;
    const DT_NULL: u64 = 0;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;

    if !image.starts_with(&ELF64_LITTLE) {
        return None;
    }
    let table = usize::try_from(word(image, 32)?).ok()?;
    let count = usize::from(half(image, 56)?);
    let headers =
        (0..count).map_while(|n| image.get(table.checked_add(n * PROGRAM_HEADER)?..)?.get(..PROGRAM_HEADER));
    let (mut load, mut dynamic) = (None, None);
    for header in headers {
        match word(header, 0)? & 0xffff_ffff {
            PT_LOAD if load.is_none() => load = Some(word(header, 16)?),
            PT_DYNAMIC => dynamic = Some(word(header, 16)?),
            _ => {}
        }
    }
    let base = load?;
    let place = |address: u64| usize::try_from(address.checked_sub(base)?).ok();
    let mut at = place(dynamic?)?;
    let (mut strings, mut symbols) = (None, None);
    loop {
        let (tag, value) = (word(image, at)?, word(image, at.checked_add(8)?)?);
        match tag {
            DT_NULL => break,
            DT_STRTAB => strings = place(value),
            DT_SYMTAB => symbols = place(value),
            _ => {}
        }
        at = at.checked_add(16)?;
    }
    let (strings, symbols) = (strings?, symbols?);
    // Linkers put the names right behind the symbols; that is where the table ends.
    let table = image.get(symbols..strings)?;
    table.chunks_exact(SYMBOL_SIZE).find_map(|symbol| {
        let named = usize::try_from(word(symbol, 0)? & 0xffff_ffff).ok()?;
        let text = image.get(strings.checked_add(named)?..)?;
        let rest = text.strip_prefix(name.as_bytes())?;
        let defined = half(symbol, 6)? != 0;
        (rest.first() == Some(&0) && defined).then_some(word(symbol, 8)?.checked_sub(base)?)
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_this_machines_vdso_are_found() {
        let (_, image) = read().unwrap();
        let at = find_symbol(&image, "__vdso_clock_gettime").unwrap();
        assert!(at > 0 && (at as usize) < image.len());
        assert_eq!(find_symbol(&image, "__vdso_clock_gettim"), None);
        assert_eq!(find_symbol(&image, "__vdso_no_such_function"), None);
    }

    #[test]
    fn damaged_images_have_no_symbols_and_do_no_harm() {
        let (_, image) = read().unwrap();
        for len in [0, 5, 63, 64, 200] {
            assert_eq!(find_symbol(&image[..len], "__vdso_clock_gettime"), None, "{len} bytes");
        }
        let found = (0..1024.min(image.len())).filter(|&at| {
            let mut damaged = image.clone();
            damaged[at] ^= 0xff;
            find_symbol(&damaged, "__vdso_clock_gettime").is_some()
        });
        assert!(found.count() < 1024, "what the first bytes say matters");
    }
}
