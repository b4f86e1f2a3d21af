/**
 * Client of Enclave OS: it verifies an enclave before it sends a byte, then calls its apps.
 *
 * ```ts
 * const client = await EnclaveClient.connect("enclave.example.com:8443", { policy: await readFile("policy.toml", "utf8") });
 * await client.app("notes").call("kv-store", "greeting", "hi");
 * ```
 */

export { VerifiedAgent } from "./agent.js";
export { App, EnclaveClient, type AppInfo, type LoadOptions } from "./client.js";
export { type Collateral, parseCollateral } from "./collateral.js";
export { CollateralCache } from "./collateral-cache.js";
export {
  type Address,
  type ConnectOptions,
  type VerifiedFramed,
  type VerifiedSocket,
  openFramed,
  openVerified,
  parseAddress,
} from "./connection.js";
export * as danger from "./danger.js";
export { QuoteVerificationError, type VerifiedQuote, verifyQuote } from "./dcap.js";
export { ConnectionError, EnclaveError, RefusedError, VerificationError } from "./errors.js";
export { type EvidenceDocument, type Generation, parseEvidence } from "./evidence.js";
export { FramedConnection } from "./framed.js";
export { type Json, JsonError, parseJson } from "./json.js";
export { type AppClaim, type AppLeaf, type LeafCertificate, LeafCertificateError, parseLeafCertificate } from "./leaf-certificate.js";
export { type Leaf, Manifest, Proof } from "./manifest.js";
export { type Accepted, type Policy, PolicyError, TIERS, type Tier, parsePolicy } from "./policy.js";
export { type Quote, QuoteError, type Report, parseQuote } from "./quote.js";
export { TCB_STATUSES, type TcbStatus } from "./tcb.js";
export {
  type ExportSchema,
  type Result,
  ResultError,
  type Schema,
  type Type,
  Typed,
  type Value,
  unwrap,
} from "./values.js";
export { CHECK_IDS, type Check, type CheckId, type EnclaveFacts, type TcbFacts, type Verdict } from "./verdict.js";
export { type Circumstances, type Presented, judge } from "./verifier.js";
export { type Certificate } from "./x509.js";
