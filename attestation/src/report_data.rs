//! What a quote is made over: 64 bytes that bind a TLS key to a moment, a challenge or a channel.
//!
//! A verifier computes these itself and never takes them from the peer.

use sha2::{Digest, Sha256, Sha512};
use time::{OffsetDateTime, UtcOffset};

/// What makes a quote fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// Tier `certificate`: the leaf's NotBefore, in whole minutes. A claim, since the host sets the clock.
    NotBefore(OffsetDateTime),
    /// Tier `challenge`: the client's nonce, for a certificate of that connection alone.
    Nonce(&'a [u8; 32]),
    /// Tier `channel`: a nonce, and the TLS exporter of the connection that asked.
    Channel {
        /// The client's nonce.
        nonce: &'a [u8; 32],
        /// `TLS-Exporter("EXPORTER-enclave-os-attest-v1", nonce, 32)`.
        exporter: &'a [u8; 32],
    },
}

/// Label of the TLS exporter of the `channel` tier.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-enclave-os-attest-v1";

/// What makes report data of an evidence document unlike that of a connection.
pub const EVIDENCE_LABEL: &[u8] = b"enclave-os evidence v1";

/// Begins the ALPN name that carries a client's nonce: base64url without padding follows.
pub const ALPN_NONCE_PREFIX: &str = "enclave-os-nonce/";

/// `SHA-512( SHA-256(SPKI DER) ‖ binding )`.
pub fn compute(spki_der: &[u8], binding: Binding<'_>) -> [u8; 64] {
    let hash = Sha512::new().chain_update(Sha256::digest(spki_der));
    match binding {
        Binding::NotBefore(at) => hash.chain_update(minute(at)),
        Binding::Nonce(nonce) => hash.chain_update(nonce),
        Binding::Channel { nonce, exporter } => hash.chain_update(nonce).chain_update(exporter),
    }
    .finalize()
    .into()
}

/// What an evidence document's own quote is made over (DESIGN D13):
/// `SHA-512("enclave-os evidence v1" ‖ SHA-256(leaf DER) ‖ manifest root)`.
pub fn evidence(leaf_der: &[u8], manifest_root: &[u8; 32]) -> [u8; 64] {
    Sha512::new()
        .chain_update(EVIDENCE_LABEL)
        .chain_update(Sha256::digest(leaf_der))
        .chain_update(manifest_root)
        .finalize()
        .into()
}

/// `YYYY-MM-DDTHH:MMZ`.
pub fn minute(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // python: h=lambda b: hashlib.sha512(hashlib.sha256(b"spki").digest()+b).hexdigest()
        let at = OffsetDateTime::from_unix_timestamp(1_795_180_440).unwrap();
        assert_eq!(minute(at), "2026-11-20T13:14Z");
        let (nonce, exporter) = ([1; 32], [2; 32]);
        for (binding, expected) in [
            (
                Binding::NotBefore(at),
                "5c30ca2b08e4c0eccf6ec7ccbd05ad660133cbea1acc61cf0e43db618312a3ef18068f83821c305f9891a4b8136ce9b558120780222a2b33afff306b0a7e20e5",
            ),
            (
                Binding::Nonce(&nonce),
                "43ba17f29e513dd9185f9b8a74d8a8e82a2da8bb7597e891dd83c6b8979642775fa6a93840793b7ec627acba0d7de057ea35855227fd0126f35c81330b4bd19a",
            ),
            (
                Binding::Channel { nonce: &nonce, exporter: &exporter },
                "a7ddf3af798e3c1a12f9a458510b2afc21465d7c05d686ccd9d4ced8dd70ac02ba7a5c1e3ee04f8f101cb4f0157a8ca5dc5da4d0be51ec1bb43102337724b8ac",
            ),
        ] {
            assert_eq!(crate::hex::encode(&compute(b"spki", binding)), expected);
        }
        // python: hashlib.sha512(b"enclave-os evidence v1" + hashlib.sha256(b"leaf").digest() + b"\x03" * 32)
        assert_eq!(
            crate::hex::encode(&evidence(b"leaf", &[3; 32])),
            "4ee8c968d1bd5d07c01893d73b4fe83ef37e952c52b6ff2b47b949205f6bfa29bca8ce9aeeabdea5e5da1cf331ce714ad66ef4fa4e1fad82babc772dd8493c74"
        );
    }
}
