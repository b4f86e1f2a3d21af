//! How does one enclave thread run tasks and talk to the host?

#![forbid(unsafe_code)]
