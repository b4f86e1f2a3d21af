//! How does a component become an artifact the enclave takes?

#![forbid(unsafe_code)]
