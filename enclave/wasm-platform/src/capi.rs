//! The C symbols that wasmtime links against where it knows no operating system (`wasmtime-platform.h`).
//!
//! Only thread-local storage is really used. There is no memory map in an enclave: memories, stacks and code
//! come from our pools, so nothing asks for one, and if something did it would be refused.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use crate::sys;

/// What refused calls answer; wasmtime shows it as "os error".
const REFUSED: i32 = 1;

thread_local! {
    /// Slot 0 is the runtime's, slot 1 would be that of asynchronous components.
    static SLOTS: [Cell<*mut u8>; 2] = const { [Cell::new(ptr::null_mut()), Cell::new(ptr::null_mut())] };
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    SLOTS.with(|slots| slots.get(slot).map_or(ptr::null_mut(), Cell::get))
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    SLOTS.with(|slots| {
        if let Some(cell) = slots.get(slot) {
            cell.set(value);
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_page_size() -> usize {
    sys::page_size()
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_new(_: usize, _: u32, _: *mut *mut u8) -> i32 {
    REFUSED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_remap(_: *mut u8, _: usize, _: u32) -> i32 {
    REFUSED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_munmap(_: *mut u8, _: usize) -> i32 {
    REFUSED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mprotect(_: *mut u8, _: usize, _: u32) -> i32 {
    REFUSED
}

/// Success with a null image: none can be made, memories are initialised by copying.
///
/// # Safety
/// `image` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn wasmtime_memory_image_new(_: *const u8, _: usize, image: *mut *mut c_void) -> i32 {
    // SAFETY: the caller's promise (`wasmtime-platform.h`).
    unsafe { image.write(ptr::null_mut()) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_map_at(_: *mut c_void, _: *mut u8, _: usize) -> i32 {
    REFUSED
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_free(_: *mut c_void) {}
