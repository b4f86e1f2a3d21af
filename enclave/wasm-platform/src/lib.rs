//! Where do code, memories and stacks of guests live?
//!
//! In our own pools, on every platform: an enclave has no `mmap`, and what runs in the image is what
//! native tests should exercise. [`Machine`] makes the engine with the pools hooked in and is the one
//! place that turns bytes into native code ([`Machine::load`]), from an artifact that only the code
//! policy can make.
//!
//! Unsafe code is needed because wasmtime asks for raw memory here: `memory.rs` and `memory/block.rs` for linear memories,
//! `stack.rs` for fiber stacks, `code.rs` for executable memory, `native.rs` and `sgx.rs` for page permissions,
//! `capi.rs` for the symbols that it links against in an enclave.

mod artifact;
mod code;
mod machine;
mod memory;
mod stack;
mod watch;

#[cfg(target_env = "sgx")]
mod capi;
#[cfg(not(target_env = "sgx"))]
#[path = "native.rs"]
mod sys;
#[cfg(target_env = "sgx")]
#[path = "sgx.rs"]
mod sys;

pub use artifact::ArtifactError;
pub use machine::{LoadError, Machine, Sizes, StartError, Usage};
pub use memory::{CallMemory, GuestMemory, OutOfGuestMemory, STEP};
pub use stack::{OutOfStacks, STACK_BYTES, WASM_STACK_BYTES};
pub use watch::CallWatch;
