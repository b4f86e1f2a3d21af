/** Judges evidence by a policy, offline: no network, and the time is given. */

import { equal, sha256, toHex } from "./bytes.js";
import type { Collateral } from "./collateral.js";
import { requireNamesAllowed } from "./constraints.js";
import { INTEL_ROOT, type VerifiedQuote, verifyQuote } from "./dcap.js";
import { type EvidenceDocument, evidenceOf, parseEvidence } from "./evidence.js";
import type { Json } from "./json.js";
import { type LeafCertificate, parseLeafCertificate } from "./leaf-certificate.js";
import type { Manifest, Proof } from "./manifest.js";
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
  /** Needed for `app_root` where the certificate does not tell it; shows `[configuration.leaves]` too. */
  readonly manifest?: Manifest | undefined;
  /** Show `[configuration.leaves]`, and nothing of the others; they need no trust. */
  readonly proofs?: readonly Proof[] | undefined;
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
  readonly #proofs: readonly Proof[];

  constructor(tier: Tier | undefined, circumstances: Circumstances) {
    this.verdict = new Verdict(tier);
    this.now = circumstances.now;
    this.#collateral = circumstances.collateral;
    this.#manifest = circumstances.manifest;
    this.#proofs = circumstances.proofs ?? [];
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
    const disclosed = { manifest: this.#manifest, proofs: this.#proofs };
    judgeConfiguration(this, policy, leaf, disclosed, evidence);
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
      if (check === "policy" || check === "evidence-format") this.verdict.tier = undefined;
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
      if (der === undefined) throw new Error("no certificate was sent: this is not the TLS port of an enclave");
      const parsed = parseLeafCertificate(der);
      if (evidence !== undefined && !same(evidence.certificateQuote, parsed.quote)) {
        throw new Error(
          "`certificate_quote` of the document is not the quote in its certificate: it was changed; ask the enclave for " +
            "another (/.enclave/v1/evidence)",
        );
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
      if (above.length === 0) {
        throw new Error(
          "the enclave's CA certificate is missing: a chain has at least two certificates, and something between here and " +
            "the enclave may have dropped it",
        );
      }
      if (chain.length > MAX_CHAIN) {
        throw new Error(
          `the chain is longer than ${MAX_CHAIN} certificates: install fewer above the enclave's CA (enclave-os ca install)`,
        );
      }
      if (leaf.isAuthority()) throw new Error("the first certificate is one of an authority, not a leaf: the leaf comes first");
      for (const certificate of [leaf, ...above]) requireUnderstood(certificate);
      let below = leaf;
      for (const [at, issuer] of above.entries()) {
        requireLink(below, issuer, at, this.now);
        below = issuer;
      }
      if (equal(below.subject, below.issuer) && !below.isSignedBy(below)) {
        throw new Error(
          "the last certificate names itself its issuer and did not sign itself: it is not the one that its operator made",
        );
      }
      requireNamesAllowed([leaf, ...above]);
      return above;
    });
  }

  #judgeTime(leaf: Certificate): void {
    const passed = leaf.notBefore - SKEW <= this.now && this.now <= leaf.notAfter + SKEW;
    const validity = `${toRfc3339(leaf.notBefore)} to ${toRfc3339(leaf.notAfter)}`;
    const message =
      this.now < leaf.notBefore
        ? "the certificate is not valid yet: this clock is slow, or that of the enclave's host is fast. Set both by NTP"
        : "the certificate has expired: it was kept from an earlier day, or this clock is fast. Connect anew, and set the clock by NTP";
    this.record("certificate-time", passed, validity, toRfc3339(this.now), message);
  }

  #judgeName(leaf: Certificate, name: string): void {
    const message = `the certificate is not for ${name}: another enclave answered, or an app of another name. Connect with a name it has, or add the name to the image's served_names`;
    this.record("server-name", leaf.isFor(name), leaf.names, name, message);
  }

  /** Checks 6 to 13: the quote and what it says, and, if `expected` is given, what it is about. */
  #judgeQuote(policy: Policy, bytes: Uint8Array | undefined, expected: Buffer | undefined): void {
    const quote = this.structural("quote-format", "an SGX quote of version 3", () => {
      if (bytes === undefined) throw new Error("there is no quote: the enclave's host could not have one made, and `ready` of the enclave says why");
      return parseQuote(bytes);
    });
    const root = sha256(this.#judgeRoot(policy, quote));
    const verified = this.structural("quote", "holds", (): VerifiedQuote => {
      if (this.#collateral === undefined) throw new Error("there is no collateral to judge the quote with: give it (`collateral`), or let the enclave's host fetch it (--pccs-url)");
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
      const message = "the quote was not made for this certificate's key and this nonce, connection or document: it is an old one, or somebody relays another's. Connect anew; if it stays so, do not use this server";
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
    const message =
      presented === "evidence"
        ? "an evidence document has tier certificate, because it was made for no client in particular: judge it by a policy " +
          'with `freshness.min_tier = "certificate"`, or connect to the enclave'
        : `the evidence is of the tier ${tier}: connect with \`tier: "${minTier}"\`, which the policy wants`;
    this.record("tier", TIERS.indexOf(tier) >= TIERS.indexOf(minTier), tier, minTier, message);
    if (presented !== "certificate" && presented !== "evidence") return;
    const age = this.now - leaf.notBefore;
    const passed = -SKEW <= age && age <= maxAgeSeconds * 1000 + SKEW;
    const seconds = `${Math.round(age / 1000)} s`;
    const old =
      age < 0
        ? "the certificate is from the future: this clock is slow, or that of the enclave's host is fast. Set both by NTP"
        : "the evidence is older than the policy allows: ask the enclave anew, or raise `freshness.max_age_seconds`";
    this.record("age", passed, seconds, `at most ${maxAgeSeconds} s`, old);
  }

  #judgePlatform(ppids: readonly string[]): void {
    const found = this.verdict.tcb?.ppid ?? "unknown";
    const message = "this is not one of the machines in `platform.ppids`: the connection was diverted, or the machine was replaced. If you moved it yourself, put the new PPID into the list";
    this.record("platform", ppids.includes(found), found, ppids.join(" or "), message);
  }
}

/** The issuer signed the certificate below it, and may and could do so with so many authorities below itself. */
function requireLink(below: Certificate, issuer: Certificate, authoritiesBelow: number, now: number): void {
  const name = `“${issuer.name}”`;
  if (!below.isSignedBy(issuer)) {
    throw new Error(
      `“${below.name}” is not signed by the next certificate, ${name}: certificates of two enclaves or operators were mixed, or one was changed on its way`,
    );
  }
  if (!mayIssue(issuer, authoritiesBelow)) {
    throw new Error(
      `${name} may not sign this certificate: it has to be issued with CA:TRUE, keyCertSign and a pathLenConstraint of at least ${authoritiesBelow}, or without one`,
    );
  }
  if (!issuer.isValidAt(now)) {
    throw new Error(
      `${name} is valid from ${toRfc3339(issuer.notBefore)} to ${toRfc3339(issuer.notAfter)}: have it issued anew (enclave-os ca csr, ca install), or mend the clock`,
    );
  }
}

/** What a certificate demands or forbids is known here, and it does not forbid a server's chain (RFC 5280 §4.2). */
function requireUnderstood(certificate: Certificate): void {
  const name = `“${certificate.name}”`;
  const critical = certificate.unknownCritical();
  if (critical !== undefined) {
    throw new Error(`${name} has the critical extension ${critical}, which is not understood here: issue it without`);
  }
  if (!certificate.isForServers()) throw new Error(`${name} is not for servers (extendedKeyUsage): it has to be issued with serverAuth`);
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
  return (
    "nobody the policy trusts vouches for this platform: compare the root with the one you meant; hardware leads to " +
    "Intel's (`intel = true`)"
  );
}
