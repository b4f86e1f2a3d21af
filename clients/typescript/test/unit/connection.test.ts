/** What reaches a server before, and what after, its evidence satisfies the policy. */

import assert from "node:assert/strict";
import https from "node:https";
import { type TestContext, test } from "node:test";

import { VerifiedAgent } from "../../src/agent.js";
import { EnclaveClient } from "../../src/client.js";
import { CollateralCache } from "../../src/collateral-cache.js";
import { type ConnectOptions, openFramed, openVerified, parseAddress } from "../../src/connection.js";
import { acceptAnyCertificate } from "../../src/danger.js";
import { ConnectionError, RefusedError, VerificationError } from "../../src/errors.js";
import { Manifest } from "../../src/manifest.js";
import { leafHash } from "../../src/merkle.js";
import { PolicyError, TIERS, type Tier } from "../../src/policy.js";
import { manifestJson } from "../support/documents.js";
import { NOW, TestPlatform, keys, policyText } from "../support/pki.js";
import { type ServerOptions, TestServer } from "../support/server.js";

const OTHER = Buffer.alloc(32, 5);

async function serve(context: TestContext, options: ServerOptions = {}): Promise<TestServer> {
  const server = await TestServer.start(options);
  context.after(() => server.stop());
  return server;
}

function by(server: TestServer, tier: Tier, more = ""): ConnectOptions {
  return { policy: policyText(server.platform, more, tier), tier, now: () => NOW };
}

