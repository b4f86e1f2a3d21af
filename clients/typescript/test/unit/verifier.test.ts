/** Every check of the verifier fails for its own reason, and only for that. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { challengeReportData, channelReportData } from "../../src/report-data.js";
import { type Presented, judge } from "../../src/verifier.js";
import { Manifest } from "../../src/manifest.js";
import { manifestJson } from "../support/documents.js";
import {
  CA_NAME,
  CODE_HASH,
  type LeafOptions,
  MRSIGNER,
  NOW,
  PPID,
  type PlatformOptions,
  TestAuthority,
  TestPlatform,
  authority,
  certificate,
  keys,
  level,
  policyText,
  sha256,
  spkiOf,
} from "../support/pki.js";
import { type Extension, oid, sequence, tlv } from "../support/der.js";
import { Scene } from "../support/scene.js";

const HOUR = 3_600_000;
const OTHER = "11".repeat(32);

test("a certificate that the policy asks for is accepted, with every check told", () => {
  const scene = new Scene();
  const presented: Presented = { tier: "certificate", chain: scene.chain(), serverName: "localhost" };
  const verdict = judge(policyText(scene.platform), presented, { collateral: scene.platform.collateral, now: NOW });
  assert.equal(verdict.accepted, true);
  assert.deepEqual(
    verdict.checks.map(({ check }) => check),
    [
      "policy", "certificate-format", "certificate-chain", "certificate-time", "server-name", "quote-format", "root",
      "quote", "report-data", "debug", "measurement", "tcb-status", "advisories", "tier", "age",
    ],
  );
  const json = JSON.parse(JSON.stringify(verdict)) as Record<string, unknown>;
  assert.deepEqual(Object.keys(json), [
    "accepted", "tier", "checks", "enclave", "tcb", "apps", "configuration_root", "not_before", "not_after",
  ]);
  assert.deepEqual(json["apps"], [{ name: "notes", route_prefix: "/notes", code_hash: CODE_HASH.toString("hex") }]);
});

test("a policy that does not parse accepts nothing", () => {
  assert.equal(judge("", { tier: "certificate", chain: [] }, { now: NOW }).tier, undefined);
  const unreadable = judge(policyText(new TestPlatform()), { tier: "evidence", document: "{}" }, { now: NOW });
  assert.deepEqual([unreadable.tier, unreadable.failed.map(({ check }) => check)], [undefined, ["evidence-format"]]);
  const verdict = judge("", { tier: "quote", quote: Buffer.alloc(0) }, { now: NOW });
  assert.deepEqual(verdict.failed.map(({ check }) => check), ["policy"]);
  const { checks, ...rest } = JSON.parse(JSON.stringify(verdict)) as Record<string, unknown>;
  const unknown = { tier: null, enclave: null, tcb: null, apps: [], configuration_root: null, not_before: null, not_after: null };
  assert.deepEqual(rest, { accepted: false, ...unknown });
  assert.ok(Array.isArray(checks));
  assert.equal(verdict.checks.length, 1);
});

test("a certificate that is not a leaf of an enclave ends the evaluation", () => {
  const scene = new Scene();
  const garbage = [Buffer.from("garbage"), ...scene.authority.above];
  assert.deepEqual(scene.failed({ tier: "certificate", chain: garbage }), ["certificate-format"]);
  assert.deepEqual(scene.failed({ tier: "certificate", chain: [] }), ["certificate-format"]);
  const root = "1.3.6.1.4.1.65230.1.1";
  assert.deepEqual(scene.certificate({ change: (values) => values.delete(root) }), ["certificate-format"]);
  const unknown = [{ oid: "1.3.6.1.4.1.65230.5.1", value: Buffer.of(1) }];
  assert.deepEqual(scene.certificate({ extra: unknown }), ["certificate-format"]);
  const twice = [{ oid: root, value: Buffer.alloc(32, 1) }];
  assert.deepEqual(scene.certificate({ extra: twice }), ["certificate-format"]);
});

test("every link of the chain is verified", () => {
  const scene = new Scene();
  const [leaf, ca] = scene.chain() as [Buffer, Buffer];
  const chain = (...above: Buffer[]): string[] => scene.failed({ tier: "certificate", chain: [leaf, ...above] });
  assert.deepEqual(chain(), ["certificate-chain"]);
  assert.deepEqual(chain(...new TestAuthority().above), ["certificate-chain"]);
  assert.deepEqual(chain(ca, ...new TestAuthority().above), ["certificate-chain"]);
  const plain = { subject: CA_NAME, issuer: CA_NAME, key: scene.authority.key, signer: scene.authority.key };
  assert.deepEqual(chain(certificate(plain)), ["certificate-chain"]);
  assert.deepEqual(chain(certificate({ ...plain, extensions: authority, notAfter: NOW - 1000 })), ["certificate-chain"]);
  assert.deepEqual(chain(certificate({ ...plain, extensions: authority })), []);
});

const KEY_PURPOSES = "2.5.29.37";
const SERVERS = oid("1.3.6.1.5.5.7.3.1");
const CLIENTS = oid("1.3.6.1.5.5.7.3.2");
const ANY = oid("2.5.29.37.0");
const CONSTRAINTS = "2.5.29.30";
/** Permits the name `localhost`, which the leaf is for. */
const PERMITTING = sequence(tlv(0xa0, sequence(tlv(0x82, Buffer.from("localhost")))));

