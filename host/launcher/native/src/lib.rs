//! How does the enclave run in-process, without SGX?

#![forbid(unsafe_code)]
