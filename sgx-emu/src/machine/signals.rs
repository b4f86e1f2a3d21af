//! The signals that stand for what a CPU would do inside an enclave, and all others handed on.

use std::io;
use std::sync::OnceLock;

use super::PageState;
use super::aex;
use super::context::{Context, Register};
use super::enclave::Running;
use super::fault::{Exception, page_fault, vector};
use super::leaves;
use super::processor::{self, Mode, Processor};
use super::tcs::Tcs;
use crate::PAGE_SIZE;

/// The signals by which the kernel tells of an exception.
pub(super) const SIGNALS: [libc::c_int; 5] =
    [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGTRAP];

/// si_code of a SIGSEGV: the page is mapped and forbids the access (`asm-generic/siginfo.h`).
const SEGV_ACCERR: libc::c_int = 2;

/// What the process did with them before.
static PREVIOUS: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// Installs the handlers, once for the process.
pub(super) fn install() -> io::Result<()> {
    INSTALLED
        .get_or_init(|| install_all().map_err(|e| e.raw_os_error().unwrap_or_default()))
        .map_err(io::Error::from_raw_os_error)
}

fn install_all() -> io::Result<()> {
    // SAFETY: a zeroed `sigaction` is one: no handler, no flags, an empty set.
    let mut previous: [libc::sigaction; SIGNALS.len()] = unsafe { std::mem::zeroed() };
    for (signal, before) in SIGNALS.into_iter().zip(&mut previous) {
        // SAFETY: asks what is installed, and writes that to a place of the right type.
        if unsafe { libc::sigaction(signal, std::ptr::null(), before) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // Known before the first handler can run.
    let previous = PREVIOUS.get_or_init(|| previous);
    for (signal, before) in SIGNALS.into_iter().zip(previous) {
        let mut action = *before;
        action.sa_sigaction = handler as *const () as usize;
        // The mask, SA_NODEFER and SA_RESTART stay as the handler before wanted them.
        action.sa_flags &= libc::SA_NODEFER | libc::SA_RESTART;
        action.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: needed to take the place of the CPU. The handler is async-signal-safe: it touches this
        // thread's processor, enclave memory and the EPCM, and else hands the signal on.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, frame: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO its information and its frame, both for it alone.
    let (code, ucontext) = unsafe { ((*info).si_code, &mut *frame.cast::<libc::ucontext_t>()) };
    // What a process sends with kill(2) is no exception.
    if code > 0 {
        let by_permission = signal == libc::SIGSEGV && code == SEGV_ACCERR;
        let answered = processor::with(|processor| {
            let inside = processor.inside()?;
            Some(answer(processor, inside, &mut Context::new(ucontext), by_permission))
        });
        if answered == Some(true) {
            return;
        }
    }
    hand_on(signal, info, frame);
}

/// Does what the CPU would. False: the signal is not about the enclave.
///
/// Not inlined: a thread that is in no enclave may have a small stack for its signals.
#[inline(never)]
fn answer(
    processor: &Processor,
    inside: (&Running, &Tcs),
    context: &mut Context<'_>,
    by_permission: bool,
) -> bool {
    let (trap, error_code, address) = context.trap();
    let rip = context.get(Register::Rip);
    if processor.mode() == Mode::Resuming {
        let here = rip == processor.aep();
        if here {
            aex::resume(processor, inside, context);
        }
        return here;
    }
    let (enclave, _) = inside;
    let in_enclave = enclave.epc.offset_of(rip);
    if let Some(offset) = in_enclave
        && is_enclu(enclave, offset)
        && matches!(trap as u8, vector::INVALID_OPCODE | vector::GENERAL_PROTECTION | vector::PAGE_FAULT)
    {
        let leaf = leaves::leaf(context);
        if let Err(exception) = leaves::enclu(processor, inside, context) {
            aex::exit(processor, inside, context, exception, Some(leaf));
        }
        return true;
    }
    // Enclave code that jumped out of the enclave into nothing. Else, with RIP outside, it is a host's
    // signal handler on top of enclave code that faulted, and its own affair.
    let fetch = trap as u8 == vector::PAGE_FAULT && error_code & u64::from(page_fault::FETCH) != 0;
    if in_enclave.is_none() && !(fetch && address == rip) {
        return false;
    }
    let (exception, allowed) = exception(enclave, trap as u8, error_code as u16, address);
    // By permission of the EPCM: another thread has changed the page meanwhile, and it goes through now.
    if !(allowed && by_permission) {
        aex::exit(processor, inside, context, exception, None);
    }
    true
}

fn is_enclu(enclave: &Running, offset: usize) -> bool {
    enclave.epc.lock().fetch(offset) == Some(leaves::ENCLU)
}

/// The exception as an enclave's CPU would raise it, and whether the EPCM has nothing against the access.
fn exception(enclave: &Running, trap: u8, error_code: u16, address: u64) -> (Exception, bool) {
    if trap != vector::PAGE_FAULT {
        return (Exception { vector: trap, error_code, address: 0 }, false);
    }
    let needed = if error_code & page_fault::FETCH != 0 {
        PageState::EXECUTE
    } else if error_code & page_fault::WRITE != 0 {
        PageState::WRITE
    } else {
        PageState::READ
    };
    let state = enclave.epc.offset_of(address).map(|offset| enclave.epc.state(offset));
    let error_code = match state {
        // With a page there, a host's page tables would have let it through, and the EPCM forbids it.
        Some(state) => {
            let kind = error_code & (page_fault::USER | page_fault::WRITE | page_fault::FETCH);
            kind | if state.valid() { page_fault::PRESENT | page_fault::SGX } else { 0 }
        }
        None => error_code,
    };
    let page = address & !(PAGE_SIZE as u64 - 1);
    let allowed = state.is_some_and(|state| state.allows(needed));
    (Exception { vector: trap, error_code, address: page }, allowed)
}

/// Lets the handler before ours have the signal, or the kernel's default.
fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, frame: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|&s| s == signal);
    let before = index.and_then(|i| PREVIOUS.get().map(|previous| &previous[i]));
    // SAFETY: the kernel's information of this signal.
    let sent = unsafe { (*info).si_code <= 0 };
    match before {
        Some(before) if before.sa_sigaction == libc::SIG_IGN && sent => {}
        Some(before) if !matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) => {
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO the process installed a function of this type, for these arguments.
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    unsafe { std::mem::transmute(before.sa_sigaction) };
                handler(signal, info, frame);
            } else {
                // SAFETY: without SA_SIGINFO it is one of this type.
                let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(before.sa_sigaction) };
                handler(signal);
            }
        }
        _ => {
            // SAFETY: the default action is installed, which ends the process: at the instruction that
            // faulted when that is tried again, or by the signal raised here, once this handler returns.
            unsafe {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                if sent || signal == libc::SIGTRAP {
                    libc::raise(signal);
                }
            }
        }
    }
}
