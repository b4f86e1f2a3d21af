//! How does a linked enclave become a signed SGX image?
//!
//! [`convert`] lays out a program for `x86_64-fortanix-unknown-sgx` as an SGXS stream: the pages of an enclave
//! in the order in which they are added and measured. [`mrenclave`] says what that stream measures, [`sign`]
//! makes the SIGSTRUCT, in one step or, with [`Unsigned::material`] and [`assemble`], in two. [`Parameters`]
//! are what `enclave/image/image.toml` says. The layout is described in `docs/formats/image.md`.
//!
//! Everything here is a function of its arguments: whoever holds the linked program, the parameters and the
//! policy computes the same MRENCLAVE.

#![forbid(unsafe_code)]

mod compare;
mod convert;
mod elf;
mod keys;
mod layout;
mod manifest;
mod measure;
mod parameters;
mod sigstruct;
mod verification;

pub use compare::{Difference, differences};
pub use convert::{ConvertError, Image, POLICY_PAGE_LEN, convert};
pub use elf::ElfError;
pub use keys::{DEVELOPMENT_KEY_FILE_NAME, KeyError, PublicKey, SigningKey};
pub use manifest::manifest;
pub use measure::{StreamError, mrenclave};
pub use parameters::{Date, ParameterError, Parameters};
pub use sigstruct::{SIGSTRUCT_LEN, SignError, Unsigned, assemble, mrsigner, sign};
pub use verification::{Root, verification_policy};

/// Size of a page.
const PAGE_SIZE: u64 = 4096;
