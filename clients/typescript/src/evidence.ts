/** Evidence documents, `GET /.enclave/v1/evidence`: everything a verifier needs, offline. */

import { fromBase64, fromHex } from "./bytes.js";
import { type Collateral, collateralOf } from "./collateral.js";
import { type Json, JsonError, array, count, members, parseJson, string } from "./json.js";
import { Manifest, Proof } from "./manifest.js";
import { fromInstant } from "./time.js";

/** A change of the configuration since the enclave started. */
export interface Generation {
  readonly generation: number;
  readonly configurationRoot: Buffer;
  /** In milliseconds since 1970; the enclave's clock, which its host sets. */
  readonly since: number;
  /** `core`, or `app.<name>`. */
  readonly changed: readonly string[];
}

/** A document that was read, not verified. */
export interface EvidenceDocument {
  /** Leaf, enclave CA, what stands above it (DER). */
  readonly chain: readonly Buffer[];
  /** The quote in the leaf. */
  readonly certificateQuote: Buffer | undefined;
  /** The quote about leaf and manifest: the one that is judged. */
  readonly evidenceQuote: Buffer | undefined;
  readonly collateral: Collateral | undefined;
  readonly manifest: Manifest;
  /** That the leaf {@link CA_LEAF} is under the root of the enclave's tree (`.1.1`). */
  readonly caProof: Proof;
  /** Oldest first. */
  readonly generations: readonly Generation[];
  /** In milliseconds since 1970; the enclave's clock, which its host sets. */
  readonly issued: number;
}

/** Longest document in bytes. */
export const MAX_EVIDENCE = 8 * 1024 * 1024;
/** The leaf of the configuration that is the certificate of the enclave's CA (DER). */
export const CA_LEAF = "core.ca_cert";
/** Most generations that a document tells of. */
const MAX_GENERATIONS = 64;

/** Reads a document; throws {@link JsonError}. */
export function parseEvidence(text: string): EvidenceDocument {
  if (text.length > MAX_EVIDENCE) throw new JsonError(`the evidence document is longer than ${MAX_EVIDENCE} bytes`);
  return evidenceOf(parseJson(text));
}

/** Reads a document that has been parsed as JSON; throws {@link JsonError}. */
export function evidenceOf(json: Json | undefined): EvidenceDocument {
  const document = members(json, "evidence", [
    "format",
    "certificate_chain",
    "certificate_quote",
    "evidence_quote",
    "collateral",
    "manifest",
    "ca_proof",
    "generations",
    "issued",
    "interop?",
  ]);
  if (document["format"] !== 1) throw new JsonError("evidence: this reader knows format 1 only");
  if (document["interop"] !== undefined) readInterop(document["interop"]);
  const chain = array(document["certificate_chain"], "certificate_chain");
  if (chain.length === 0) throw new JsonError("evidence: the certificate chain is empty");
  const collateral = document["collateral"];
  return {
    chain: chain.map((item) => base64(item, "certificate_chain")),
    certificateQuote: optionalBase64(document["certificate_quote"], "certificate_quote"),
    evidenceQuote: optionalBase64(document["evidence_quote"], "evidence_quote"),
    collateral: collateral === null ? undefined : collateralOf(collateral),
    manifest: Manifest.of(document["manifest"]),
    caProof: Proof.of(document["ca_proof"]),
    generations: readGenerations(document["generations"]),
    issued: moment(document["issued"], "issued"),
  };
}

function readGenerations(json: Json | undefined): Generation[] {
  const generations = array(json, "generations").map(readGeneration);
  const ordered = generations.every(({ generation }, at) => at === 0 || (generations[at - 1]?.generation ?? 0) < generation);
  if (generations.length > MAX_GENERATIONS || !ordered) {
    throw new JsonError(`generations are at most ${MAX_GENERATIONS}, oldest first`);
  }
  return generations;
}

function readGeneration(json: Json): Generation {
  const generation = members(json, "a generation", ["generation", "configuration_root", "since", "changed"]);
  const root = fromHex(string(generation["configuration_root"], "configuration_root"), 32);
  if (root === undefined) throw new JsonError("configuration_root is not 64 lower-case hexadecimal digits");
  return {
    generation: count(generation["generation"], "generation"),
    configurationRoot: root,
    since: moment(generation["since"], "since"),
    changed: array(generation["changed"], "changed").map((item) => string(item, "changed")),
  };
}

/** Interoperable evidence is for other verifiers; here only its form is checked. */
function readInterop(json: Json): void {
  const interop = members(json, "interop", ["quote", "claims"]);
  base64(interop["quote"], "quote of interop");
  base64(interop["claims"], "claims of interop");
}

function moment(json: Json | undefined, what: string): number {
  const at = fromInstant(string(json, what));
  if (at === undefined) throw new JsonError(`${what} is not a moment like 2026-11-21T17:00:00Z`);
  return at;
}

function optionalBase64(json: Json | undefined, what: string): Buffer | undefined {
  return json === null ? undefined : base64(json, what);
}

function base64(json: Json | undefined, what: string): Buffer {
  const bytes = fromBase64(string(json, what));
  if (bytes === undefined) throw new JsonError(`${what} is not base64`);
  return bytes;
}
