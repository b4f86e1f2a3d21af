/**
 * Against a running enclave. `ENCLAVE_OS_LIVE` names a file with `address`; `policy`, a file that accepts the enclave; and
 * `example`, the compiled example. The apps `example` and `echo` are loaded. `clients_typescript.rs` arranges all of it.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import https from "node:https";
import { type TestContext, test } from "node:test";
import { type TLSSocket, connect } from "node:tls";

import { fromBase64, toBase64Url, toHex } from "../../src/bytes.js";
import { run } from "../../src/cli.js";
import { collateralOf } from "../../src/collateral.js";
import { exchange } from "../../src/http-exchange.js";
import {
  type ConnectOptions,
  EnclaveClient,
  RefusedError,
  TIERS,
  type Tier,
  VerificationError,
  VerifiedAgent,
  danger,
  judge,
  openFramed,
  openVerified,
  parseAddress,
} from "../../src/index.js";
import { type Json, type JsonObject, parseJson } from "../../src/json.js";
import { EXPORTER_LABEL } from "../../src/report-data.js";
import { record } from "../support/recorder.js";

const DAY = 86_400_000;
const live = JSON.parse(readFileSync(process.env["ENCLAVE_OS_LIVE"] ?? assert.fail("ENCLAVE_OS_LIVE"), "utf8")) as {
  address: string;
  policy: string;
  example: string;
};
const POLICY = readFileSync(live.policy, "utf8");
const address = parseAddress(live.address);

function policy(tier: Tier, more = ""): string {
  return `${POLICY}[freshness]\nmin_tier = "${tier}"\n${more}`;
}

function client(context: TestContext, options: Partial<ConnectOptions> = {}): EnclaveClient {
  const made = new EnclaveClient(live.address, { policy: POLICY, ...options });
  context.after(() => made.close());
  return made;
}

async function failed(attempt: Promise<unknown>): Promise<string[]> {
  const error = await attempt.then(
    () => assert.fail("it was accepted"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof VerificationError, String(error));
  return error.verdict.failed.map(({ check }) => check);
}

async function refused(attempt: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof RefusedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

for (const tier of TIERS) {
  test(`${tier}: the enclave satisfies the policy, over both protocols`, async (context) => {
    const enclave = client(context, { policy: policy(tier), tier });
    const verdict = await enclave.verify();
    assert.equal(verdict?.accepted, true);
    assert.equal(verdict?.tier, tier);
    assert.deepEqual(verdict?.apps.map(({ name }) => name), ["echo", "example"]);
    await enclave.ping();
    assert.equal((await enclave.fetch("/.enclave/v1/health")).status, 200);
    assert.equal(enclave.agent.verdict?.tier, tier);
  });
}

test("weaker evidence than the policy asks for is refused", async () => {
  assert.deepEqual(await failed(openFramed(address, { policy: policy("challenge"), tier: "certificate" })), ["tier"]);
  assert.deepEqual(await failed(openFramed(address, { policy: policy("channel"), tier: "challenge" })), ["tier"]);
});

test("a wrong policy is refused before any application byte", async (context) => {
  const recorder = await record(live.address);
  context.after(() => recorder.stop());
  const { collateral } = await evidence(context);
  const wrong = POLICY.replace(/mrenclave = \["[0-9a-f]{64}"\]/, `mrenclave = ["${"00".repeat(32)}"]`);
  assert.notEqual(wrong, POLICY);
  for (const tier of TIERS) {
    const enclave = new EnclaveClient(recorder.address, { policy: wrong, tier, collateral: collateralOf(collateral) });
    const expected = tier === "certificate" ? ["measurement", "tier"] : ["measurement"];
    assert.deepEqual(await failed(enclave.app("example").call("kv-store", "key", "secret")), expected);
    assert.deepEqual(await failed(enclave.fetch("/example/", { method: "POST", body: "secret" })), expected);
    enclave.close();
  }
  // After Finished, which may not even have left: nothing; with the channel tier, the request for evidence.
  const after = recorder.connections.map((records) => Math.max(0, records.length - 1));
  assert.deepEqual(after, [0, 0, 0, 0, 1, 1]);
});

test("an old nonce, and evidence of another connection, are refused", async () => {
  const [old, nonce] = [randomBytes(32), randomBytes(32)];
  const sockets = await Promise.all([raw(), raw(), raw(old)]);
  const [first, second, challenged] = sockets as [TLSSocket, TLSSocket, TLSSocket];
  const chain = chainOf(first);
  const answer = parseJson(await exchange(first, live.address, "POST", "/.enclave/v1/attest", { nonce: toBase64Url(nonce) })) as JsonObject;
  const quote = fromBase64(answer["quote"] as string) ?? assert.fail("no quote");
  const exporter = (socket: TLSSocket, of = nonce): Buffer => socket.exportKeyingMaterial(32, EXPORTER_LABEL, of);
  const judged = (presented: Parameters<typeof judge>[1]): string[] =>
    judge(policy("challenge"), presented, { collateral: collateralOf(answer["collateral"]), now: Date.now() }).failed.map(
      ({ check }) => check,
    );
  const channel = { tier: "channel", chain, nonce, exporter: exporter(first), quote } as const;
  assert.deepEqual(judged(channel), []);
  assert.deepEqual(judged({ ...channel, exporter: exporter(second) }), ["report-data"]);
  assert.deepEqual(judged({ ...channel, nonce: old, exporter: exporter(first, old) }), ["report-data"]);
  assert.deepEqual(judged({ tier: "challenge", chain: chainOf(challenged), nonce: old }), []);
  assert.deepEqual(judged({ tier: "challenge", chain: chainOf(challenged), nonce }), ["report-data"]);
  assert.deepEqual(judged({ ...channel, chain: chainOf(challenged) }), ["report-data"]);
  for (const socket of sockets) socket.destroy();
});

test("a clock that is 25 hours off is noticed", async () => {
  for (const now of [() => Date.now() + DAY + 3_600_000, () => Date.now() - DAY - 3_600_000]) {
    const checks = await failed(openFramed(address, { policy: policy("certificate"), tier: "certificate", now }));
    assert.ok(checks.includes("certificate-time") || checks.includes("certificate-chain"), checks.join());
  }
});

test("functions are called with native values", async (context) => {
  const enclave = client(context);
  const example = enclave.app("example");
  assert.equal(await example.call("hello"), "Hello, World!");
  assert.equal(await example.call("kv-store", "k", "v"), "stored: k");
  assert.equal(await example.callNamed("kv-read", { key: "k" }), "v");
  const echo = enclave.app("echo");
  const drawing = {
    title: "a house",
    origin: { x: -1, y: 2 },
    shape: { polygon: [{ x: 0, y: 0 }, { x: 3, y: 4 }] },
    colour: "dark-blue",
    permissions: ["read", "execute-all"],
    labels: [["big", 2n ** 64n - 1n], ["small", 1n]],
    outcome: { err: "no" },
  } as const;
  for (const [name, value] of [
    ["echo-bool", true],
    ["echo-s8", -128],
    ["echo-u32", 4294967295],
    ["echo-s64", -(2n ** 63n)],
    ["echo-u64", 7n],
    ["echo-f64", -Infinity],
    ["echo-f32", 0.5],
    ["echo-char", "é"],
    ["echo-bytes", Uint8Array.of(0, 1, 255)],
    ["echo-list", [["a"], []]],
    ["echo-tuple", [true, -1n, "x"]],
    ["echo-option", null],
    ["echo-nested-option", { some: null }],
    ["echo-result", { err: "no" }],
    ["echo-bare-result", { ok: null }],
    ["test:echo/shapes@1.2.0#echo-drawing", drawing],
    ["shapes#echo-drawing", drawing],
    ["echo-shape", { nothing: null }],
  ] as const) {
    assert.deepEqual(await echo.call(name, value), value, name);
  }
  assert.equal(await echo.call("nothing"), undefined);
  assert.equal(await echo.call("count", new Uint8Array(100_000)), 100_000n);
  assert.deepEqual(await echo.call("produce", 3), Uint8Array.of(0, 1, 2));
  const joined = await Promise.all([1, 2, 3].map((n) => echo.callNamed("join", { first: "a", second: n, third: true })));
  assert.deepEqual(joined, ["a/1/true", "a/2/true", "a/3/true"]);
});

test("refusals say which rule was broken", async (context) => {
  const enclave = client(context);
  await refused(enclave.app("example").call("nope"), "unknown-function");
  await refused(enclave.app("example").call("kv-store", 1, "v"), "bad-params");
  await refused(enclave.app("nope").call("hello"), "unknown-app");
  await refused(enclave.app("echo").call("echo-string", Uint8Array.of(1)), "bad-params");
  await refused(enclave.proof("no.such.leaf"), "unknown-leaf");
  await refused(enclave.request({ wasm_call: { app: "echo", function: "nothing", params: [], more: 1 } }), "bad-request");
});

test("HTTP goes over verified connections, through fetch and through the agent", async (context) => {
  const enclave = client(context);
  const path = "/.enclave/v1/apps/echo/call/echo-string";
  const headers = { "content-type": "application/json" };
  const response = await enclave.fetch(path, { method: "POST", headers, body: JSON.stringify(["hi"]) });
  assert.deepEqual(await response.json(), { status: "ok", returns: [{ type: "string", value: "hi" }] });
  const agent = new VerifiedAgent({ policy: policy("channel") });
  context.after(() => agent.destroy());
  const status = await new Promise((resolve, reject) => {
    const url = `https://${live.address}/.enclave/v1/ready`;
    https.get(url, { agent }, (answer) => answer.resume().on("end", () => resolve(answer.statusCode))).on("error", reject);
  });
  assert.equal(status, 200);
});

test("an app's hostname gives that app's certificate, which a policy can name", async (context) => {
  const code = (await client(context).list()).find(({ name }) => name === "example")?.codeHash ?? "";
  const app = (name: string, more = ""): ConnectOptions => ({
    policy: policy("channel", `[app]\nname = "${name}"\nkey_source = "generated"\n${more}`),
    serverName: "example",
  });
  const { framed, verdict } = await openFramed(address, app("example", `code_hashes = ["${code}"]`));
  framed.close();
  assert.deepEqual(verdict?.apps.map(({ name }) => name), ["example"]);
  assert.deepEqual(await failed(openFramed(address, app("echo"))), ["app"]);
  assert.deepEqual(await failed(openFramed(address, app("example", `code_hashes = ["${"00".repeat(32)}"]`))), ["code-hash"]);
  const named = { policy: POLICY, serverName: "unheard.example" };
  assert.deepEqual(await failed(openFramed(address, named)), ["server-name"]);
});

test("settings are proved, by leaf and by root, and demanded by a policy", async (context) => {
  const enclave = client(context);
  const root = (await enclave.verify())?.configurationRoot ?? assert.fail("no root");
  const manifest = await enclave.manifest();
  assert.deepEqual(manifest.root, root);
  const proof = await enclave.proof("core.operator_policy");
  assert.equal(proof.holds(root), true);
  assert.equal(proof.holds(Buffer.alloc(32)), false);
  const demand = (hash: string): ConnectOptions => ({
    policy: policy("channel", `[configuration]\nroot = ["${toHex(root)}"]\n[configuration.leaves]\n"core.operator_policy" = ["${hash}"]`),
  });
  (await openVerified(address, demand(toHex(proof.leaf.valueHash)))).socket.destroy();
  assert.deepEqual(await failed(openVerified(address, demand("00".repeat(32)))), ["configuration"]);
});

test("an evidence document is judged offline, and every change of it is noticed", async (context) => {
  const document = await evidence(context);
  const judged = (changed: Json): string[] =>
    judge(policy("certificate"), { tier: "evidence", document: changed }, { now: Date.now() }).failed.map(({ check }) => check);
  assert.deepEqual(judged(document), []);
  assert.deepEqual(judged({ ...document, evidence_quote: document["certificate_quote"] ?? null }), ["report-data"]);
  assert.deepEqual(judged({ ...document, evidence_quote: null }), ["quote-format"]);
  assert.deepEqual(judged({ ...document, more: 1 }), ["evidence-format"]);
  const other = client(context, { serverName: "example" });
  const ofApp = parseJson(await other.evidence()) as JsonObject;
  assert.deepEqual(judged(ofApp), []);
  assert.deepEqual(judged({ ...document, manifest: ofApp["manifest"] ?? null }), ["report-data", "configuration"]);
});

test("what has changed since the handshake is not called unseen", async (context) => {
  const before = client(context);
  await before.app("example").call("hello");
  const loader = client(context);
  await loader.load("example", readFileSync(live.example), { version: "2" });
  await refused(before.app("example").call("hello"), "attestation-stale");
  assert.equal(await before.app("example").call("hello"), "Hello, World!");
  assert.equal(await loader.unload("no-such-app"), false);
});

test("the command judges the running enclave", async () => {
  const lines: string[] = [];
  const output = { log: (text: string) => lines.push(text), error: (text: string) => lines.push(text) };
  assert.equal(await run(["verify", live.address, "--policy", live.policy, "--json"], output), 0, lines.join("\n"));
  const verdict = JSON.parse(lines.join("")) as { accepted: boolean; tier: string };
  assert.deepEqual([verdict.accepted, verdict.tier], [true, "channel"]);
  assert.equal(await run(["verify", live.address, "--policy", live.policy, "--tier", "certificate"], output), 1);
  assert.match(lines.at(-1) ?? "", /FAILED tier/);
});

async function evidence(context: TestContext): Promise<JsonObject> {
  return parseJson(await client(context).evidence()) as JsonObject;
}

/** A TLS connection that nobody has judged, for evidence that is to be presented wrongly. */
async function raw(nonce?: Buffer): Promise<TLSSocket> {
  if (nonce === undefined) return (await openVerified(address, { policy: danger.acceptAnyCertificate() })).socket;
  const socket = connect({
    ...address,
    ALPNProtocols: [`enclave-os-nonce/${toBase64Url(nonce)}`, "http/1.1"],
    minVersion: "TLSv1.3",
    rejectUnauthorized: false,
  });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return socket;
}

function chainOf(socket: TLSSocket): Buffer[] {
  const { raw: leaf, issuerCertificate } = socket.getPeerCertificate(true);
  return [leaf, issuerCertificate.raw];
}
