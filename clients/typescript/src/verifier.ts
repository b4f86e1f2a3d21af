/** Judges evidence by a policy, offline: no network, and the time is given. */

import { equal, sha256, toHex } from "./bytes.js";
import type { Collateral } from "./collateral.js";
import { INTEL_ROOT, type VerifiedQuote, verifyQuote } from "./dcap.js";
import { type EvidenceDocument, evidenceOf, parseEvidence } from "./evidence.js";
import type { Json } from "./json.js";
import { type LeafCertificate, parseLeafCertificate } from "./leaf-certificate.js";
import type { Manifest } from "./manifest.js";
import { type Policy, TIERS, type Tier, parsePolicy } from "./policy.js";
import { type Quote, parseQuote } from "./quote.js";
import {
  certificateReportData,
  challengeReportData,
  channelReportData,
  evidenceReportData,
} from "./report-data.js";
import { toRfc3339 } from "./time.js";
import { judgeApp, judgeConfiguration, judgeOperatorCa } from "./verifier-app.js";
import { judgeEnclave } from "./verifier-enclave.js";
import { type Check, type CheckId, Verdict } from "./verdict.js";
import { Certificate, mayIssue } from "./x509.js";

/** How far clocks may differ, in milliseconds. */
const SKEW = 300_000;
/** A leaf, the enclave CA, and what an operator may install above it. */
const MAX_CHAIN = 9;

/** A certificate chain as it was served: leaf, enclave CA, what stands above it (DER). */
interface Served {
  readonly chain: readonly Uint8Array[];
  /** The name that the connection was made for, if the caller gave one. */
  readonly serverName?: string | undefined;
}

/** What a peer presents, and what makes it fresh. */
export type Presented =
  | (Served & { readonly tier: "certificate" })
  | (Served & { readonly tier: "challenge"; readonly nonce: Uint8Array })
  | (Served & {
      readonly tier: "channel";
      readonly nonce: Uint8Array;
      /** `TLS-Exporter("EXPORTER-enclave-os-attest-v1", nonce, 32)` of the connection. */
      readonly exporter: Uint8Array;
      /** The answer of `attest`. */
      readonly quote: Uint8Array | undefined;
    })
  /** An evidence document: its text, or as parsed by `parseJson`. Its tier is `certificate`. */
  | { readonly tier: "evidence"; readonly document: Json }
  /** A quote alone, without a certificate that it could be about. */
  | { readonly tier: "quote"; readonly quote: Uint8Array };

/** What else evidence is judged with. */
export interface Circumstances {
  /** Without it, an evidence document's own is used; it needs no trust. */
  readonly collateral?: Collateral | undefined;
  /** Needed for `[configuration.leaves]` and `app_root` where the leaf does not prove them. */
  readonly manifest?: Manifest | undefined;
  /** In milliseconds since 1970. */
  readonly now: number;
}

/** Judges what was presented. `policy` is one that was read, or a text whose form is judged too. */
export function judge(policy: Policy | string, presented: Presented, circumstances: Circumstances): Verdict {
  const { tier } = presented;
  const judgement = new Judgement(tier === "evidence" ? "certificate" : tier === "quote" ? undefined : tier, circumstances);
  try {
    judgement.run(policy, presented);
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
  }
  return judgement.verdict;
}

/** A structural check failed: nothing after it can be judged. */
class Stop extends Error {}

/** One run of the checks. */
export class Judgement {
  readonly verdict: Verdict;
  readonly now: number;
  #collateral: Collateral | undefined;
  #manifest: Manifest | undefined;

  constructor(tier: Tier | undefined, circumstances: Circumstances) {
    this.verdict = new Verdict(tier);
    this.now = circumstances.now;
    this.#collateral = circumstances.collateral;
    this.#manifest = circumstances.manifest;
  }

