//! Which bytes may become native code.
//!
//! An artifact is native code: whoever may load one is inside the enclave's trust boundary. So the only way
//! to an [`ApprovedArtifact`] is a [`Grant`] for loading, or bytes out of the enclave's own sealed registry.

use std::fmt;

use graviola::hashing::{Hash, Sha256};

use crate::{Grant, Operation, Policy};

/// ELF, which is what a compiled component is.
const ARTIFACT_MAGIC: &[u8] = b"\x7fELF";
/// A WebAssembly binary, component or module (core spec §5.5.16, component model binary format).
const WASM_MAGIC: &[u8] = b"\0asm";
/// WebAssembly text starts like this.
const WAT_STARTS: [&[u8]; 2] = [b"(component", b"(module"];

/// A compiled component that somebody entitled to it wants to run. Only this module makes one.
#[derive(Clone)]
pub struct ApprovedArtifact {
    bytes: Vec<u8>,
    code_hash: [u8; 32],
}

impl fmt::Debug for ApprovedArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApprovedArtifact({} bytes)", self.bytes.len())
    }
}

/// Why bytes may not become native code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The grant is for something else.
    #[error("loading was not granted")]
    NotGranted,
    /// WebAssembly, which has to be compiled first.
    #[error(
        "this is a WebAssembly {0}, and there is no compiler inside the enclave: compile it with `enclave-os compile \
         app.wasm -o app.cwasm` and send app.cwasm, or let `enclave-os load app.wasm` do both"
    )]
    NotCompiled(&'static str),
    /// Not anything that runs here.
    #[error(
        "these {0} bytes are not a compiled component: make one with `enclave-os compile app.wasm -o app.cwasm` and \
         send app.cwasm as it is"
    )]
    NotAnArtifact(usize),
    /// What the enclave had sealed and what came back differ.
    #[error("the sealed artifact does not have the code hash that was sealed with it")]
    ResealedHash,
}

impl NotApproved {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            NotApproved::NotGranted => "not-granted",
            NotApproved::NotCompiled(_) => "not-compiled",
            NotApproved::NotAnArtifact(_) => "not-an-artifact",
            NotApproved::ResealedHash => "sealed-artifact-changed",
        }
    }
}

/// Approves bytes that a client sent.
///
/// # Errors
/// [`NotApproved`], with the command that makes what is needed.
pub fn approve(_policy: &Policy, grant: &Grant, bytes: Vec<u8>) -> Result<ApprovedArtifact, NotApproved> {
    if grant.operation() != Operation::Load {
        return Err(NotApproved::NotGranted);
    }
    check_format(&bytes)?;
    let code_hash = sha256(&bytes);
    Ok(ApprovedArtifact { bytes, code_hash })
}

fn check_format(bytes: &[u8]) -> Result<(), NotApproved> {
    if bytes.starts_with(ARTIFACT_MAGIC) {
        return Ok(());
    }
    if bytes.starts_with(WASM_MAGIC) {
        // The layer field is 1 for a component and 0 for a module.
        let kind = if bytes.get(6) == Some(&1) { "component" } else { "module" };
        return Err(NotApproved::NotCompiled(kind));
    }
    if WAT_STARTS.iter().any(|start| bytes.trim_ascii_start().starts_with(start)) {
        return Err(NotApproved::NotCompiled("text file"));
    }
    Err(NotApproved::NotAnArtifact(bytes.len()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(Sha256::hash(bytes).as_ref()) {
        *to = *from;
    }
    out
}

impl ApprovedArtifact {
    /// The artifact that was approved before and comes out of the enclave's own sealed registry, where its
    /// code hash was sealed beside it. The caller vouches that both come from there.
    ///
    /// # Errors
    /// [`NotApproved::ResealedHash`] when they do not belong together.
    pub fn resealed(bytes: Vec<u8>, code_hash: [u8; 32]) -> Result<Self, NotApproved> {
        check_format(&bytes)?;
        if sha256(&bytes) != code_hash {
            return Err(NotApproved::ResealedHash);
        }
        Ok(ApprovedArtifact { bytes, code_hash })
    }

    /// What runs.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256 of the bytes as they were sent.
    pub fn code_hash(&self) -> [u8; 32] {
        self.code_hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Circumstances, Nonces, Wish, decide};
    use attestation::image_policy::ImagePolicy;

    fn development() -> Policy {
        let page = ImagePolicy { development: true, ..Default::default() }.to_page().unwrap();
        Policy::from_page(&page).unwrap()
    }

    fn grant(policy: &Policy, operation: Operation) -> Grant {
        let nonces = Nonces::default();
        let at = Circumstances { audience: "", now: std::time::Duration::ZERO, nonces: &nonces };
        decide(policy, Wish::new(operation), None, at).unwrap()
    }

    fn approve_loaded(bytes: &[u8]) -> Result<ApprovedArtifact, NotApproved> {
        let policy = development();
        approve(&policy, &grant(&policy, Operation::Load), bytes.to_vec())
    }

    #[test]
    fn an_artifact_is_hashed_as_sent() {
        let artifact = approve_loaded(b"\x7fELFrest").unwrap();
        assert_eq!(artifact.bytes(), b"\x7fELFrest");
        // printf '\x7fELFrest' | sha256sum
        assert_eq!(artifact.code_hash()[..4], [0x71, 0x9a, 0x57, 0xa8]);
        let again = ApprovedArtifact::resealed(b"\x7fELFrest".to_vec(), artifact.code_hash()).unwrap();
        assert_eq!(again.code_hash(), artifact.code_hash());
        let swapped = ApprovedArtifact::resealed(b"\x7fELFother".to_vec(), artifact.code_hash());
        assert_eq!(swapped.unwrap_err(), NotApproved::ResealedHash);
    }

    #[test]
    fn wasm_is_refused_with_the_command_that_compiles_it() {
        for (bytes, kind) in [
            (&b"\0asm\x0d\0\x01\0"[..], "component"),
            (b"\0asm\x01\0\0\0", "module"),
            (b"\0asm", "module"),
            (b"  (component)", "text file"),
        ] {
            let error = approve_loaded(bytes).unwrap_err();
            assert_eq!(error, NotApproved::NotCompiled(kind));
            assert_eq!(error.code(), "not-compiled");
            assert!(error.to_string().contains("`enclave-os compile app.wasm -o app.cwasm`"));
        }
    }

    #[test]
    fn anything_else_is_not_an_artifact() {
        for bytes in [&b""[..], b"\x7fEL", b"PK\x03\x04", b"#!/bin/sh"] {
            assert_eq!(approve_loaded(bytes).unwrap_err(), NotApproved::NotAnArtifact(bytes.len()));
        }
    }

    #[test]
    fn only_a_grant_for_loading_counts() {
        let policy = development();
        for operation in Operation::ALL {
            let grant = grant(&policy, operation);
            let approved = approve(&policy, &grant, b"\x7fELF".to_vec());
            assert_eq!(approved.is_ok(), operation == Operation::Load, "{operation:?}");
        }
    }
}
