//! Do the real binaries do what the documents say?

#![forbid(unsafe_code)]
