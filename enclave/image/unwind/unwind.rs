//! The functions of an unwinder that std names for this target, as assembly in a crate without core.
//!
//! An image is built with `panic = "abort"`, so nothing unwinds: raising and resuming trap, asking for a
//! frame finds none. `cargo xtask image` compiles this to the `libunwind.a` that std asks the linker for.

#![feature(no_core, rustc_attrs)]
#![no_core]
#![no_std]
#![allow(internal_features, reason = "core is not built yet when the linker needs this")]

/// The built-in macro that core exports under the same name.
#[rustc_builtin_macro]
macro_rules! global_asm {
    () => {};
}

global_asm!(
    ".macro function name:req",
    ".section .text.\\name, \"ax\", @progbits",
    ".global \\name",
    ".type \\name, @function",
    "\\name:",
    ".endm",
    // Whoever gets here has a bug: there is nothing to unwind to.
    ".irp name, _Unwind_RaiseException, _Unwind_Resume",
    "function \\name",
    "ud2",
    ".size \\name, . - \\name",
    ".endr",
    // No frame, no address, nothing to set or to free.
    ".irp name, _Unwind_Backtrace, _Unwind_DeleteException, _Unwind_FindEnclosingFunction, _Unwind_GetDataRelBase, \
     _Unwind_GetCFA, _Unwind_GetGR, _Unwind_GetIP, _Unwind_GetIPInfo, _Unwind_GetLanguageSpecificData, _Unwind_GetRegionStart, \
     _Unwind_GetTextRelBase, _Unwind_SetGR, _Unwind_SetIP",
    "function \\name",
    "xor %eax, %eax",
    "ret",
    ".size \\name, . - \\name",
    ".endr",
    options(att_syntax)
);