  run(given: Policy | string, presented: Presented): void {
    const policy = this.structural("policy", "readable", () =>
      typeof given === "string" ? parsePolicy(given) : given,
    );
    if (presented.tier === "quote") {
      this.#judgeQuote(policy, presented.quote, undefined);
      return;
    }
    const evidence = presented.tier === "evidence" ? this.#readEvidence(presented.document) : undefined;
    const served: Served = presented.tier === "evidence" ? { chain: evidence?.chain ?? [] } : presented;
    const leaf = this.#judgeLeaf(served, evidence);
    const above = this.#judgeChain(leaf.certificate, served.chain);
    this.#judgeTime(leaf.certificate);
    if (served.serverName !== undefined) this.#judgeName(leaf.certificate, served.serverName);
    this.#judgeQuote(policy, quoteOf(presented, leaf, evidence), reportData(presented, leaf, evidence));
    this.#judgeFreshness(policy, leaf.certificate, presented.tier);
    judgeApp(this, policy, leaf);
    judgeConfiguration(this, policy, leaf, this.#manifest, evidence !== undefined);
    if (policy.ppids !== undefined) this.#judgePlatform(policy.ppids);
    if (policy.operatorCa !== undefined) judgeOperatorCa(this, policy.operatorCa, above.slice(1));
  }

  /** Records a check. */
  record(check: CheckId, passed: boolean, found: string, wanted?: string, message?: string): void {
    const entry: Check = {
      check,
      passed,
      found,
      ...(wanted !== undefined && { wanted }),
      ...(!passed && { message: message ?? `${check}: found ${found}, wanted ${wanted ?? "something else"}` }),
    };
    this.verdict.checks.push(entry);
  }

  /** Records a check that passes if `attempt` does not throw, and stops otherwise. */
  structural<T>(check: CheckId, found: string, attempt: () => T): T {
    try {
      const value = attempt();
      this.record(check, true, found);
      return value;
    } catch (error) {
      this.record(check, false, "unusable", undefined, (error as Error).message);
      throw new Stop();
    }
  }

  #readEvidence(document: Json): EvidenceDocument {
    const evidence = this.structural("evidence-format", "format 1", () =>
      typeof document === "string" ? parseEvidence(document) : evidenceOf(document),
    );
    this.#collateral ??= evidence.collateral;
    this.#manifest = evidence.manifest;
    return evidence;
  }

  #judgeLeaf(served: Served, evidence: EvidenceDocument | undefined): LeafCertificate {
    const [der] = served.chain;
    const leaf = this.structural("certificate-format", "a leaf of an enclave", () => {
      if (der === undefined) throw new Error("the server sent no certificate");
      const parsed = parseLeafCertificate(der);
      if (evidence !== undefined && !same(evidence.certificateQuote, parsed.quote)) {
        throw new Error("`certificate_quote` of the document is not the quote in its certificate");
      }
      return parsed;
    });
    this.verdict.apps = leaf.apps;
    this.verdict.app = leaf.app;
    this.verdict.configurationRoot = leaf.configurationRoot;
    this.verdict.notBefore = leaf.certificate.notBefore;
    this.verdict.notAfter = leaf.certificate.notAfter;
    return leaf;
  }

  /** Gives the certificates above the leaf, the enclave CA first. */
  #judgeChain(leaf: Certificate, chain: readonly Uint8Array[]): Certificate[] {
    return this.structural("certificate-chain", `${chain.length} certificates`, () => {
      const above = chain.slice(1).map((der) => new Certificate(der));
      if (above.length === 0) throw new Error("the certificate of the enclave CA was not sent with the leaf");
      if (chain.length > MAX_CHAIN) throw new Error(`the chain is longer than ${MAX_CHAIN} certificates`);
      if (leaf.isAuthority()) throw new Error("the leaf is the certificate of an authority");
      for (const certificate of [leaf, ...above]) requireUnderstood(certificate);
      let below = leaf;
      for (const [at, issuer] of above.entries()) {
        if (!below.isSignedBy(issuer)) throw new Error(`“${below.name}” is not signed by the next, “${issuer.name}”`);
        if (!mayIssue(issuer, at)) throw new Error(`“${issuer.name}” may not sign certificates`);
        if (!issuer.isValidAt(this.now)) throw new Error(`“${issuer.name}” is not valid now`);
        below = issuer;
      }
      if (equal(below.subject, below.issuer) && !below.isSignedBy(below)) {
        throw new Error("the last certificate names itself its issuer and did not sign itself");
      }
      return above;
    });
  }

  #judgeTime(leaf: Certificate): void {
    const passed = leaf.notBefore - SKEW <= this.now && this.now <= leaf.notAfter + SKEW;
    const validity = `${toRfc3339(leaf.notBefore)} to ${toRfc3339(leaf.notAfter)}`;
    this.record("certificate-time", passed, validity, toRfc3339(this.now), "the certificate is not valid now: compare the clocks");
  }

  #judgeName(leaf: Certificate, name: string): void {
    const message = `the certificate is not for ${name}: this is another server, or it is asked for by another name`;
    this.record("server-name", leaf.isFor(name), leaf.names, name, message);
  }

  /** Checks 6 to 13: the quote and what it says, and, if `expected` is given, what it is about. */
  #judgeQuote(policy: Policy, bytes: Uint8Array | undefined, expected: Buffer | undefined): void {
    const quote = this.structural("quote-format", "an SGX quote of version 3", () => {
      if (bytes === undefined) throw new Error("there is no quote: the server's host could not have one made");
      return parseQuote(bytes);
    });
    const root = sha256(this.#judgeRoot(policy, quote));
    const verified = this.structural("quote", "holds", (): VerifiedQuote => {
      if (this.#collateral === undefined) throw new Error("there is no collateral to judge the quote with");
      return verifyQuote(quote, this.#collateral, quote.pckChain[2], this.now);
    });
    const { report } = quote;
    this.verdict.enclave = {
      mrEnclave: toHex(report.mrEnclave),
      mrSigner: toHex(report.mrSigner),
      isvProdId: report.isvProdId,
      isvSvn: report.isvSvn,
      debug: report.debug,
      cpuSvn: toHex(report.cpuSvn),
    };
    this.verdict.tcb = {
      status: verified.status,
      advisories: verified.advisories,
      fmspc: toHex(verified.platform.fmspc),
      ppid: toHex(verified.platform.ppid),
      root: toHex(root),
    };
    if (expected !== undefined) {
      const message = "the quote is about another key, moment or connection: evidence was replayed, or another enclave stands in front";
      this.record("report-data", equal(report.reportData, expected), toHex(report.reportData), toHex(expected), message);
    }
    judgeEnclave(this, policy, this.verdict.enclave, this.verdict.tcb);
    if (expected === undefined && policy.ppids !== undefined) this.#judgePlatform(policy.ppids);
  }

  #judgeRoot({ roots }: Policy, quote: Quote): Buffer {
    const der = quote.pckChain[2];
    const found = toHex(sha256(der));
    // Intel's root is never a development root, not even when a policy lists it as one.
    const passed = roots === "intel" ? found === INTEL_ROOT : found !== INTEL_ROOT && roots.includes(found);
    const wanted = roots === "intel" ? "Intel SGX Root CA" : `development root ${roots.join(" or ")}`;
    this.record("root", passed, found === INTEL_ROOT ? "Intel SGX Root CA" : found, wanted, rootMessage(found, der));
    if (!passed) throw new Stop();
    return der;
  }

  #judgeFreshness(policy: Policy, leaf: Certificate, presented: Presented["tier"]): void {
    const { minTier, maxAgeSeconds } = policy.freshness;
    const tier = this.verdict.tier ?? "certificate";
    const message = `the evidence is of the tier ${tier}, and the policy asks for ${minTier}: connect with a stronger tier`;
    this.record("tier", TIERS.indexOf(tier) >= TIERS.indexOf(minTier), tier, minTier, message);
    if (presented !== "certificate" && presented !== "evidence") return;
    const age = this.now - leaf.notBefore;
    const passed = -SKEW <= age && age <= maxAgeSeconds * 1000 + SKEW;
    const seconds = `${Math.round(age / 1000)} s`;
    this.record("age", passed, seconds, `at most ${maxAgeSeconds} s`, `the certificate was made ${seconds} ago`);
  }

  #judgePlatform(ppids: readonly string[]): void {
    const found = this.verdict.tcb?.ppid ?? "unknown";
    const message = "this machine is not on the policy's list: the enclave runs somewhere else";
    this.record("platform", ppids.includes(found), found, ppids.join(" or "), message);
  }
}

