//! Which cases do verifiers in all languages answer alike?
//!
//! Plays machines, enclaves and liars in front of them, and writes what a verifier would be given, with what
//! it has to answer. What comes out is committed as `vectors.json`; format and runners: `docs/formats/vectors.md`.

#![forbid(unsafe_code)]

mod cases;
mod enclave;
mod key;
mod machine;
mod table;
mod world;

use anyhow::Result;
use attestation::vectors::File;

/// Makes all vectors, with keys that nobody keeps.
///
/// # Errors
/// When a certificate or a quote cannot be made.
pub fn generate() -> Result<File> {
    cases::all(&world::World::new()?)
}
