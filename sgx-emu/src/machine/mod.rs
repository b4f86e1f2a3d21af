//! The part that runs enclaves: entry, exits, faults and the ENCLU leaves, for x86-64 Linux.
//!
//! An enclave is memory of this process, and an enclave thread is a thread of the host that jumped into it.
//! What the CPU would do there arrives as a signal: ENCLU is an illegal instruction, a forbidden access a
//! segmentation fault. The handler answers as the CPU would and lets the thread go on.
//!
//! Why handlers may do what they do: a signal handler must not touch what the code that it interrupts may
//! have half changed. The code that ours interrupt is enclave code, which shares no lock, no allocator and
//! no data with the host; so they may take the EPCM's lock, read this thread's [`processor`] and make system
//! calls. They never allocate, and answer other signals only by handing them on.

mod aex;
mod context;
mod enclave;
mod entry;
mod epc;
mod fault;
mod leaves;
mod load;
mod processor;
mod signals;
mod stack;
mod tcs;

pub use enclave::{Enclave, PagesError};
pub use entry::{EnclaveRun, enter_enclave};
pub use epc::PageState;
pub use fault::{Access, Fault, last_fault};
pub use load::{Attributes, LoadError};

#[cfg(test)]
mod tests;
