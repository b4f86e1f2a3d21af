//! The instructions of an enclave (SDM volume 3D, ENCLU) and the random number generator.

use std::arch::asm;
use std::arch::x86_64::{_rdrand64_step, _rdseed64_step};
use std::os::fortanix_sgx::arch::{Align16, Align128, Align512, egetkey, ereport};

use zeroize::{Zeroize, Zeroizing};

use crate::structures::{KEYREQUEST, REPORT};

const EACCEPT: u32 = 5;
const EMODPE: u32 = 6;

/// EREPORT for `target` over `data`.
pub(super) fn report(target: &[u8; 512], data: &[u8; 64]) -> [u8; REPORT] {
    ereport(&Align512(*target), &Align128(*data)).0
}

/// EGETKEY, or the SDM's error code.
pub(super) fn key(request: &[u8; KEYREQUEST]) -> Result<Zeroizing<[u8; 16]>, u32> {
    let Align16(mut key) = egetkey(&Align512(*request))?;
    let kept = Zeroizing::new(key);
    key.zeroize();
    Ok(kept)
}

/// SECINFO: flags, then zeros.
#[repr(C, align(64))]
struct SecInfo {
    flags: u64,
    reserved: [u64; 7],
}

/// EACCEPT of the page at this address: the SDM's error code, 0 for success.
pub(super) fn accept(page: u64, flags: u64) -> u32 {
    // SAFETY: EACCEPT reads the SECINFO and compares it with the page's EPCM entry. It changes no memory and,
    // of the entry, only flags that say a change of the host's is pending.
    unsafe { on_page::<EACCEPT>(page, flags) }
}

/// EMODPE: adds permissions to the page at this address.
pub(super) fn extend(page: u64, permissions: u64) {
    // SAFETY: EMODPE reads the SECINFO and adds permissions to the page's EPCM entry. It changes no memory, and
    // no code is safe only because the CPU would stop it. It leaves no result in EAX.
    unsafe { on_page::<EMODPE>(page, permissions) };
}

/// ENCLU with a SECINFO of these flags in RBX and a page in RCX; what it leaves in EAX.
///
/// # Safety
/// The leaf takes these operands, reads the SECINFO, and changes no memory that the program uses.
unsafe fn on_page<const LEAF: u32>(page: u64, flags: u64) -> u32 {
    let info = SecInfo { flags, reserved: [0; 7] };
    let result: u32;
    // SAFETY: needed because the instruction has no other name. The caller's promise says what it does; RBX is
    // saved around it, because LLVM keeps it for itself.
    unsafe {
        asm!(
            "xchg rbx, {info}",
            "enclu",
            "mov rbx, {info}",
            info = inout(reg) &raw const info => _,
            inlateout("eax") LEAF => result,
            in("rcx") page,
            options(nostack),
        );
    }
    result
}

/// RDRAND, once.
pub(super) fn rdrand() -> Option<u64> {
    let mut word = 0;
    // SAFETY: the image is built for CPUs with RDRAND, and its host refuses any other.
    (unsafe { _rdrand64_step(&mut word) } == 1).then_some(word)
}

/// RDSEED, once.
pub(super) fn rdseed() -> Option<u64> {
    let mut word = 0;
    // SAFETY: the image is built for CPUs with RDSEED, and its host refuses any other.
    (unsafe { _rdseed64_step(&mut word) } == 1).then_some(word)
}
