//! What does the host do for the enclave: network, storage, clock, log, quoting?

#![forbid(unsafe_code)]

pub mod storage;