/** The checks that fail when a client connects. */
async function failed(attempt: Promise<unknown>): Promise<string[]> {
  const error = await attempt.then(
    () => assert.fail("it was accepted"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof VerificationError, String(error));
  return error.verdict.failed.map(({ check }) => check);
}

for (const tier of TIERS) {
  test(`${tier}: an enclave that satisfies the policy is talked to`, async (context) => {
    const server = await serve(context);
    const address = parseAddress(server.address);
    const { framed, verdict } = await openFramed(address, by(server, tier));
    assert.equal(verdict?.accepted, true);
    assert.equal(verdict?.tier, tier);
    assert.equal(await framed.send("Ping"), "Pong");
    framed.close();
    const { socket } = await openVerified(address, by(server, tier));
    socket.destroy();
  });

  test(`${tier}: nothing but what evidence needs is sent to one that does not`, async (context) => {
    const server = await serve(context);
    const policy = policyText(server.platform, "", tier).replace("aa".repeat(32), "ab".repeat(32));
    const { collateral } = server.platform;
    const client = new EnclaveClient(server.address, { policy, tier, collateral, now: () => NOW });
    assert.deepEqual(await failed(client.app("notes").call("kv-store", "k", "secret")), ["measurement"]);
    assert.deepEqual(await failed(client.fetch("/echo", { method: "POST", body: "secret" })), ["measurement"]);
    const asked = server.seen.map((frame) => (typeof frame === "string" ? frame : Object.keys(frame).join()));
    assert.deepEqual(asked, tier === "channel" ? ["attest", "POST /.enclave/v1/attest"] : []);
  });

  test(`${tier}: evidence made for another key is refused`, async (context) => {
    const server = await serve(context, { quotedKey: keys() });
    assert.deepEqual(await failed(openFramed(parseAddress(server.address), by(server, tier))), ["report-data"]);
  });
}

test("an old nonce is refused, in the handshake and on the connection", async (context) => {
  const server = await serve(context, { nonce: () => OTHER });
  const address = parseAddress(server.address);
  assert.deepEqual(await failed(openFramed(address, by(server, "challenge"))), ["report-data"]);
  assert.deepEqual(await failed(openFramed(address, by(server, "channel"))), ["report-data"]);
});

test("evidence of another connection is refused", async (context) => {
  let first: Buffer | undefined;
  const server = await serve(context, { exporter: (own) => (first ??= own) });
  const address = parseAddress(server.address);
  const { framed } = await openFramed(address, by(server, "channel"));
  framed.close();
  assert.deepEqual(await failed(openFramed(address, by(server, "channel"))), ["report-data"]);
});

test("the policy's minimum is enforced whatever the caller asks for", async (context) => {
  const server = await serve(context);
  const options = { ...by(server, "certificate"), policy: policyText(server.platform, "", "channel") };
  assert.deepEqual(await failed(openFramed(parseAddress(server.address), options)), ["tier"]);
});

test("the name that is asked for is checked", async (context) => {
  const server = await serve(context);
  const named = (serverName: string): ConnectOptions => ({ ...by(server, "channel"), serverName });
  const { framed } = await openFramed(parseAddress(server.address), named("localhost"));
  framed.close();
  assert.deepEqual(await failed(openFramed(parseAddress(server.address), named("other.example"))), ["server-name"]);
});

test("a refusal of attest is told as one", async (context) => {
  const server = await serve(context, { refuseAttest: "no-quote" });
  for (const open of [openFramed, openVerified]) {
    await assert.rejects(open(parseAddress(server.address), by(server, "channel")), (error) => {
      assert.ok(error instanceof RefusedError);
      assert.equal(error.code, "no-quote");
      return true;
    });
  }
});

test("collateral comes from the caller, the cache, or the server", async (context) => {
  const server = await serve(context, { withoutCollateral: true });
  const address = parseAddress(server.address);
  assert.deepEqual(await failed(openFramed(address, by(server, "channel"))), ["quote"]);
  assert.deepEqual(await failed(openFramed(address, by(server, "certificate"))), ["quote"]);
  const cache = new CollateralCache();
  const given = { ...by(server, "channel"), cache, collateral: server.platform.collateral };
  (await openFramed(address, given)).framed.close();
  (await openFramed(address, { ...by(server, "challenge"), cache })).framed.close();
  const expired = { ...by(server, "channel"), cache, now: () => NOW + 31 * 86_400_000 };
  assert.ok((await failed(openFramed(address, expired))).includes("quote"));
});

test("settings that the policy names are proved one by one, and nothing is learned of the others", async (context) => {
  const { manifest, proofs } = proven();
  const [limits, version] = manifest.leaves.map((leaf) => `"${leaf.name}" = ["${leaf.valueHash.toString("hex")}"]\n`);
  const own = Manifest.of(manifestJson({ limits: { json: 1 } }));
  const app = { configurationRoot: own.root, keySource: "generated" };
  const judged = async (server: TestServer, leaves: string): Promise<string[]> => {
    const options = { ...by(server, "channel", `[configuration.leaves]\n${leaves}`), serverName: "localhost" };
    const opening = openFramed(parseAddress(server.address), options);
    return await opening.then(({ framed }) => (framed.close(), []), () => failed(opening));
  };
  const paths = (server: TestServer): unknown[] => server.seen.splice(0).filter((seen) => typeof seen === "string");
  for (const shown of [{}, { app }]) {
    const right = await serve(context, { proofs, configurationRoot: manifest.root, ...shown });
    assert.deepEqual(await judged(right, version ?? ""), []);
    assert.deepEqual(paths(right), ["GET /.enclave/v1/proofs/core.version"]);
    assert.deepEqual(await judged(right, `${limits}${version}`), []);
    assert.deepEqual(paths(right), ["GET /.enclave/v1/proofs/app.notes.limits", "GET /.enclave/v1/proofs/core.version"]);
    assert.deepEqual(await judged(right, `"core.version" = ["${"00".repeat(32)}"]`), ["configuration"]);
    assert.deepEqual(await judged(right, `"core.missing" = ["${"00".repeat(32)}"]`), ["configuration"]);
  }
  const wrong = await serve(context, { proofs });
  assert.deepEqual(await judged(wrong, version ?? ""), ["configuration"], "they lead to the root of another enclave");
});

test("an app's root follows from the manifest, which is fetched where no name is asked for", async (context) => {
  const { manifest, document, proofs } = proven();
  const asked: (string | undefined)[] = [];
  const whole = (name: string | undefined): object => (asked.push(name), document);
  const root = manifest.appRoot("notes");
  const more = `[configuration]\napp_root = ["${root.toString("hex")}"]\n[app]\nname = "notes"`;
  const judged = async (options: ServerOptions): Promise<string[]> => {
    const server = await serve(context, { manifest: whole, proofs, ...options });
    const opening = openFramed(parseAddress(server.address), { ...by(server, "channel", more), serverName: "localhost" });
    return await opening.then(({ framed }) => (framed.close(), []), () => failed(opening));
  };
  assert.deepEqual(await judged({ configurationRoot: manifest.root }), []);
  assert.deepEqual(asked.splice(0), [undefined]);
  assert.deepEqual(await judged({ app: { configurationRoot: root, keySource: "generated" } }), []);
  assert.deepEqual(asked, [], "the app's own certificate tells it");
  assert.deepEqual(await judged({}), ["configuration"], "it is of another enclave");
});

/** Two settings, and the proof of each. */
function proven(): { manifest: Manifest; document: object; proofs: Record<string, object> } {
  const document = manifestJson({ "app.notes.limits": { json: 1 }, "core.version": { json: "1" } });
  const hashes = document.leaves.map(({ name, value_hash }) =>
    leafHash(Buffer.concat([Buffer.of(0, String(name).length), Buffer.from(String(name)), Buffer.from(String(value_hash), "hex")])),
  );
  const proofs = document.leaves.map((leaf, index) => {
    const path = [hashes[1 - index]?.toString("hex")];
    return [String(leaf["name"]), { leaf, index, tree_size: 2, path, root: document.root }] as const;
  });
  return { manifest: Manifest.of(document), document, proofs: Object.fromEntries(proofs) };
}

const unvouched = (message: RegExp) => (error: unknown) => error instanceof ConnectionError && message.test(error.message);

test("a manifest and a proof are given only if they lead to the root in the certificate", async (context) => {
  const { manifest, document, proofs } = proven();
  const right = await serve(context, { manifest: document, proofs, configurationRoot: manifest.root });
  const client = new EnclaveClient(right.address, by(right, "channel"));
  assert.deepEqual((await client.manifest()).root, manifest.root);
  assert.equal((await client.proof("core.version")).leaf.name, "core.version");
  client.close();
  const wrong = await serve(context, { manifest: document, proofs });
  const other = new EnclaveClient(wrong.address, by(wrong, "channel"));
  await assert.rejects(other.manifest(), unvouched(/in the certificate/));
  await assert.rejects(other.proof("core.version"), unvouched(/root in the certificate/));
  other.close();
  const anyone = new EnclaveClient(wrong.address, { policy: acceptAnyCertificate() });
  assert.deepEqual((await anyone.manifest()).root, manifest.root, "as its name says");
  assert.equal((await anyone.proof("core.version")).leaf.name, "core.version");
  anyone.close();
});

test("the proof of another leaf is refused, whoever gives it", async (context) => {
  const { manifest, proofs } = proven();
  const swapped = { "core.version": proofs["app.notes.limits"] ?? {} };
  const server = await serve(context, { proofs: swapped, configurationRoot: manifest.root });
  for (const options of [by(server, "channel"), { policy: acceptAnyCertificate() }]) {
    const client = new EnclaveClient(server.address, options);
    await assert.rejects(client.proof("core.version"), unvouched(/proved the leaf app\.notes\.limits, not core\.version/));
    client.close();
  }
});

test("at an app's hostname the manifest is the app's own, and proofs lead to the enclave's root", async (context) => {
  const { manifest, document, proofs } = proven();
  const own = manifestJson({ limits: { json: 1 } });
  const app = { configurationRoot: Manifest.of(own).root, keySource: "generated" };
  const right = await serve(context, { manifest: own, proofs, configurationRoot: manifest.root, app });
  const client = new EnclaveClient(right.address, by(right, "channel"));
  assert.deepEqual((await client.manifest()).root, app.configurationRoot);
  assert.equal((await client.proof("core.version")).leaf.name, "core.version");
  client.close();
  const wrong = await serve(context, { manifest: document, configurationRoot: manifest.root, app });
  const other = new EnclaveClient(wrong.address, by(wrong, "channel"));
  await assert.rejects(other.manifest(), unvouched(/in the certificate/));
  other.close();
});

test("a client calls functions with native values and reads its errors", async (context) => {
  const server = await serve(context);
  server.answer = (frame) => {
    const { wasm_call: call, wasm_schema: schema } = frame as { wasm_call?: { params: unknown }; wasm_schema?: object };
    if (schema !== undefined) {
      const parameter = { name: "a", type: "u64" };
      return { status: "schema", app: "notes", schema: { exports: [{ name: "add", params: [parameter], results: [{ list: "u64" }] }] } };
    }
    if (call === undefined) return { status: "error", code: "bad-request", message: "what is that?" };
    return { status: "ok", returns: [{ type: "list", value: call.params }] };
  };
  const client = await EnclaveClient.connect(server.address, by(server, "channel"));
  const sum = await client.app("notes").call("add", 7n, 2n ** 63n);
  assert.deepEqual(sum, [7n, 2n ** 63n]);
  await client.ping();
  await assert.rejects(client.request({ wasm_list: {} }), (error) => error instanceof RefusedError && error.code === "bad-request");
  const calls = await Promise.all([1n, 2n, 3n].map((value) => client.app("notes").call("add", value)));
  assert.deepEqual(calls, [[1n], [2n], [3n]]);
  client.close();
  assert.equal(server.seen.filter((frame) => typeof frame === "object" && "attest" in frame).length, 1);
});

test("a connection whose enclave has changed is not used again", async (context) => {
  const server = await serve(context);
  server.answer = () => ({ status: "error", code: "attestation-stale", message: "the app was replaced" });
  const client = await EnclaveClient.connect(server.address, by(server, "channel"));
  for (const _ of [1, 2]) {
    await assert.rejects(client.request({ wasm_list: {} }), (error) => error instanceof RefusedError && error.code === "attestation-stale");
  }
  assert.equal(server.seen.filter((frame) => typeof frame === "object" && "attest" in frame).length, 2);
  client.close();
});

test("a connection that breaks fails its calls, and the next one is verified anew", async (context) => {
  const server = await serve(context, { hangUpAt: 2 });
  const client = await EnclaveClient.connect(server.address, by(server, "channel"));
  await assert.rejects(client.ping(), ConnectionError);
  await client.verify();
  assert.equal(server.seen.filter((frame) => typeof frame === "object" && "attest" in frame).length, 2);
  client.close();
});

test("existing HTTP code uses verified connections through the agent", async (context) => {
  const server = await serve(context);
  const agent = new VerifiedAgent(by(server, "channel"));
  context.after(() => agent.destroy());
  const get = (path: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const request = https.get(`https://${server.address}${path}`, { agent }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode));
      });
      request.on("error", reject);
    });
  assert.equal(await get("/echo"), 200);
  assert.equal(await get("/other"), 404);
  assert.equal(agent.verdict?.accepted, true);
  assert.deepEqual(server.seen, ["POST /.enclave/v1/attest", "GET /echo", "GET /other"], "one connection, kept");
});