/** What fails if the leaf, the enclave CA, or the operator's above it has these extensions too. */
function withExtensions(extra: readonly Extension[], at: "leaf" | "enclave CA" | "operator"): string[] {
  const scene = new Scene();
  const [key, subject] = [keys(), "Operator CA"];
  const more = (where: string): Extension[] => [...authority, ...(where === at ? extra : [])];
  const enclave = { subject: CA_NAME, issuer: subject, key: scene.authority.key, signer: key };
  const above = [
    certificate({ ...enclave, extensions: more("enclave CA") }),
    certificate({ subject, issuer: subject, key, signer: key, extensions: more("operator") }),
  ];
  const [leaf] = scene.chain(at === "leaf" ? { extra } : {}) as [Buffer];
  return scene.failed({ tier: "certificate", chain: [leaf, ...above] });
}

test("a critical extension that is not understood is refused, wherever in the chain it stands", () => {
  for (const at of ["leaf", "enclave CA", "operator"] as const) {
    const unknown = { oid: "1.2.3.4", value: Buffer.of(5, 0) };
    assert.deepEqual(withExtensions([unknown], at), [], at);
    assert.deepEqual(withExtensions([{ ...unknown, critical: true }], at), ["certificate-chain"], at);
  }
});

test("an authority vouches for no name outside its constraints, and a leaf has none", () => {
  const constrained = (value: Buffer, at: "leaf" | "enclave CA" | "operator"): string[] => {
    const [critical, lax] = [true, false].map((critical) => withExtensions([{ oid: CONSTRAINTS, value, critical }], at));
    assert.deepEqual(critical, lax);
    return lax ?? [];
  };
  const subtrees = (tag: number, ...bases: Buffer[]): Buffer => sequence(tlv(tag, Buffer.concat(bases.map((base) => sequence(base)))));
  const dns = (name: string): Buffer => tlv(0x82, Buffer.from(name));
  const range = (...bytes: number[]): Buffer => tlv(0x87, Buffer.from(bytes));
  const refused = ["certificate-chain"];
  assert.deepEqual(constrained(PERMITTING, "leaf"), refused);
  for (const at of ["enclave CA", "operator"] as const) {
    assert.deepEqual(constrained(PERMITTING, at), [], at);
    assert.deepEqual(constrained(subtrees(0xa0, dns("elsewhere")), at), refused, at);
    assert.deepEqual(constrained(subtrees(0xa0, dns("host")), at), refused, at);
    assert.deepEqual(constrained(subtrees(0xa0, dns(".localhost")), at), refused, at);
    assert.deepEqual(constrained(subtrees(0xa0, dns("")), at), [], at);
    assert.deepEqual(constrained(subtrees(0xa1, dns("localhost")), at), refused, at);
    assert.deepEqual(constrained(subtrees(0xa1, dns("elsewhere")), at), [], at);
    assert.deepEqual(constrained(subtrees(0xa0, range(10, 0, 0, 0, 255, 0, 0, 0)), at), [], "it has no address");
    assert.deepEqual(constrained(subtrees(0xa0, range(10, 0, 0, 0, 255, 0, 255, 0)), at), refused, "no range");
    assert.deepEqual(constrained(subtrees(0xa0, tlv(0x81, Buffer.from("a@b.c"))), at), refused, at);
    assert.deepEqual(constrained(Buffer.of(5, 0), at), refused, at);
  }
});

