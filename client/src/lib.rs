//! How does a Rust program talk to an enclave?

#![forbid(unsafe_code)]
