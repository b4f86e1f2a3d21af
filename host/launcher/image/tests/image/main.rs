//! The real image on the software CPU: hosts that lie to it, files that were tampered with.
//!
//! Takes the image that `cargo xtask image` made, from `ENCLAVE_OS_IMAGE_DIR` or else `target/image`.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod hostile;
mod pages;
mod support;
mod tampered;
mod threads;
