/** Evidence documents: what one proves, and what changes of it are noticed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Json, JsonObject } from "../../src/json.js";
import { evidenceReportData } from "../../src/report-data.js";
import { judge } from "../../src/verifier.js";
import { collateralJson, manifestJson } from "../support/documents.js";
import { NOW, TestAuthority, policyText } from "../support/pki.js";
import { Scene } from "../support/scene.js";

test("an evidence document is judged by its own quote, over leaf and manifest", () => {
  const scene = new Scene();
  const [ca] = scene.authority.above as [Buffer];
  const manifest = manifestJson({ "core.ca_cert": { bytes: ca } });
  const [leafOfCa] = manifest.leaves as [JsonObject];
  const caProof = { leaf: leafOfCa, index: 0, tree_size: 1, path: [], root: manifest.root };
  const root = Buffer.from(manifest.root, "hex");
  const chain = scene.chain({ configurationRoot: root });
  const [leaf] = chain as [Buffer];
  const own = scene.certificateQuote;
  const document = (change: object = {}): Json => ({
    format: 1,
    certificate_chain: chain.map((certificate) => certificate.toString("base64")),
    certificate_quote: own.toString("base64"),
    evidence_quote: scene.platform.quote(evidenceReportData(leaf, root)).toString("base64"),
    collateral: collateralJson(scene.platform.collateral),
    manifest: manifest,
    ca_proof: caProof,
    generations: [{ generation: 1, configuration_root: manifest.root, since: "2026-11-21T16:00:00Z", changed: ["core"] }],
    issued: "2026-11-21T17:00:00Z",
    ...change,
  });
  const failed = (change: object = {}): string[] => {
    const verdict = judge(policyText(scene.platform), { tier: "evidence", document: document(change) }, { now: NOW });
    return verdict.failed.map(({ check }) => check);
  };
  assert.deepEqual(failed(), []);
  const text = JSON.stringify(document());
  assert.equal(judge(policyText(scene.platform), { tier: "evidence", document: text }, { now: NOW }).accepted, true);
  for (const change of [{ format: 2 }, { more: 1 }, { issued: "today" }, { certificate_chain: [] }, { evidence_quote: "?" }]) {
    assert.deepEqual(failed(change), ["evidence-format"], JSON.stringify(change));
  }
  assert.deepEqual(failed({ evidence_quote: null }), ["quote-format"]);
  assert.deepEqual(failed({ certificate_quote: null }), ["certificate-format"]);
  assert.deepEqual(failed({ collateral: null }), ["quote"]);
  const names = ["forged"];
  const forged = scene.chain({ configurationRoot: root, names, quote: own }).map((certificate) => certificate.toString("base64"));
  assert.deepEqual(failed({ certificate_chain: forged }), ["report-data"]);
  // Extensions forged under a CA of the forger's own: the chain holds, the quote is not about this certificate.
  const forger = new TestAuthority();
  const theirs = [forger.leaf(scene.key, { configurationRoot: root, quote: own }), ...forger.above];
  const chained = theirs.map((certificate) => certificate.toString("base64"));
  assert.deepEqual(failed({ certificate_chain: chained }), ["report-data", "configuration"]);
  // The leaf's signature binds the CA's key, and its certificate is the one that the configuration names.
  const renamed = { ...caProof, leaf: { ...leafOfCa, name: "core.ca_key" } };
  assert.deepEqual(failed({ ca_proof: renamed }), ["configuration"]);
  const ofAnother = { ...caProof, leaf: manifestJson({ "core.ca_cert": { bytes: Buffer.of(1) } }).leaves[0] };
  assert.deepEqual(failed({ ca_proof: ofAnother }), ["configuration"]);
  assert.deepEqual(failed({ ca_proof: null }), ["evidence-format"]);
  const other = manifestJson({ "core.version": { json: "2" } });
  assert.deepEqual(failed({ manifest: other }), ["report-data", "configuration"]);
  assert.deepEqual(failed({ manifest: { ...manifest, root: "11".repeat(32) } }), ["evidence-format"]);
});
