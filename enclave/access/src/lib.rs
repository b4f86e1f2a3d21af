//! Who may do what?

#![forbid(unsafe_code)]
