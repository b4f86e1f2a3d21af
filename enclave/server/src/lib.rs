//! What does a client say, and who answers?

#![forbid(unsafe_code)]
