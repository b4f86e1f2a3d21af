//! What does a guest see of the world?

#![forbid(unsafe_code)]
