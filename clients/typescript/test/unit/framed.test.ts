/** How much is taken of a peer that nobody has judged yet. */

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";

import { openFramed, parseAddress } from "../../src/connection.js";
import { ConnectionError } from "../../src/errors.js";
import { FramedConnection, MAX_EVIDENCE } from "../../src/framed.js";
import { NOW, policyText } from "../support/pki.js";
import { TestServer } from "../support/server.js";

/** A peer that is told what to answer. */
class Peer extends EventEmitter {
  destroyed = false;

  write(): boolean {
    return true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  /** Sends the head of an answer, and so much of it. */
  announce(length: number, content = ""): void {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    this.emit("data", Buffer.concat([head, Buffer.from(content)]));
  }
}

function connected(): { peer: Peer; framed: FramedConnection } {
  const peer = new Peer();
  return { peer, framed: new FramedConnection(peer as unknown as TLSSocket) };
}

const ended = (message: RegExp) => (error: unknown) => error instanceof ConnectionError && message.test(error.message);

test("an answer that is announced as too long ends the connection before it is received", async () => {
  const { peer, framed } = connected();
  const answer = framed.request({ attest: {} }, MAX_EVIDENCE);
  peer.announce(MAX_EVIDENCE + 1);
  assert.equal(peer.destroyed, true);
  await assert.rejects(answer, ended(/a frame of 262145 bytes/));
});

test("the limit is that of the one answer", async () => {
  const { peer, framed } = connected();
  const [first, second] = [framed.request({ attest: {} }, MAX_EVIDENCE), framed.send("Ping")];
  peer.announce(MAX_EVIDENCE, "{}".padStart(MAX_EVIDENCE));
  assert.deepEqual(await first, {});
  peer.announce(MAX_EVIDENCE + 1, '"Pong"'.padStart(MAX_EVIDENCE + 1));
  assert.equal(await second, "Pong");
});

test("nothing is received that nobody asked for", () => {
  const { peer, framed } = connected();
  peer.announce(1000);
  assert.equal(peer.destroyed, true);
  assert.equal(framed.isOpen, false);
});

test("evidence of a peer that is not judged yet is short, and answers are not afterwards", async (context) => {
  const server = await TestServer.start({ attestPadding: MAX_EVIDENCE });
  context.after(() => server.stop());
  const by = (policy: string): Promise<unknown> =>
    openFramed(parseAddress(server.address), { policy, collateral: server.platform.collateral, now: () => NOW });
  await assert.rejects(by(policyText(server.platform, "", "channel")), ended(/the server sent a frame of/));

  const usual = await TestServer.start();
  context.after(() => usual.stop());
  usual.answer = () => ({ status: "apps", apps: "x".repeat(MAX_EVIDENCE) });
  const { framed } = await openFramed(parseAddress(usual.address), {
    policy: policyText(usual.platform, "", "channel"),
    now: () => NOW,
  });
  assert.equal(String((await framed.request({ wasm_list: {} }))["apps"]).length, MAX_EVIDENCE);
  framed.close();
});
