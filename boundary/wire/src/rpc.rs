//! Requests of the enclave to the host.
