//! Asynchronous exits and ERESUME: the state of enclave code goes into a frame of its state save area and
//! comes back from there.

use super::context::{
    ALIGNMENT_FLAG, ARITHMETIC_FLAGS, Context, DIRECTION_FLAG, RESUME_FLAG, Register, TRAP_FLAG, is_canonical,
};
use super::enclave::Running;
use super::epc::{Locked, PageState};
use super::fault::{Access, Exception, Fault, page_fault, vector};
use super::processor::{self, Mode, Processor};
use super::tcs::Tcs;
use crate::PAGE_SIZE;
use crate::keys::field;

/// ENCLU leaf numbers that stand in RAX.
pub(super) const ERESUME: u32 = 3;

/// Size of GPRSGX, which ends a frame, and of EXINFO before it (SDM 3D, "GPRSGX Region").
const GPRSGX: usize = 184;
const EXINFO: usize = 16;
/// MISCSELECT.EXINFO.
const MISC_EXINFO: u32 = 1;

/// Offsets in GPRSGX behind the general registers.
mod at {
    pub(super) const URSP: usize = 144;
    pub(super) const EXIT_INFO: usize = 160;
    pub(super) const FS_BASE: usize = 168;
    pub(super) const GS_BASE: usize = 176;
}

/// The registers in the order of GPRSGX, eight bytes each.
const ORDER: [Register; 18] = [
    Register::Rax,
    Register::Rcx,
    Register::Rdx,
    Register::Rbx,
    Register::Rsp,
    Register::Rbp,
    Register::Rsi,
    Register::Rdi,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::Rflags,
    Register::Rip,
];

/// Where the parts of extended state lie in an XSAVE area of the standard format (CPUID leaf 0DH).
#[derive(Debug)]
pub(super) struct XsaveLayout {
    xfrm: u64,
    /// Offset and size of each part that XFRM names, behind the legacy region and the header.
    parts: Vec<(usize, usize)>,
}

impl XsaveLayout {
    const LEGACY: usize = 416;
    const MXCSR: usize = 24;
    const HEADER: usize = 512;
    const END_OF_HEADER: usize = 576;
    /// MXCSR after INIT.
    const MXCSR_INITIAL: u32 = 0x1f80;

    pub(super) fn of(xfrm: u64) -> Self {
        let part = |bit: u32| {
            let leaf = std::arch::x86_64::__cpuid_count(0x0d, bit);
            (leaf.ebx as usize, leaf.eax as usize)
        };
        Self { xfrm, parts: (2..63).filter(|bit| xfrm >> bit & 1 != 0).map(part).collect() }
    }

    /// Bytes of the XSAVE area.
    fn end(&self) -> usize {
        self.parts.iter().map(|(offset, size)| offset + size).fold(Self::END_OF_HEADER, usize::max)
    }

    /// Whether a frame of so many bytes has room for it before EXINFO and GPRSGX.
    pub(super) fn fits(&self, frame_bytes: usize) -> bool {
        self.end() + EXINFO + GPRSGX <= frame_bytes
    }

    fn save(&self, area: &[u8], epc: &Locked<'_>, frame: usize) -> Option<()> {
        epc.write(frame, area.get(..Self::LEGACY)?)?;
        let mut header = [0; Self::END_OF_HEADER - Self::HEADER];
        let present = u64::from_le_bytes(*area.get(Self::HEADER..)?.first_chunk()?) & self.xfrm;
        header[..8].copy_from_slice(&present.to_le_bytes());
        epc.write(frame + Self::HEADER, &header)?;
        for &(offset, size) in &self.parts {
            // What the kernel left out of its frame is in its initial state, and XSTATE_BV says so.
            if let Some(part) = area.get(offset..offset + size) {
                epc.write(frame + offset, part)?;
            }
        }
        Some(())
    }

    /// The state after an asynchronous exit: initial, where XFRM names it.
    fn reset(&self, area: &mut [u8]) {
        self.change_present(area, 0);
        if let Some(mxcsr) = area.get_mut(Self::MXCSR..Self::MXCSR + 4) {
            mxcsr.copy_from_slice(&Self::MXCSR_INITIAL.to_le_bytes());
        }
    }