test("a certificate whose purposes are others than a server's is refused", () => {
  for (const at of ["leaf", "enclave CA", "operator"] as const) {
    const purposes = (...content: Buffer[]): string[] =>
      withExtensions([{ oid: KEY_PURPOSES, value: sequence(...content) }], at);
    assert.deepEqual(purposes(SERVERS), [], at);
    assert.deepEqual(purposes(CLIENTS, SERVERS), [], at);
    assert.deepEqual(purposes(CLIENTS), ["certificate-chain"], at);
    assert.deepEqual(purposes(ANY), at === "leaf" ? ["certificate-chain"] : [], at);
    assert.deepEqual(withExtensions([{ oid: KEY_PURPOSES, value: Buffer.of(5, 0) }], at), ["certificate-chain"], at);
    const twice = { oid: KEY_PURPOSES, value: sequence(SERVERS) };
    assert.notDeepEqual(withExtensions([twice, twice], at), [], at);
  }
});

test("the leaf's validity may be missed by five minutes and no more", () => {
  const scene = new Scene();
  const at = (now: number): string[] =>
    scene.failed({ tier: "certificate", chain: scene.chain({ notBefore: NOW, notAfter: NOW + HOUR }) }, "", "certificate", undefined, now);
  assert.deepEqual(at(NOW - 300_000), []);
  assert.deepEqual(at(NOW - 301_000), ["certificate-time", "age"]);
  assert.deepEqual(at(NOW + HOUR + 300_000), []);
  assert.deepEqual(at(NOW + HOUR + 301_000), ["certificate-time"]);
});

test("the name that was asked for has to be in the certificate", () => {
  const scene = new Scene();
  const named = (serverName: string): string[] => scene.failed({ tier: "certificate", chain: scene.chain(), serverName });
  assert.deepEqual(named("LOCALHOST"), []);
  assert.deepEqual(named("other.example"), ["server-name"]);
  assert.deepEqual(named("127.0.0.1"), ["server-name"]);
});

test("without a quote, or with bytes that are none, nothing can be judged", () => {
  const scene = new Scene();
  assert.deepEqual(scene.certificate({ quote: undefined }), ["quote-format"]);
  const quote = scene.platform.quote(Buffer.alloc(64));
  const changed = (change: (bytes: Buffer) => Buffer): string[] =>
    scene.failed({ tier: "quote", quote: change(Buffer.from(quote)) });
  assert.deepEqual(changed((bytes) => bytes), []);
  assert.deepEqual(changed((bytes) => bytes.subarray(0, -1)), ["quote-format"]);
  assert.deepEqual(changed((bytes) => Buffer.concat([bytes, Buffer.of(0)])), ["quote-format"]);
  for (const [at, value] of [[0, 4], [2, 3], [4, 0x81], [436 + 64 + 64 + 384 + 64 + 2 + 32, 4]] as const) {
    assert.deepEqual(changed((bytes) => (bytes.writeUInt8(value, at), bytes)), ["quote-format"], `byte ${at}`);
  }
});

test("a root that the policy does not name is refused, a development root with a warning", () => {
  const scene = new Scene();
  const policy = policyText(new TestPlatform());
  const presented: Presented = { tier: "certificate", chain: scene.chain() };
  const verdict = judge(policy, presented, { collateral: scene.platform.collateral, now: NOW });
  assert.deepEqual(verdict.failed.map(({ check }) => check), ["root"]);
  assert.match(verdict.failed[0]?.message ?? "", /protects nothing/);
});

