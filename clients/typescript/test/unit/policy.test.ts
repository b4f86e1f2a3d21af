/** A policy is read strictly: what it does not say plainly is an error. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { PolicyError, parsePolicy } from "../../src/policy.js";

const H = "11".repeat(32);
const PPID = "22".repeat(16);
const LEAST = `format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = ["${H}"]\n`;

function refused(text: string, words: RegExp): void {
  assert.throws(
    () => parsePolicy(text),
    (error) => {
      assert.ok(error instanceof PolicyError, String(error));
      assert.match(error.message, words, text);
      return true;
    },
  );
}

test("the least policy has the defaults", () => {
  assert.deepEqual(parsePolicy(LEAST), {
    roots: "intel",
    enclave: { mrEnclave: [H], signer: undefined, allowDebug: false },
    tcb: { statuses: [{ value: "UpToDate", until: undefined }], advisories: [] },
    freshness: { minTier: "challenge", maxAgeSeconds: 86_400 },
    app: undefined,
    configuration: undefined,
    ppids: undefined,
    operatorCa: undefined,
  });
});

test("every key is read", () => {
  const policy = parsePolicy(`
format = 1
[roots]
development = ["${H}"]
[enclave]
mrsigner = ["${H}"]
isv_prod_id = 7
min_isv_svn = 3
allow_debug = true
[tcb]
statuses = ["UpToDate", { status = "OutOfDate", until = "2027-01-01T00:00:00Z" }]
advisories = ["INTEL-SA-00289", { advisory = "INTEL-SA-00615", until = "2027-01-01T00:00:00Z" }]
[freshness]
min_tier = "channel"
max_age_seconds = 60
[app]
name = "notes"
code_hashes = ["${H}"]
key_source = "byok:0011223344556677"
[configuration]
root = ["${H}"]
app_root = ["${H}"]
[configuration.leaves]
"core.operator_policy" = ["${H}"]
[platform]
ppids = ["${PPID}"]
[authority]
operator_ca = ["${H}"]
`);
  const until = Date.parse("2027-01-01T00:00:00Z");
  assert.deepEqual(policy.roots, [H]);
  assert.deepEqual(policy.enclave, {
    mrEnclave: undefined,
    signer: { mrSigner: [H], isvProdId: 7, minIsvSvn: 3 },
    allowDebug: true,
  });
  assert.deepEqual(policy.tcb.statuses[1], { value: "OutOfDate", until });
  assert.deepEqual(policy.tcb.advisories[1], { value: "INTEL-SA-00615", until });
  assert.deepEqual(policy.freshness, { minTier: "channel", maxAgeSeconds: 60 });
  assert.deepEqual(policy.app, { name: "notes", codeHashes: [H], keySource: "byok:0011223344556677" });
  assert.deepEqual(policy.configuration?.leaves, new Map([["core.operator_policy", [H]]]));
  assert.deepEqual([policy.ppids, policy.operatorCa], [[PPID], [H]]);
});

test("a policy that accepts nothing, or says both of two things, is none", () => {
  refused("", /format/);
  refused("format = 1", /roots/);
  refused(LEAST.replace("format = 1", "format = 2"), /format 1/);
  refused(LEAST.replace("format = 1", "format = 1.0"), /format/);
  refused(LEAST.replace("intel = true", `intel = true\ndevelopment = ["${H}"]`), /never both/);
  refused(LEAST.replace("intel = true", "intel = false"), /never both/);
  refused(LEAST.replace("intel = true", ""), /never both/);
  refused(LEAST.replace(/mrenclave.*/, ""), /which enclaves/);
  refused(LEAST.replace(/mrenclave.*/, `mrsigner = ["${H}"]`), /isv_prod_id/);
  refused(`${LEAST}min_isv_svn = 1`, /beside `mrsigner`/);
});

test("unknown keys, empty lists and other spellings are errors", () => {
  for (const [more, words] of [
    ["unknown = 1", /enclave\.unknown/],
    ["[unknown]", /unknown: unknown key/],
    ["[tcb]\nunknown = 1", /tcb\.unknown/],
    ["[freshness]\nunknown = 1", /freshness\.unknown/],
    ['[app]\nname = "a"\nunknown = 1', /app\.unknown/],
    [`[platform]\nppids = ["${PPID}"]\nunknown = 1`, /platform\.unknown/],
    ["[app]", /app\.name/],
    ["[platform]", /platform\.ppids/],
    ["[authority]", /authority\.operator_ca/],
    ["[configuration]", /says nothing/],
    ["[tcb]\nstatuses = []", /something in it/],
    ["[configuration]\nroot = []", /something in it/],
    ['[configuration.leaves]\n"core.version" = []', /something in it/],
    [`[platform]\nppids = ["${H}"]`, /16 bytes/],
    [`[configuration]\nroot = ["${"AA".repeat(32)}"]`, /lower-case/],
    ['[tcb]\nstatuses = ["Revoked"]', /never be accepted/],
    ['[tcb]\nstatuses = ["uptodate"]', /no TCB status/],
    ['[tcb]\nstatuses = [{ status = "OutOfDate" }]', /until/],
    ['[tcb]\nstatuses = [{ status = "OutOfDate", until = "2027-02-30T00:00:00Z" }]', /until/],
    ['[tcb]\nstatuses = [{ status = "OutOfDate", until = "2027-01-01T00:00:00+00:00" }]', /until/],
    ['[app]\nname = "a"\nkey_source = "byok:"', /key_source/],
    ['[freshness]\nmin_tier = "best"', /min_tier/],
    ["[freshness]\nmax_age_seconds = -1", /max_age_seconds/],
    ["[freshness]\nmax_age_seconds = 1.5", /max_age_seconds/],
    ["[enclave]", /not TOML/],
    ["=", /not TOML/],
  ] as const) {
    refused(`${LEAST}${more}\n`, words);
  }
  assert.deepEqual(parsePolicy(`${LEAST}[tcb]\nadvisories = []\n`), parsePolicy(LEAST));
});
