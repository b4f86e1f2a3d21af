//! How are the parts wired into one enclave?

#![forbid(unsafe_code)]
