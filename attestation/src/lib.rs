//! What does the evidence say, and does it hold?

#![forbid(unsafe_code)]
