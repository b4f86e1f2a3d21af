//! What does a person type?

#![forbid(unsafe_code)]

fn main() {}
