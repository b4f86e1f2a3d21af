//! Do the real binaries do what the documents say?
//!
//! What scenario tests and the demo share: a host process, guests built from source, a web site under a
//! throw-away authority.

#![forbid(unsafe_code)]

pub mod example;
pub mod host;
pub mod image;
pub mod languages;
pub mod operator;
pub mod platform;
pub mod recorder;
pub mod site;
