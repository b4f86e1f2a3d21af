//! The digest that our compiler appends to an artifact.
//!
//! | bytes | content |
//! |---|---|
//! | n | the artifact as wasmtime makes it (ELF) |
//! | 32 | SHA-256 of those n bytes |
//! | 16 | `enclave-os cwasm` |
//!
//! The engine ignores what follows an ELF file, so artifacts with and without it load alike; with it,
//! damage is found before any of it is interpreted. It is a checksum, not a signature.

/// The last bytes of an artifact that carries a digest.
pub const MARK: [u8; 16] = *b"enclave-os cwasm";
const DIGEST: usize = 32;

/// Appends the trailer to `artifact`, whose SHA-256 is `digest`.
pub fn append(artifact: &mut Vec<u8>, digest: &[u8; DIGEST]) {
    artifact.extend_from_slice(digest);
    artifact.extend_from_slice(&MARK);
}

/// Splits an artifact and the digest it should have; `None` if it carries none.
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8; DIGEST])> {
    let (rest, mark) = bytes.split_last_chunk()?;
    let (artifact, digest) = rest.split_last_chunk()?;
    (*mark == MARK).then_some((artifact, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_split_off() {
        let mut bytes = b"artifact".to_vec();
        append(&mut bytes, &[7; 32]);
        assert_eq!(split(&bytes), Some((b"artifact".as_slice(), &[7; 32])));
        assert_eq!(split(&bytes[1..]), Some((b"rtifact".as_slice(), &[7; 32])));
        assert_eq!(split(b"artifact"), None);
        assert_eq!(split(&MARK), None);
    }
}
