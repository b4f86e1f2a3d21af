//! How is data kept by a host that may lie?

#![forbid(unsafe_code)]
