//! ENCLU inside an enclave, leaf by leaf. Operands lie in the enclave, or the leaf faults.

use super::PageState;
use super::context::{ARITHMETIC_FLAGS, Context, Register, ZERO_FLAG, is_canonical};
use super::enclave::Running;
use super::epc::Locked;
use super::fault::Exception;
use super::processor::Processor;
use super::tcs::Tcs;
use crate::keys::field;
use crate::{KeyRequest, PAGE_SIZE, Secinfo, TARGET_INFO_LEN};

/// The instruction: `0F 01 D7`.
pub(super) const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];

const EREPORT: u32 = 0;
const EGETKEY: u32 = 1;
const EEXIT: u32 = 4;
const EACCEPT: u32 = 5;
const EMODPE: u32 = 6;
const EACCEPTCOPY: u32 = 7;

/// SGX_PAGE_ATTRIBUTES_MISMATCH (SDM 3D, table "SGX error codes").
const PAGE_ATTRIBUTES_MISMATCH: u32 = 19;

/// Answers the leaf in EAX. The instruction is done when this returns: the context says where to go on.
pub(super) fn enclu(
    processor: &Processor,
    (enclave, tcs): (&Running, &Tcs),
    context: &mut Context<'_>,
) -> Result<(), Exception> {
    let [rbx, rcx, rdx] = [Register::Rbx, Register::Rcx, Register::Rdx].map(|r| context.get(r));
    let status = match leaf(context) {
        EEXIT => return eexit(processor, tcs, context, rbx),
        EREPORT => {
            ereport(enclave, rbx, rcx, rdx)?;
            None
        }
        EGETKEY => Some(egetkey(enclave, rbx, rcx)?),
        EACCEPT => Some(eaccept(enclave, rbx, rcx)?),
        EMODPE => {
            emodpe(enclave, rbx, rcx)?;
            None
        }
        EACCEPTCOPY => Some(eacceptcopy(enclave, rbx, rcx, rdx)?),
        // EENTER and ERESUME have no business in enclave mode; there are no others on this CPU.
        _ => return Err(Exception::GENERAL_PROTECTION),
    };
    if let Some(code) = status {
        let flags = context.get(Register::Rflags) & !ARITHMETIC_FLAGS;
        context.set(Register::Rflags, if code == 0 { flags } else { flags | ZERO_FLAG });
        context.set(Register::Rax, u64::from(code));
    }
    context.set(Register::Rip, context.get(Register::Rip).wrapping_add(ENCLU.len() as u64));
    Ok(())
}

/// The leaf that an ENCLU asks for.
pub(super) fn leaf(context: &Context<'_>) -> u32 {
    context.get(Register::Rax) as u32
}

/// EEXIT (SDM 3D, "EEXIT—Exits an Enclave"): on at RBX, with the AEP in RCX; nothing is cleared.
fn eexit(processor: &Processor, tcs: &Tcs, context: &mut Context<'_>, target: u64) -> Result<(), Exception> {
    if !is_canonical(target) {
        return Err(Exception::GENERAL_PROTECTION);
    }
    processor.leave(tcs);
    context.set(Register::Rip, target);
    context.set(Register::Rcx, processor.aep());
    Ok(())
}

/// EREPORT (SDM 3D, "EREPORT—Create a Cryptographic Report of the Enclave"): TARGETINFO at RBX, REPORTDATA at
/// RCX, the report to RDX.
fn ereport(enclave: &Running, rbx: u64, rcx: u64, rdx: u64) -> Result<(), Exception> {
    let epc = enclave.epc.lock();
    let target: [u8; TARGET_INFO_LEN] = read(&epc, operand(enclave, rbx, 512)?, rbx)?;
    let data = read(&epc, operand(enclave, rcx, 128)?, rcx)?;
    let report_at = operand(enclave, rdx, 512)?;
    epc.write(report_at, &enclave.cpu.ereport(&enclave.state, &target, &data))
        .ok_or(Exception::page_fault(rdx, true))
}

/// EGETKEY (SDM 3D, "EGETKEY—Retrieves a Cryptographic Key"): KEYREQUEST at RBX, the key to RCX.
fn egetkey(enclave: &Running, rbx: u64, rcx: u64) -> Result<u32, Exception> {
    let epc = enclave.epc.lock();
    let request: [u8; KeyRequest::LEN] = read(&epc, operand(enclave, rbx, 512)?, rbx)?;
    let key_at = operand(enclave, rcx, 16)?;
    epc.permit(key_at, 16, PageState::READ | PageState::WRITE).ok_or(Exception::page_fault(rcx, true))?;
    let request = KeyRequest::from_bytes(&request).map_err(|_| Exception::GENERAL_PROTECTION)?;
    match enclave.cpu.egetkey(&enclave.state, &request) {
        Ok(key) => {
            let key = zeroize::Zeroizing::new(key);
            epc.write(key_at, &*key).map(|()| 0).ok_or(Exception::page_fault(rcx, true))
        }
        Err(code) => Ok(code),
    }
}