/** What a certificate demands or forbids is known here, and it does not forbid a server's chain (RFC 5280 §4.2). */
function requireUnderstood(certificate: Certificate): void {
  const name = `“${certificate.name}”`;
  const critical = certificate.unknownCritical();
  if (critical !== undefined) throw new Error(`${name} has the critical extension ${critical}, which is not understood`);
  if (certificate.hasNameConstraints()) throw new Error(`${name} has name constraints, which are not judged here`);
  if (!certificate.isForServers()) throw new Error(`${name} is not for servers (extKeyUsage)`);
}

function same(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equal(a, b);
}

/** Exactly one quote is judged. */
function quoteOf(
  presented: Presented,
  leaf: LeafCertificate,
  evidence: EvidenceDocument | undefined,
): Uint8Array | undefined {
  if (presented.tier === "channel") return presented.quote;
  return presented.tier === "evidence" ? evidence?.evidenceQuote : leaf.quote;
}

/** What the quote has to be about. */
function reportData(
  presented: Presented,
  { certificate }: LeafCertificate,
  evidence: EvidenceDocument | undefined,
): Buffer {
  switch (presented.tier) {
    case "challenge":
      return challengeReportData(certificate.spki, presented.nonce);
    case "channel":
      return channelReportData(certificate.spki, presented.nonce, presented.exporter);
    case "evidence":
      return evidenceReportData(certificate.raw, evidence?.manifest.root ?? Buffer.alloc(0));
    default:
      return certificateReportData(certificate.spki, certificate.notBefore);
  }
}

function rootMessage(found: string, der: Buffer): string {
  if (found === INTEL_ROOT) {
    return "this is genuine hardware under Intel's root, and the policy accepts development roots only: use `intel = true`";
  }
  if (der.includes("DEVELOPMENT")) {
    return (
      "this root says DEVELOPMENT: its keys are in a file on some machine and it protects nothing; " +
      "to accept it while developing, name its fingerprint in `roots.development`"
    );
  }
  return "nobody whom the policy trusts vouches for this platform";
}
