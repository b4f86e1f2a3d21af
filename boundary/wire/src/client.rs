//! What clients and the enclave say to each other inside TLS.