test("fetch over a verified connection sends and receives bodies", async (context) => {
  const server = await serve(context);
  const client = new EnclaveClient(server.address, by(server, "channel"));
  const response = await client.fetch("/echo", { method: "POST", body: "some text" });
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { body: "some text" });
  await assert.rejects(client.manifest(), (error) => error instanceof RefusedError && error.code === "not-found");
  client.close();
});

test("an unreadable policy is told before anything connects", () => {
  assert.throws(() => new EnclaveClient("127.0.0.1:1", { policy: "format = 1" }), PolicyError);
});

test("a server that does not answer does not hold a client for ever", async (context) => {
  const server = await serve(context, { hangUpAt: 1 });
  await assert.rejects(openFramed(parseAddress(server.address), by(server, "channel")), ConnectionError);
  await assert.rejects(openFramed({ host: "127.0.0.1", port: 1 }, by(server, "channel")), ConnectionError);
  await assert.rejects(openFramed(parseAddress(server.address), { ...by(server, "channel"), timeoutMs: 0 }), ConnectionError);
});

test("verification is off only where it was switched off by name", async (context) => {
  const server = await serve(context);
  const { framed, verdict } = await openFramed(parseAddress(server.address), { policy: acceptAnyCertificate() });
  assert.equal(verdict, undefined);
  assert.equal(await framed.send("Ping"), "Pong");
  framed.close();
  const other = policyText(new TestPlatform(), "", "channel");
  assert.deepEqual(await failed(openFramed(parseAddress(server.address), { policy: other, now: () => NOW })), ["root"]);
});

test("addresses", () => {
  assert.deepEqual(parseAddress("enclave.example.com"), { host: "enclave.example.com", port: 8443 });
  assert.deepEqual(parseAddress("[::1]:443"), { host: "::1", port: 443 });
  for (const text of ["", "host:0", "host:65536", "host:x", "https://host", "::1"]) {
    assert.throws(() => parseAddress(text), ConnectionError, text);
  }
});
