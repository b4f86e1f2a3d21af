//! From a linked program to an SGXS stream.

use std::fmt;
use std::ops::Range;

use sgx_isa::{PageType, SecinfoFlags};
use sgxs::sgxs::{CanonicalSgxsWriter, MeasECreate, SecinfoTruncated};

use crate::elf::{ElfError, POLICY_SYMBOL, Program, Segment};
use crate::layout::{Layout, SSA_FRAME_PAGES, SSA_FRAMES, Thread};
use crate::{PAGE_SIZE, Parameters};

/// Bytes of the policy page in an image: the length of the policy (u64 LE), then the policy, then zeros.
pub const POLICY_PAGE_LEN: usize = 17 * PAGE_SIZE as usize;
/// The longest policy: [`attestation::image_policy::MAX_PAGE`].
const POLICY_MAX: usize = attestation::image_policy::MAX_PAGE;

/// Offsets in an ELF header: e_shoff, and e_shnum with e_shstrndx.
const E_SHOFF: u64 = 0x28;
const E_SHNUM: u64 = 0x3c;

/// INT3: what is left where the file had code for an ordinary process.
const TRAP: u8 = 0xcc;

/// An image that has not been signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// The SGXS stream.
    pub sgxs: Vec<u8>,
    /// SECS.SIZE: bytes of ELRANGE.
    pub size: u64,
    /// Bytes of the code pool; 0 if there is none.
    pub code: u64,
}

/// Without the pages, which are many.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sgxs, size, code } = self;
        write!(f, "Image {{ sgxs: {} bytes, size: {size:#x}, code: {code:#x} }}", sgxs.len())
    }
}

/// Why a program does not become an image.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The program is not one.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Too long.
    #[error("the policy is {0} bytes long; a policy page holds {POLICY_MAX}")]
    PolicyTooLarge(usize),
    /// A policy, and nowhere to put it.
    #[error("the program has no policy page (`{POLICY_SYMBOL}`), so it can be given no policy")]
    NoPolicyPage,
    /// Heap and threads behind the program exceed what can be addressed.
    #[error("program, heap and threads together exceed 64 bits of address space")]
    TooLarge,
    /// The stream could not be written.
    #[error("the SGXS stream cannot be written: {0}")]
    Write(String),
}

/// Lays out `elf` as an enclave: its segments with their permissions, a heap, and for each thread a guard, a
/// stack, thread-local storage, a TCS and its state save area.
///
/// Measured with their content are the segments, thread-local storage and TCS; the policy is put into its page
/// first. Measured by address and permissions only (EADD without EEXTEND) are the code pool, heap, stacks and
/// state save areas: whoever loads the image chooses what is in them, and the program must not read what it
/// has not written there. A program without a policy page converts with an empty `policy`.
///
/// # Errors
/// [`ConvertError`].
pub fn convert(elf: &[u8], parameters: &Parameters, policy: &[u8]) -> Result<Image, ConvertError> {
    let program = Program::parse(elf)?;
    let layout = Layout::new(program.end(), parameters).ok_or(ConvertError::TooLarge)?;
    let splices = splices(&program, &layout, parameters, policy)?;
    let mut sgxs = Vec::new();
    write(&mut sgxs, &program, &layout, &splices)
        .map_err(|error| ConvertError::Write(format!("{error:#}")))?;
    let code = program.code.as_ref().map_or(0, |code| code.end - code.start);
    Ok(Image { sgxs, size: layout.enclave_size, code })
}

/// Bytes that replace those of the file.
struct Splice {
    address: u64,
    bytes: Vec<u8>,
}

fn splices(
    program: &Program<'_>,
    layout: &Layout,
    parameters: &Parameters,
    policy: &[u8],
) -> Result<Vec<Splice>, ConvertError> {
    let symbols = &program.symbols;
    let length = |range: &Range<u64>| range.end - range.start;
    let words = [
        (symbols.heap_base, layout.heap),
        (symbols.heap_size, parameters.heap),
        (symbols.rela, program.relocations.0),
        (symbols.relacount, program.relocations.1),
        (symbols.enclave_size, layout.enclave_size),
        (symbols.cfgdata_base, layout.end),
        (symbols.text_base, program.text.start),
        (symbols.text_size, length(&program.text)),
        (symbols.eh_frm_offset, program.eh_frame.start),
        (symbols.eh_frm_len, length(&program.eh_frame)),
        (symbols.eh_frm_hdr_offset, program.eh_frame_hdr.start),
        (symbols.eh_frm_hdr_len, length(&program.eh_frame_hdr)),
    ];
    let mut splices: Vec<_> =
        words.map(|(address, word)| Splice { address, bytes: word.to_le_bytes().to_vec() }).into();
    splices.push(Splice { address: symbols.debug, bytes: vec![parameters.debug.into()] });
    if let Some(header) = program.header {
        // What describes the sections is not loaded, and where it lies depends on names that are not measured.
        splices.push(Splice { address: header + E_SHOFF, bytes: vec![0; 8] });
        splices.push(Splice { address: header + E_SHNUM, bytes: vec![0; 4] });
    }
    if let Some(outside) = &program.text_no_sgx {
        let len = usize::try_from(length(outside)).map_err(|_| ConvertError::TooLarge)?;
        splices.push(Splice { address: outside.start, bytes: vec![TRAP; len] });
    }
    match &program.policy {
        Some(page) => splices.push(Splice { address: page.start, bytes: policy_page(policy)? }),
        None if policy.is_empty() => {}
        None => return Err(ConvertError::NoPolicyPage),
    }
    Ok(splices)
}