/// EACCEPT (SDM 3D, "EACCEPT—Accept Changes to an EPC Page"): SECINFO at RBX says what the page at RCX must
/// be. Every change was made for all processors at once, so tracking is always complete.
fn eaccept(enclave: &Running, rbx: u64, rcx: u64) -> Result<u32, Exception> {
    let epc = enclave.epc.lock();
    let asked = SecinfoFlags::read(&epc, operand(enclave, rbx, Secinfo::LEN)?, rbx)?;
    let page_at = operand(enclave, rcx, PAGE_SIZE)?;
    let state = resolve(enclave, page_at, rcx)?;
    let new_or_restricted = asked.has(SecinfoFlags::PR | SecinfoFlags::PENDING);
    let legal = match asked.page_type() {
        SecinfoFlags::REGULAR => new_or_restricted && !asked.has(SecinfoFlags::MODIFIED),
        SecinfoFlags::TCS | SecinfoFlags::TRIM => !new_or_restricted && asked.has(SecinfoFlags::MODIFIED),
        _ => false,
    };
    if !legal {
        return Err(Exception::GENERAL_PROTECTION);
    }
    // No page is MODIFIED: this CPU has no EMODT. PR is not compared.
    if asked.has(SecinfoFlags::MODIFIED)
        || state.is_tcs()
        || state.pending() != asked.has(SecinfoFlags::PENDING)
        || state.permissions() != asked.permissions()
    {
        return Ok(PAGE_ATTRIBUTES_MISMATCH);
    }
    epc.set(page_at, state.accepted()).map(|()| 0).map_err(|_| Exception::page_fault(rcx, true))
}

/// EMODPE (SDM 3D, "EMODPE—Extend an EPC Page Permissions"): the page at RCX gains what SECINFO at RBX has.
fn emodpe(enclave: &Running, rbx: u64, rcx: u64) -> Result<(), Exception> {
    let secinfo_at = operand(enclave, rbx, Secinfo::LEN)?;
    let page_at = operand(enclave, rcx, PAGE_SIZE)?;
    let epc = enclave.epc.lock();
    resolve(enclave, secinfo_at, rbx)?;
    let state = resolve(enclave, page_at, rcx)?;
    let asked = SecinfoFlags::read(&epc, secinfo_at, rbx)?;
    if !state.usable() {
        return Err(Exception::page_fault(rcx, true));
    }
    let extended = state.extended(asked.permissions());
    if write_only(extended.permissions()) {
        return Err(Exception::GENERAL_PROTECTION);
    }
    epc.set(page_at, extended).map_err(|_| Exception::page_fault(rcx, true))
}

/// EACCEPTCOPY (SDM 3D, "EACCEPTCOPY—Initialize a Pending Page"): the page at RCX, which EAUG added, gets the
/// content of the one at RDX and the permissions of SECINFO at RBX.
fn eacceptcopy(enclave: &Running, rbx: u64, rcx: u64, rdx: u64) -> Result<u32, Exception> {
    let secinfo_at = operand(enclave, rbx, Secinfo::LEN)?;
    let page_at = operand(enclave, rcx, PAGE_SIZE)?;
    let source_at = operand(enclave, rdx, PAGE_SIZE)?;
    let epc = enclave.epc.lock();
    resolve(enclave, secinfo_at, rbx)?;
    let state = resolve(enclave, page_at, rcx)?;
    resolve(enclave, source_at, rdx)?;
    let asked = SecinfoFlags::read(&epc, secinfo_at, rbx)?;
    if asked.page_type() != SecinfoFlags::REGULAR || write_only(asked.permissions()) {
        return Err(Exception::GENERAL_PROTECTION);
    }
    epc.permit(source_at, PAGE_SIZE, PageState::READ).ok_or(Exception::page_fault(rdx, false))?;
    if state != PageState::augmented() {
        return Ok(PAGE_ATTRIBUTES_MISMATCH);
    }
    let copied = epc.set(page_at, state.accepted()).is_ok()
        && epc.copy_page(source_at, page_at).is_some()
        && epc.set(page_at, PageState::regular(asked.permissions())).is_ok();
    copied.then_some(0).ok_or(Exception::page_fault(rcx, true))
}

/// The offset of an operand: #GP unless it is aligned and in ELRANGE. None is larger than its alignment but
/// a report, whose 432 bytes fit in 512 all the same.
fn operand(enclave: &Running, address: u64, alignment: usize) -> Result<usize, Exception> {
    let offset = enclave.epc.offset_of(address).ok_or(Exception::GENERAL_PROTECTION)?;
    if offset.is_multiple_of(alignment) { Ok(offset) } else { Err(Exception::GENERAL_PROTECTION) }
}

/// What the EPCM says of an operand's page: #PF where there is none.
fn resolve(enclave: &Running, offset: usize, address: u64) -> Result<PageState, Exception> {
    let state = enclave.epc.state(offset);
    if state.valid() { Ok(state) } else { Err(Exception::page_fault(address, false)) }
}

fn write_only(permissions: u8) -> bool {
    permissions & (PageState::READ | PageState::WRITE) == PageState::WRITE
}

fn read<const N: usize>(epc: &Locked<'_>, offset: usize, address: u64) -> Result<[u8; N], Exception> {
    epc.read(offset).ok_or(Exception::page_fault(address, false))
}

/// SECINFO.FLAGS as ENCLU leaves take them (SDM 3D, "SECINFO.FLAGS").
struct SecinfoFlags(u64);

impl SecinfoFlags {
    const PENDING: u64 = 1 << 3;
    const MODIFIED: u64 = 1 << 4;
    const PR: u64 = 1 << 5;
    const KNOWN: u64 = 0xff3f;
    const TCS: u64 = 1;
    const REGULAR: u64 = 2;
    const TRIM: u64 = 4;

    fn read(epc: &Locked<'_>, offset: usize, address: u64) -> Result<Self, Exception> {
        let bytes: [u8; Secinfo::LEN] = read(epc, offset, address)?;
        let flags = u64::from_le_bytes(field(&bytes, 0));
        if flags & !Self::KNOWN != 0 || bytes[8..].iter().any(|&b| b != 0) {
            return Err(Exception::GENERAL_PROTECTION);
        }
        Ok(Self(flags))
    }

    fn has(&self, any: u64) -> bool {
        self.0 & any != 0
    }

    fn page_type(&self) -> u64 {
        self.0 >> 8
    }

    fn permissions(&self) -> u8 {
        self.0 as u8 & PageState::PERMISSIONS
    }
}
