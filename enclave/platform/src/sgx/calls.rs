//! What the standard library asks of the host, caught on its way out.
//!
//! The linker sends std's calls of `usercall` here (`--wrap`, set by `enclave/image/build.rs`). Libraries ask
//! `Instant::now` and `SystemTime::now` for things that nothing rests on, some of them at every step of a
//! connection; the answer stands in the time page, and leaving the enclave for it would cost more than the
//! step.

use std::num::NonZero;
use std::os::fortanix_sgx::usercalls::raw::UsercallNrs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The page that the host writes its clocks to, once it is known.
pub(super) static TIME_PAGE: OnceLock<&'static [AtomicU64; 2]> = OnceLock::new();

/// Two registers, as the assembly of std's entry point returns them.
#[repr(C)]
struct Returned(u64, u64);

unsafe extern "C" {
    /// std's own, by the name that the linker gives it.
    fn __real_usercall(number: NonZero<u64>, p1: u64, p2: u64, abort: u64, p3: u64, p4: u64) -> Returned;
}

/// # Safety
/// As for std's function of that name: parameters are what the call's definition says.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_usercall(
    number: NonZero<u64>,
    p1: u64,
    p2: u64,
    abort: u64,
    p3: u64,
    p4: u64,
) -> Returned {
    if number.get() == UsercallNrs::insecure_time as u64
        && let Some([unix_ns, _]) = TIME_PAGE.get()
    {
        return Returned(u64::from_le(unix_ns.load(Ordering::Relaxed)), 0);
    }
    // SAFETY: the same call with the same parameters.
    unsafe { __real_usercall(number, p1, p2, abort, p3, p4) }
}
