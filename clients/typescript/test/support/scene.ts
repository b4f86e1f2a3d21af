/** An enclave on a platform, and what a verifier says of what it presents. */

import assert from "node:assert/strict";

import type { Manifest } from "../../src/manifest.js";
import { certificateReportData } from "../../src/report-data.js";
import { type Presented, judge } from "../../src/verifier.js";
import { type LeafOptions, NOW, type PlatformOptions, TestAuthority, TestPlatform, keys, policyText, spkiOf } from "./pki.js";

const HOUR = 3_600_000;

/** An enclave that presents a certificate with a quote. */
export class Scene {
  readonly platform: TestPlatform;
  readonly authority: TestAuthority;
  readonly key = keys();
  certificateQuote: Buffer = Buffer.alloc(0);

  constructor(platform: PlatformOptions = {}, authority = new TestAuthority()) {
    this.platform = new TestPlatform(platform);
    this.authority = authority;
  }

  chain(options: LeafOptions = {}, change?: (report: Buffer) => void): Buffer[] {
    const data = certificateReportData(spkiOf(this.key), options.notBefore ?? NOW - HOUR);
    const quote = this.platform.quote(data, change);
    this.certificateQuote = quote;
    return [this.authority.leaf(this.key, { quote, ...options }), ...this.authority.above];
  }

  failed(presented: Presented, more = "", tier = "certificate", manifest?: Manifest, now = NOW): string[] {
    const policy = policyText(this.platform, more, tier);
    const verdict = judge(policy, presented, { collateral: this.platform.collateral, manifest, now });
    assert.equal(verdict.accepted, verdict.failed.length === 0);
    for (const check of verdict.failed) assert.ok((check.message ?? "").length > 10, check.check);
    return verdict.failed.map(({ check }) => check);
  }

  certificate(options: LeafOptions = {}, more = "", change?: (report: Buffer) => void): string[] {
    return this.failed({ tier: "certificate", chain: this.chain(options, change) }, more);
  }
}
