//! Which certificate does a connection get, and what does it say?

#![forbid(unsafe_code)]