    fn load(&self, area: &mut [u8], epc: &Locked<'_>, frame: usize) -> Option<()> {
        let legacy: [u8; Self::LEGACY] = epc.read(frame)?;
        let target = area.first_chunk_mut::<{ Self::LEGACY }>()?;
        // Bits of MXCSR that this CPU lacks would fault in the kernel, which has MXCSR_MASK here.
        let mask = u32::from_le_bytes(field(target, Self::MXCSR + 4));
        let mxcsr = u32::from_le_bytes(field(&legacy, Self::MXCSR)) & mask;
        *target = legacy;
        target[Self::MXCSR..Self::MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
        for &(offset, size) in &self.parts {
            if let Some(part) = area.get_mut(offset..offset + size) {
                for (at, chunk) in (frame + offset..).step_by(8).zip(part.chunks_exact_mut(8)) {
                    chunk.copy_from_slice(&epc.read::<8>(at)?);
                }
            }
        }
        self.change_present(area, u64::from_le_bytes(epc.read(frame + Self::HEADER)?));
        Some(())
    }

    /// Sets XSTATE_BV where XFRM names it.
    fn change_present(&self, area: &mut [u8], present: u64) {
        if let Some(word) = area.get_mut(Self::HEADER..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            let others = u64::from_le_bytes(*word) & !self.xfrm;
            *word = (others | present & self.xfrm).to_le_bytes();
        }
    }
}

/// Checks on entry that a frame lies in memory that the enclave may read and write, and notes there where the
/// untrusted stack is (SDM 3D, EENTER and ERESUME: URSP and URBP).
///
/// # Errors
/// The page that it may not.
pub(super) fn note_stack(enclave: &Running, frame: usize, rsp: u64, rbp: u64) -> Result<(), usize> {
    let epc = enclave.epc.lock();
    let registers = frame + enclave.frame_bytes - GPRSGX;
    for (start, bytes) in [(frame, enclave.xsave.end()), (registers, GPRSGX)] {
        let pages = (start - start % PAGE_SIZE..start + bytes).step_by(PAGE_SIZE);
        for page in pages {
            epc.permit(page, 1, PageState::READ | PageState::WRITE).ok_or(page)?;
        }
    }
    let mut words = [0; 16];
    words[..8].copy_from_slice(&rsp.to_le_bytes());
    words[8..].copy_from_slice(&rbp.to_le_bytes());
    epc.write(registers + at::URSP, &words).ok_or(registers)
}

/// An asynchronous exit (SDM 3D, "Asynchronous Enclave Exit Flow"): the state goes into the frame CSSA names,
/// registers get their synthetic state, and the thread goes on behind the entry, where the exception is
/// written into the caller's `EnclaveRun`, as the kernel does for one on ENCLU.
pub(super) fn exit(
    processor: &Processor,
    (enclave, tcs): (&Running, &Tcs),
    context: &mut Context<'_>,
    exception: Exception,
    leaf: Option<u32>,
) {
    let at = enclave.epc.offset_of(context.get(Register::Rip)).map(|at| at as u64);
    processor.set_last_fault(report(enclave, exception, at, leaf));

    let cssa = tcs.cssa();
    let stack = tcs.frame(cssa, enclave.frame_bytes).and_then(|frame| {
        let epc = enclave.epc.lock();
        let registers = frame + enclave.frame_bytes - GPRSGX;
        let stack: [u8; 16] = epc.read(registers + at::URSP)?;
        save(enclave, &epc, frame, context, exception)?;
        Some((u64::from_le_bytes(field(&stack, 0)), u64::from_le_bytes(field(&stack, 8))))
    });
    // EENTER saw the frame in writable memory. Where the enclave lost it since, hardware could not go on
    // either; the thread needs its stack all the same.
    let (rsp, rbp) = stack.unwrap_or(processor.untrusted_stack());
    tcs.set_cssa(cssa + 1);
    processor.leave(tcs);

    if let Some(area) = context.extended_state() {
        enclave.xsave.reset(area);
    }
    for register in ORDER {
        if register != Register::Rflags {
            context.set(register, 0);
        }
    }
    let flags = context.get(Register::Rflags) & !(ARITHMETIC_FLAGS | RESUME_FLAG | TRAP_FLAG);
    context.set(Register::Rflags, flags);
    context.set(Register::Rbx, (enclave.epc.base() + tcs.offset) as u64);
    context.set(Register::Rcx, processor.aep());
    context.set(Register::Rsp, rsp);
    context.set(Register::Rbp, rbp);
    land(processor, context, exception);
}

/// Goes on behind the entry with the exception where the kernel's vDSO expects it.
fn land(processor: &Processor, context: &mut Context<'_>, exception: Exception) {
    context.set(Register::Rax, u64::from(ERESUME));
    context.set(Register::Rdi, u64::from(exception.vector));
    context.set(Register::Rsi, u64::from(exception.error_code));
    context.set(Register::Rdx, exception.address);
    context.set(Register::Rip, processor.exception_landing());
}

fn save(
    enclave: &Running,
    epc: &Locked<'_>,
    frame: usize,
    context: &mut Context<'_>,
    exception: Exception,
) -> Option<()> {
    let mut words = [0; 8 * ORDER.len()];
    for (word, register) in words.chunks_exact_mut(8).zip(ORDER) {
        word.copy_from_slice(&context.get(register).to_le_bytes());
    }
    let registers = frame + enclave.frame_bytes - GPRSGX;
    epc.write(registers, &words)?;
    let with_exinfo = enclave.state.misc_select & MISC_EXINFO != 0;
    epc.write(registers + at::EXIT_INFO, &u64::from(exit_info(exception, with_exinfo)).to_le_bytes())?;
    // FS stays the host's: there is no base of the enclave's to save.
    epc.write(registers + at::FS_BASE, &[0; 8])?;
    epc.write(registers + at::GS_BASE, &processor::gs_base().to_le_bytes())?;
    if with_exinfo && matches!(exception.vector, vector::PAGE_FAULT | vector::GENERAL_PROTECTION) {
        let mut information = [0; EXINFO];
        information[..8].copy_from_slice(&exception.address.to_le_bytes());
        information[8..12].copy_from_slice(&u32::from(exception.error_code).to_le_bytes());
        epc.write(registers - EXINFO, &information)?;
    }
    enclave.xsave.save(context.extended_state()?, epc, frame)
}

/// EXITINFO (SDM 3D, "EXITINFO"): which exceptions an enclave is told of.
fn exit_info(exception: Exception, with_exinfo: bool) -> u32 {
    const VALID: u32 = 1 << 31;
    const HARDWARE: u32 = 0b011 << 8;
    const SOFTWARE: u32 = 0b110 << 8;
    let kind = match exception.vector {
        vector::BREAKPOINT => SOFTWARE,
        vector::DIVIDE_ERROR
        | vector::DEBUG
        | vector::BOUND_RANGE
        | vector::INVALID_OPCODE
        | vector::X87_ERROR
        | vector::ALIGNMENT_CHECK
        | vector::SIMD_ERROR => HARDWARE,
        vector::PAGE_FAULT | vector::GENERAL_PROTECTION if with_exinfo => HARDWARE,
        _ => return 0,
    };
    VALID | kind | u32::from(exception.vector)
}

/// ERESUME (SDM 3D, "ERESUME—Re-Enters an Enclave"), behind the checks of the entry: the thread goes on where
/// the last asynchronous exit of its TCS was.
pub(super) fn resume(processor: &Processor, (enclave, tcs): (&Running, &Tcs), context: &mut Context<'_>) {
    let cssa = tcs.cssa().saturating_sub(1);
    let gs_base = tcs.frame(cssa, enclave.frame_bytes).and_then(|frame| {
        let epc = enclave.epc.lock();
        load(enclave, &epc, frame, context)
    });
    if let Some(gs_base) = gs_base {
        tcs.set_cssa(cssa);
        processor::set_gs_base(gs_base);
        processor.set_mode(Mode::Inside);
    } else {
        processor.set_last_fault(report(enclave, Exception::GENERAL_PROTECTION, None, Some(ERESUME)));
        processor.leave(tcs);
        land(processor, context, Exception::GENERAL_PROTECTION);
    }
}

/// The GS base to load, once all else is in `context`. None: the frame cannot be read or has an address in it
/// that is none; the general registers are as they were.
fn load(enclave: &Running, epc: &Locked<'_>, frame: usize, context: &mut Context<'_>) -> Option<u64> {
    /// What ERESUME restores and the kernel lets a handler set; NT and ID it does not.
    const FLAGS: u64 = ARITHMETIC_FLAGS | DIRECTION_FLAG | RESUME_FLAG | ALIGNMENT_FLAG;

    let registers: [u8; GPRSGX] = epc.read(frame + enclave.frame_bytes - GPRSGX)?;
    let word = |at: usize| u64::from_le_bytes(field(&registers, at));
    let (rip, gs_base) = (word(8 * (ORDER.len() - 1)), word(at::GS_BASE));
    if !is_canonical(rip) || !is_canonical(gs_base) {
        return None;
    }
    enclave.xsave.load(context.extended_state()?, epc, frame)?;
    let flags = context.get(Register::Rflags) & !(FLAGS | TRAP_FLAG);
    for (at, register) in (0..).step_by(8).zip(ORDER) {
        context.set(register, word(at));
    }
    context.set(Register::Rflags, flags | word(8 * (ORDER.len() - 2)) & FLAGS);
    Some(gs_base)
}

/// What is told of an exception.
pub(super) fn report(
    enclave: &Running,
    exception: Exception,
    instruction: Option<u64>,
    leaf: Option<u32>,
) -> Fault {
    let of_page = exception.vector == vector::PAGE_FAULT;
    let page = enclave.epc.offset_of(exception.address).filter(|_| of_page);
    let has = |bit| exception.error_code & bit != 0;
    Fault {
        vector: exception.vector,
        error_code: exception.error_code,
        address: of_page.then_some(exception.address),
        page: page.map(|page| (page - page % PAGE_SIZE) as u64),
        state: page.map(|page| enclave.epc.state(page)),
        access: of_page.then_some(if has(page_fault::FETCH) {
            Access::Execute
        } else if has(page_fault::WRITE) {
            Access::Write
        } else {
            Access::Read
        }),
        instruction,
        leaf,
    }
}
