//! How is the enclave started, fed and stopped?

fn main() {}
