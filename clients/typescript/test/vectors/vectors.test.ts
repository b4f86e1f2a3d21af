/** The conformance vectors that every client of this system answers in the same way (`docs/formats/vectors.md`). */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { fromBase64, fromBase64Url, fromHex } from "../../src/bytes.js";
import { type Collateral, collateralOf } from "../../src/collateral.js";
import { type Json, type JsonObject, array, isObject, parseJson, string } from "../../src/json.js";
import { Manifest, Proof } from "../../src/manifest.js";
import { fromRfc3339 } from "../../src/time.js";
import { type Presented, judge } from "../../src/verifier.js";

const file = parseJson(readFileSync(vectorsFile(), "utf8")) as JsonObject;

test("the vectors are of the format that is read here, and there are enough of them", () => {
  assert.equal(file["format"], 1);
  assert.ok(array(file["vectors"], "vectors").length >= 60);
});

for (const vector of array(file["vectors"], "vectors") as JsonObject[]) {
  test(`${String(vector["name"])}: ${String(vector["what"])}`, () => {
    const input = vector["input"] as JsonObject;
    const manifest = input["manifest"];
    const verdict = judge(string(input["policy"], "policy"), presented(input), {
      collateral: collateral(input),
      manifest: isObject(manifest) ? Manifest.of(manifest) : undefined,
      proofs: (input["proofs"] as Json[] | undefined)?.map((proof) => Proof.of(proof)),
      now: fromRfc3339(string(input["now"], "now")) ?? assert.fail("now is not a moment"),
    });
    const expected = vector["expect"] as JsonObject;
    const failed = verdict.failed.map(({ check, message }) => `${check}: ${message}`);
    assert.deepEqual(verdict.failed.map(({ check }) => check), expected["failed"] ?? [], failed.join("\n"));
    assert.equal(verdict.accepted, expected["accepted"]);
  });
}

function presented(input: JsonObject): Presented {
  const tier = input["tier"];
  const name = input["server_name"];
  const served = {
    chain: (shared(input, "chain") as Json[] | undefined ?? []).map((der) => base64(der)),
    serverName: typeof name === "string" ? name : undefined,
  };
  const nonce = (): Buffer => fromBase64Url(string(input["nonce"], "nonce")) ?? assert.fail("nonce");
  const quote = (): Buffer | undefined => {
    const text = input["attest_quote"] ?? input["quote"];
    return text == null ? undefined : base64(text);
  };
  switch (tier) {
    case "certificate":
      return { tier, ...served };
    case "challenge":
      return { tier, ...served, nonce: nonce() };
    case "channel": {
      const exporter = fromHex(string(input["exporter"], "exporter"), 32) ?? assert.fail("exporter");
      return { tier, ...served, nonce: nonce(), exporter, quote: quote() };
    }
    case "evidence":
      return { tier, document: input["evidence"] ?? null };
    case "quote":
      return { tier, quote: quote() ?? Buffer.alloc(0) };
    default:
      return assert.fail(`unknown tier ${String(tier)}`);
  }
}

function collateral(input: JsonObject): Collateral | undefined {
  const json = shared(input, "collateral");
  return json == null ? undefined : collateralOf(json);
}

/** A member of the input, or what its reference names in a table of the file. */
function shared(input: JsonObject, member: string): Json | undefined {
  const reference = input[`${member}_ref`];
  if (typeof reference !== "string") return input[member];
  const table = file[`${member}s`] as JsonObject;
  assert.ok(Object.hasOwn(table, reference), `no ${member} ${reference}`);
  return table[reference];
}

function base64(json: Json): Buffer {
  return fromBase64(string(json, "base64")) ?? assert.fail("not base64");
}

/** `clients/vectors/vectors.json` of the repository, or the file that `ENCLAVE_OS_VECTORS` names. */
function vectorsFile(): string {
  const named = process.env["ENCLAVE_OS_VECTORS"];
  if (named !== undefined) return named;
  const found = join(dirname(fileURLToPath(import.meta.url)), "../../../../vectors/vectors.json");
  assert.ok(existsSync(found), `no ${found}: name the file in ENCLAVE_OS_VECTORS`);
  return found;
}