test("a quote that does not hold ends the evaluation, whatever part of it is wrong", () => {
  const wrong: Record<string, PlatformOptions> = {
    "revoked PCK": { revoked: [3] },
    "revoked PCK authority": { rootRevoked: [2] },
    "revoked signer": { rootRevoked: [4] },
    "revoked root": { rootRevoked: [1] },
    "expired revocation lists": { crlNextUpdate: NOW },
    "expired TCB info": { tcbNextUpdate: NOW - 1000 },
    "another kind of platform": { fmspc: "00A067110000" },
    "another provisioning enclave": { pceId: "0001" },
    "no level that fits": { levels: [level(6, 13, "UpToDate"), level(5, 14, "UpToDate")] },
    "no level at all": { levels: [] },
    "an unknown status": { status: "Splendid" },
    "a revoked level": { status: "Revoked" },
    "a debug quoting enclave": { qeDebug: true },
    "another quoting enclave": { qeIdentity: { mrsigner: "00".repeat(32) } },
    "another product": { qeIdentity: { isvprodid: 2 } },
    "other attributes": { qeIdentity: { attributes: "31".padEnd(32, "0") } },
    "another MISCSELECT": { qeIdentity: { miscselect: "00000001" } },
    "an identity of a TDX quoting enclave": { qeIdentity: { id: "TD_QE" } },
    "a revoked quoting enclave": { qeSvn: 2 },
    "an ancient quoting enclave": { qeSvn: 0 },
    "a PCK authority that is none": { pckCaMaySign: false },
    "an expired PCK authority": { pckCaNotAfter: NOW - 1000 },
  };
  for (const [what, options] of Object.entries(wrong)) assert.deepEqual(new Scene(options).certificate(), ["quote"], what);
});

test("one bit changed anywhere in the signed parts of quote or collateral is refused", () => {
  const scene = new Scene();
  const quote = scene.platform.quote(Buffer.alloc(64));
  const { collateral } = scene.platform;
  const policy = policyText(scene.platform);
  const refused = (changed: Buffer, other = collateral): void => {
    const verdict = judge(policy, { tier: "quote", quote: changed }, { collateral: other, now: NOW });
    assert.equal(verdict.accepted, false);
  };
  const flip = (bytes: Buffer, at: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8));
    return copy;
  };
  for (let at = 0; at < quote.length; at += 3) refused(flip(quote, at));
  for (const name of ["rootCaCrl", "pckCrl", "tcbInfoSignature", "qeIdentitySignature"] as const) {
    for (let at = 0; at < collateral[name].length; at += 3) refused(quote, { ...collateral, [name]: flip(collateral[name], at) });
  }
  for (const name of ["tcbInfo", "qeIdentity"] as const) {
    for (let at = 0; at < collateral[name].length; at += 17) {
      refused(quote, { ...collateral, [name]: flip(Buffer.from(collateral[name]), at).toString("latin1") });
    }
  }
});

test("without collateral a quote cannot be judged", () => {
  const scene = new Scene();
  const verdict = judge(policyText(scene.platform), { tier: "certificate", chain: scene.chain() }, { now: NOW });
  assert.deepEqual(verdict.failed.map(({ check }) => check), ["quote"]);
});

test("report data binds key, moment, nonce and channel", () => {
  const scene = new Scene();
  const spki = spkiOf(scene.key);
  const [nonce, exporter, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2), Buffer.alloc(32, 3)];
  assert.deepEqual(scene.failed({ tier: "certificate", chain: scene.chain({ quote: scene.platform.quote(Buffer.alloc(64)) }) }), ["report-data"]);

  const challenge = scene.chain({ quote: scene.platform.quote(challengeReportData(spki, nonce)) });
  assert.deepEqual(scene.failed({ tier: "challenge", chain: challenge, nonce }), []);
  assert.deepEqual(scene.failed({ tier: "challenge", chain: challenge, nonce: other }), ["report-data"]);

  const quote = scene.platform.quote(channelReportData(spki, nonce, exporter));
  const channel: Presented = { tier: "channel", chain: scene.chain(), nonce, exporter, quote };
  assert.deepEqual(scene.failed(channel, "", "channel"), []);
  assert.deepEqual(scene.failed({ ...channel, nonce: other }, "", "channel"), ["report-data"]);
  assert.deepEqual(scene.failed({ ...channel, exporter: other }, "", "channel"), ["report-data"]);
  assert.deepEqual(scene.failed({ ...channel, quote: undefined }, "", "channel"), ["quote-format"]);
  const relayed = new Scene({}, scene.authority);
  assert.deepEqual(scene.failed({ ...channel, chain: relayed.chain() }, "", "channel"), ["report-data"]);
});

test("a debug enclave needs the policy's leave", () => {
  const scene = new Scene();
  const debug = (report: Buffer): void => void report.writeUInt8(0x07, 48);
  assert.deepEqual(scene.certificate({}, "", debug), ["debug"]);
  const text = policyText(scene.platform).replace("mrenclave", "allow_debug = true\nmrenclave");
  const presented: Presented = { tier: "certificate", chain: scene.chain({}, debug) };
  assert.equal(judge(text, presented, { collateral: scene.platform.collateral, now: NOW }).accepted, true);
});

