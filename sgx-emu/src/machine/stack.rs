//! The stack that signals of a thread run on. The enclave's own cannot serve: it may be small, or what faulted.

use std::cell::Cell;
use std::io;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::PAGE_SIZE;

/// Room for the largest frame of a signal (12 KiB with AMX), a leaf's cryptography, and host handlers.
const SIZE: usize = 128 << 10;

thread_local! {
    static READY: Cell<bool> = const { Cell::new(false) };
    static STACK: Cell<Option<Stack>> = const { Cell::new(None) };
}

/// Sees to it that this thread can take the signals of an enclave: they have a stack and are not blocked.
pub(super) fn ready() -> io::Result<()> {
    if !READY.get() {
        let stack = Stack::install()?;
        // A thread that is ending has no place any more for what is to be dropped at its end.
        STACK.try_with(|kept| kept.set(Some(stack))).map_err(|_| io::ErrorKind::OutOfMemory)?;
        unblock()?;
        READY.set(true);
    }
    Ok(())
}

/// An alternate signal stack, installed for the thread that holds it.
struct Stack {
    /// The mapping: a page without access, then the stack.
    base: usize,
}

impl Stack {
    fn install() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the system's choice touches nothing that exists.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                PAGE_SIZE + SIZE,
                protection,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let stack = Self { base: base as usize };
        // SAFETY: the first page of the new mapping, which nobody else has.
        unsafe { rustix::mm::mprotect(base, PAGE_SIZE, MprotectFlags::empty())? };
        let description =
            libc::stack_t { ss_sp: (stack.base + PAGE_SIZE) as *mut _, ss_flags: 0, ss_size: SIZE };
        // SAFETY: the stack is memory of its own that is unmapped after it was taken back.
        if unsafe { libc::sigaltstack(&description, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }
}

impl Drop for Stack {
    /// At the end of the thread. What the thread had before may be gone by now, so nothing takes its place.
    fn drop(&mut self) {
        READY.set(false);
        // SAFETY: a zeroed `stack_t` is one; the first call asks, the second disables.
        let disabled = unsafe {
            let mut current: libc::stack_t = std::mem::zeroed();
            let ours = libc::sigaltstack(std::ptr::null(), &mut current) == 0
                && current.ss_sp as usize == self.base + PAGE_SIZE
                && current.ss_flags & libc::SS_DISABLE == 0;
            let none = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            !ours || libc::sigaltstack(&none, std::ptr::null_mut()) == 0
        };
        if disabled {
            // SAFETY: the mapping of `install`; the kernel uses it no more.
            let unmapped = unsafe { rustix::mm::munmap(self.base as *mut _, PAGE_SIZE + SIZE) };
            debug_assert!(unmapped.is_ok());
        }
    }
}

/// The kernel ends a process whose thread blocks the signal of an exception.
fn unblock() -> io::Result<()> {
    // SAFETY: an empty set is made before it is added to, and the mask changed is this thread's.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in super::signals::SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
