//! Which engine settings do compiler and enclave share?

#![forbid(unsafe_code)]