test("measurement: by image, by signer, or both", () => {
  const scene = new Scene();
  const image = (report: Buffer): void => void report.fill(0x11, 64, 96);
  assert.deepEqual(scene.certificate({}, "", image), ["measurement"]);
  const signed = (signer: string, product: number, version: number): string[] => {
    const rule = `mrsigner = ["${signer}"]\nisv_prod_id = ${product}\nmin_isv_svn = ${version}\n`;
    const text = policyText(scene.platform).replace("[freshness]", `${rule}[freshness]`);
    const verdict = judge(text, { tier: "certificate", chain: scene.chain() }, { collateral: scene.platform.collateral, now: NOW });
    return verdict.failed.map(({ check }) => check);
  };
  assert.deepEqual(signed(MRSIGNER, 1, 3), []);
  assert.deepEqual(signed(OTHER, 1, 3), ["measurement"]);
  assert.deepEqual(signed(MRSIGNER, 2, 3), ["measurement"]);
  assert.deepEqual(signed(MRSIGNER, 1, 4), ["measurement"]);
});

test("statuses and advisories are accepted by name, for good or for a time", () => {
  const scene = new Scene({ status: "OutOfDate", advisories: ["INTEL-SA-00334"] });
  assert.deepEqual(scene.certificate(), ["tcb-status", "advisories"]);
  assert.deepEqual(scene.certificate({}, '[tcb]\nstatuses = ["OutOfDate"]\nadvisories = ["INTEL-SA-00334"]'), []);
  const until = (moment: string): string => `[tcb]
statuses = ["UpToDate", { status = "OutOfDate", until = "${moment}" }]
advisories = [{ advisory = "INTEL-SA-00334", until = "${moment}" }]`;
  assert.deepEqual(scene.certificate({}, until("2026-11-21T17:00:01Z")), []);
  assert.deepEqual(scene.certificate({}, until("2026-11-21T17:00:00Z")), ["tcb-status", "advisories"]);
});

test("platform and quoting enclave converge as Intel's library has them", () => {
  for (const [platform, qeSvn, expected] of [
    ["UpToDate", 8, "UpToDate"],
    ["UpToDate", 6, "OutOfDate"],
    ["SWHardeningNeeded", 6, "OutOfDate"],
    ["ConfigurationNeeded", 6, "OutOfDateConfigurationNeeded"],
    ["ConfigurationAndSWHardeningNeeded", 6, "OutOfDateConfigurationNeeded"],
    ["OutOfDateConfigurationNeeded", 6, "OutOfDateConfigurationNeeded"],
  ] as const) {
    const scene = new Scene({ status: platform, qeSvn });
    const verdict = judge(policyText(scene.platform), { tier: "certificate", chain: scene.chain() }, { collateral: scene.platform.collateral, now: NOW });
    assert.equal(verdict.tcb?.status, expected);
    assert.deepEqual(verdict.tcb?.advisories, qeSvn === 6 ? ["INTEL-SA-00615"] : []);
  }
});

test("levels are tried from the highest, whatever order they are in", () => {
  const scene = new Scene({ levels: [level(1, 1, "OutOfDate"), level(5, 13, "UpToDate"), level(5, 14, "SWHardeningNeeded")] });
  assert.deepEqual(scene.certificate(), []);
});

test("the tier has to be strong enough, and a certificate young enough", () => {
  const scene = new Scene();
  assert.deepEqual(scene.failed({ tier: "certificate", chain: scene.chain() }, "", "challenge"), ["tier"]);
  assert.deepEqual(scene.certificate({}, "max_age_seconds = 3299"), ["age"]);
  assert.deepEqual(scene.certificate({}, "max_age_seconds = 3300"), []);
  const nonce = Buffer.alloc(32, 1);
  const quote = scene.platform.quote(challengeReportData(spkiOf(scene.key), nonce));
  assert.deepEqual(scene.failed({ tier: "challenge", chain: scene.chain({ quote }), nonce }, "max_age_seconds = 1"), []);
});

