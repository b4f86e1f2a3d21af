/** What a quote is made over. A verifier computes it and never takes it from the peer. */

import { sha256, sha512 } from "./bytes.js";

/** Label of the TLS exporter of the channel tier. */
export const EXPORTER_LABEL = "EXPORTER-enclave-os-attest-v1";

/** Tier `certificate`: SHA-512(SHA-256(SPKI) ‖ NotBefore as `YYYY-MM-DDTHH:MMZ`). */
export function certificateReportData(spki: Uint8Array, notBefore: number): Buffer {
  return sha512(sha256(spki), `${new Date(notBefore).toISOString().slice(0, 16)}Z`);
}

/** Tier `challenge`: SHA-512(SHA-256(SPKI) ‖ nonce). */
export function challengeReportData(spki: Uint8Array, nonce: Uint8Array): Buffer {
  return sha512(sha256(spki), nonce);
}

/** Tier `channel`: SHA-512(SHA-256(SPKI) ‖ nonce ‖ exporter). */
export function channelReportData(spki: Uint8Array, nonce: Uint8Array, exporter: Uint8Array): Buffer {
  return sha512(sha256(spki), nonce, exporter);
}

/** An evidence document: SHA-512("enclave-os evidence v1" ‖ SHA-256(leaf certificate) ‖ manifest root). */
export function evidenceReportData(leaf: Uint8Array, manifestRoot: Uint8Array): Buffer {
  return sha512("enclave-os evidence v1", sha256(leaf), manifestRoot);
}
