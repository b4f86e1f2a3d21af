/** Measures one verification: a certificate of the channel tier with its quote, as a connection judges it. */

import { channelReportData } from "../../src/report-data.js";
import { parsePolicy } from "../../src/policy.js";
import { judge } from "../../src/verifier.js";
import { NOW, TestAuthority, TestPlatform, keys, policyText, spkiOf } from "../support/pki.js";

const ROUNDS = 200;

const platform = new TestPlatform();
const authority = new TestAuthority();
const key = keys();
const [nonce, exporter] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const quote = platform.quote(channelReportData(spkiOf(key), nonce, exporter));
const chain = [authority.leaf(key, { quote }), ...authority.above];
const policy = parsePolicy(policyText(platform, "", "channel"));

const times: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const start = performance.now();
  const verdict = judge(policy, { tier: "channel", chain, nonce, exporter, quote }, { collateral: platform.collateral, now: NOW });
  times.push(performance.now() - start);
  if (!verdict.accepted) throw new Error(JSON.stringify(verdict));
}
times.sort((a, b) => a - b);
console.log(`verification: ${(times[ROUNDS / 2] ?? 0).toFixed(2)} ms (median of ${ROUNDS})`);