test("app, code hash and key source", () => {
  const scene = new Scene();
  const app = (text: string, options: LeafOptions = {}): string[] => scene.certificate(options, `[app]\n${text}`);
  assert.deepEqual(app('name = "notes"'), []);
  assert.deepEqual(app(`name = "other"\ncode_hashes = ["${OTHER}"]`), ["app"]);
  assert.deepEqual(app(`name = "notes"\ncode_hashes = ["${CODE_HASH.toString("hex")}", "${OTHER}"]`), []);
  assert.deepEqual(app(`name = "notes"\ncode_hashes = ["${OTHER}"]`), ["code-hash"]);
  const own = (keySource: string): LeafOptions => ({ app: { configurationRoot: Buffer.alloc(32, 9), keySource } });
  assert.deepEqual(app('name = "notes"\nkey_source = "generated"', own("generated")), []);
  assert.deepEqual(app('name = "notes"\nkey_source = "byok"', own("byok:0011223344556677")), []);
  assert.deepEqual(app('name = "notes"\nkey_source = "generated"', own("byok:0011223344556677")), ["key-source"]);
  assert.deepEqual(app('name = "notes"\nkey_source = "generated"'), ["key-source"]);
});

test("configuration: roots, and leaves that only a manifest discloses", () => {
  const scene = new Scene();
  const json = manifestJson({ "core.version": { json: "1" }, "app.notes.code_hash": { bytes: CODE_HASH }, "app.notes.env": {} });
  const manifest = Manifest.of(json);
  const chain = scene.chain({ configurationRoot: manifest.root });
  const configured = (text: string, given?: Manifest): string[] =>
    scene.failed({ tier: "certificate", chain }, `[configuration]\n${text}`, "certificate", given);
  const root = manifest.root.toString("hex");
  const version = sha256(Buffer.from('"1"')).toString("hex");
  assert.deepEqual(configured(`root = ["${root}"]`), []);
  assert.deepEqual(configured(`root = ["${OTHER}"]`), ["configuration"]);
  assert.deepEqual(configured(`leaves = { "core.version" = ["${version}"] }`, manifest), []);
  assert.deepEqual(configured(`leaves = { "core.version" = ["${OTHER}"] }`, manifest), ["configuration"]);
  assert.deepEqual(configured(`leaves = { "core.other" = ["${version}"] }`, manifest), ["configuration"]);
  assert.deepEqual(configured(`leaves = { "core.version" = ["${version}"] }`), ["configuration"]);
  const foreign = Manifest.of(manifestJson({ "core.version": { json: "1" } }));
  assert.deepEqual(configured(`leaves = { "core.version" = ["${version}"] }`, foreign), ["configuration"]);
  const appRoot = manifest.appRoot("notes").toString("hex");
  const app = '[app]\nname = "notes"';
  assert.deepEqual(configured(`app_root = ["${appRoot}"]\n${app}`, manifest), []);
  assert.deepEqual(configured(`app_root = ["${OTHER}"]\n${app}`, manifest), ["configuration"]);
  assert.deepEqual(configured(`app_root = ["${appRoot}"]\n${app}`), ["configuration"]);
  assert.deepEqual(configured(`app_root = ["${appRoot}"]`, manifest), ["configuration"]);
});

test("platforms by their PPID", () => {
  const scene = new Scene();
  assert.deepEqual(scene.certificate({}, `[platform]\nppids = ["${PPID}"]`), []);
  assert.deepEqual(scene.certificate({}, `[platform]\nppids = ["${"00".repeat(16)}"]`), ["platform"]);
  const quote = scene.platform.quote(Buffer.alloc(64));
  assert.deepEqual(scene.failed({ tier: "quote", quote }, `[platform]\nppids = ["${"00".repeat(16)}"]`), ["platform"]);
});

test("an operator is one of those above the enclave CA, never the enclave CA itself", () => {
  const key = keys();
  const subject = "Operator CA";
  const der = certificate({ subject, issuer: subject, key, signer: key, extensions: authority });
  const scene = new Scene({}, new TestAuthority({ subject, key, der }));
  const by = (fingerprint: Buffer): string[] =>
    scene.certificate({}, `[authority]\noperator_ca = ["${fingerprint.toString("hex")}"]`);
  assert.deepEqual(by(sha256(der)), []);
  assert.deepEqual(by(sha256(scene.authority.above[0] ?? der)), ["operator-ca"]);
  assert.deepEqual(by(Buffer.alloc(32)), ["operator-ca"]);
});
