//! One command for every chore.

#![forbid(unsafe_code)]

fn main() {}