fn policy_page(policy: &[u8]) -> Result<Vec<u8>, ConvertError> {
    if policy.len() > POLICY_MAX {
        return Err(ConvertError::PolicyTooLarge(policy.len()));
    }
    let mut page = (policy.len() as u64).to_le_bytes().to_vec();
    page.extend_from_slice(policy);
    page.resize(POLICY_PAGE_LEN, 0);
    Ok(page)
}

type Writer<'a> = CanonicalSgxsWriter<'a, Vec<u8>>;

fn write(
    sgxs: &mut Vec<u8>,
    program: &Program<'_>,
    layout: &Layout,
    splices: &[Splice],
) -> sgxs::sgxs::Result<()> {
    let ecreate = MeasECreate { ssaframesize: SSA_FRAME_PAGES, size: layout.enclave_size };
    let mut writer = CanonicalSgxsWriter::new(sgxs, ecreate, true)?;
    for segment in &program.segments {
        if program.code.as_ref() == Some(&segment.range()) {
            unmeasured(&mut writer, segment.range(), permissions(segment))?;
        } else {
            measured_segment(&mut writer, segment, splices)?;
        }
    }
    let end_of_heap = layout.threads().next().map_or(layout.end, |first| first.guard);
    unmeasured(&mut writer, layout.heap..end_of_heap, READ_WRITE)?;
    for (n, thread) in layout.threads().enumerate() {
        write_thread(&mut writer, &thread, program.symbols.entry, n != 0)?;
    }
    Ok(())
}

const READ_WRITE: SecinfoFlags = SecinfoFlags::R.union(SecinfoFlags::W);

/// One thread. A standard TCS is entered to start the program, a secondary one to run a thread of it.
fn write_thread(
    writer: &mut Writer<'_>,
    thread: &Thread,
    entry: u64,
    secondary: bool,
) -> sgxs::sgxs::Result<()> {
    unmeasured(writer, thread.stack..thread.tls, READ_WRITE)?;
    measured(writer, thread.tls, &tls(thread, secondary), regular(READ_WRITE))?;
    measured(writer, thread.tcs, &tcs(thread, entry), SecinfoTruncated { flags: PageType::Tcs.into() })?;
    let ssa_len = u64::from(SSA_FRAMES * SSA_FRAME_PAGES) * PAGE_SIZE;
    unmeasured(writer, thread.ssa..thread.ssa + ssa_len, READ_WRITE)
}

/// Thread-local storage as std's entry code finds it behind GS (`tcsls_*` in `entry.S`): the top of the stack,
/// and whether the TCS is secondary.
fn tls(thread: &Thread, secondary: bool) -> [u8; 16] {
    (u128::from(thread.tls) | u128::from(secondary) << 64).to_le_bytes()
}

/// The TCS (SDM 3D, "Thread Control Structure"). FS and GS both point to thread-local storage; the limits are
/// for 32-bit enclaves.
fn tcs(thread: &Thread, entry: u64) -> [u8; 72] {
    let mut tcs = [0; 72];
    let mut put = |at: usize, bytes: &[u8]| tcs[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &thread.ssa.to_le_bytes()); // OSSA
    put(28, &SSA_FRAMES.to_le_bytes()); // NSSA
    put(32, &entry.to_le_bytes()); // OENTRY
    put(48, &thread.tls.to_le_bytes()); // OFSBASGX
    put(56, &thread.tls.to_le_bytes()); // OGSBASGX
    put(64, &0xfff_u32.to_le_bytes()); // FSLIMIT
    put(68, &0xfff_u32.to_le_bytes()); // GSLIMIT
    tcs
}

fn measured_segment(
    writer: &mut Writer<'_>,
    segment: &Segment<'_>,
    splices: &[Splice],
) -> sgxs::sgxs::Result<()> {
    let secinfo = regular(permissions(segment));
    let (start, end) = (segment.address, segment.address + segment.data.len() as u64);
    let mut data = segment.data.to_vec();
    for splice in splices.iter().filter(|splice| (start..end).contains(&splice.address)) {
        // What is spliced lies wholly in one segment: `Program` has seen to it.
        let spliced = (splice.address - start) as usize..;
        for (byte, new) in data[spliced].iter_mut().zip(&splice.bytes) {
            *byte = *new;
        }
    }
    let first = start - start % PAGE_SIZE;
    let mut content = vec![0; (start - first) as usize];
    content.append(&mut data);
    for page in (first..segment.range().end).step_by(PAGE_SIZE as usize) {
        let at = ((page - first) as usize).min(content.len());
        let rest = &content[at..];
        measured(writer, page, &rest[..rest.len().min(PAGE_SIZE as usize)], secinfo)?;
    }
    Ok(())
}

/// One page; what `content` does not fill is zero.
fn measured(
    writer: &mut Writer<'_>,
    offset: u64,
    mut content: &[u8],
    secinfo: SecinfoTruncated,
) -> sgxs::sgxs::Result<()> {
    writer.write_page(Some(&mut content), Some(offset), secinfo)
}

/// Pages whose content is left to whoever loads them.
fn unmeasured(
    writer: &mut Writer<'_>,
    range: Range<u64>,
    permissions: SecinfoFlags,
) -> sgxs::sgxs::Result<()> {
    let pages = ((range.end - range.start) / PAGE_SIZE) as usize;
    writer.write_pages::<&[u8]>(None, pages, Some(range.start), regular(permissions))
}

fn regular(permissions: SecinfoFlags) -> SecinfoTruncated {
    SecinfoTruncated { flags: permissions | PageType::Reg.into() }
}

fn permissions(segment: &Segment<'_>) -> SecinfoFlags {
    let mut flags = SecinfoFlags::empty();
    flags.set(SecinfoFlags::R, segment.readable);
    flags.set(SecinfoFlags::W, segment.writable);
    flags.set(SecinfoFlags::X, segment.executable);
    flags
}
