/** A server that presents evidence as an enclave does, or wrongly on purpose, and notes what clients send. */

import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { TLSSocket, createSecureContext } from "node:tls";

import { pemOf } from "../../src/pem.js";
import {
  EXPORTER_LABEL,
  certificateReportData,
  challengeReportData,
  channelReportData,
} from "../../src/report-data.js";
import { collateralJson } from "./documents.js";
import { type Keys, type LeafOptions, NOW, TestAuthority, TestPlatform, keys, spkiOf } from "./pki.js";

const PROTOCOLS = ["enclave-os/1", "http/1.1"];

/** What a server does otherwise than an enclave. */
export interface ServerOptions {
  /** Replaces the nonce that a quote is made for. */
  readonly nonce?: (asked: Buffer) => Buffer;
  /** Replaces the TLS exporter that a quote is made for. */
  readonly exporter?: (own: Buffer) => Buffer;
  /** The key that quotes are made for, where it is not the certificate's. */
  readonly quotedKey?: Keys;
  /** Refuses `attest` with this code. */
  readonly refuseAttest?: string;
  /** Leaves the collateral out of answers. */
  readonly withoutCollateral?: boolean;
  /** Ends the connection in place of the n-th answer. */
  readonly hangUpAt?: number;
  /** Adds so many bytes to the answer of `attest`. */
  readonly attestPadding?: number;
  readonly configurationRoot?: Buffer;
  /** The manifest, or that for the name which the handshake asked for. */
  readonly manifest?: object | ((serverName: string | undefined) => object);
  /** Proofs by the leaf that is asked for. */
  readonly proofs?: Readonly<Record<string, object>>;
  /** The certificate is of this app alone. */
  readonly app?: LeafOptions["app"];
  /** What the certificate is for. */
  readonly names?: readonly string[];
}

/** The frames and requests that arrived, in order. */
export type Seen = (string | { [command: string]: unknown })[];

export class TestServer {
  readonly platform = new TestPlatform();
  readonly authority = new TestAuthority();
  /** Frames, and HTTP requests as `METHOD path`. */
  readonly seen: Seen = [];
  /** What frames other than `attest` are answered with; by default nothing is known. */
  answer: (frame: unknown) => unknown = () => ({ status: "error", code: "unknown-app", message: "there is no app" });
  readonly #key = keys();
  readonly #options: ServerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #http = createHttpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      this.seen.push(`${request.method} ${request.url}`);
      const body = Buffer.concat(chunks).toString();
      const [status, answer] = this.#answerHttp(request.url ?? "", body, request.socket as TLSSocket);
      response.writeHead(status, { "content-type": status === 200 ? "application/json" : "application/problem+json" });
      response.end(JSON.stringify(answer));
    });
  });
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #pem = this.#key.privateKey.export({ format: "pem", type: "pkcs8" }) as string;

  private constructor(options: ServerOptions) {
    this.#options = options;
  }

  static async start(options: ServerOptions = {}): Promise<TestServer> {
    const server = new TestServer(options);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** node:tls chooses the certificate before it looks at ALPN, so the nonce is looked for in the first bytes. */
  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", (hello: Buffer) => {
      socket.pause();
      socket.unshift(hello);
      const at = hello.indexOf("enclave-os-nonce/");
      const nonce = at === -1 ? undefined : Buffer.from(hello.toString("latin1", at + 17, at + 60), "base64url");
      this.#serve(socket, nonce);
    });
  }

  #serve(socket: Socket, nonce: Buffer | undefined): void {
    const chain = [this.#leaf(nonce), ...this.authority.above].map(pemOf).join("");
    const tls = new TLSSocket(socket, {
      isServer: true,
      secureContext: createSecureContext({ key: this.#pem, cert: chain, minVersion: "TLSv1.3" }),
      ALPNProtocols: PROTOCOLS,
    });
    tls.on("error", () => undefined);
    tls.once("secure", () => {
      if (tls.alpnProtocol === "http/1.1") this.#http.emit("connection", tls);
      else this.#speakFrames(tls);
    });
  }

  #leaf(nonce: Buffer | undefined): Buffer {
    const spki = spkiOf(this.#options.quotedKey ?? this.#key);
    const notBefore = NOW - 60_000;
    const data =
      nonce === undefined ? certificateReportData(spki, notBefore) : challengeReportData(spki, this.#nonce(nonce));
    const { configurationRoot, names, app } = this.#options;
    const quote = this.platform.quote(data);
    return this.authority.leaf(this.#key, {
      quote,
      notBefore,
      ...(configurationRoot && { configurationRoot }),
      ...(names && { names }),
      ...(app && { app }),
    });
  }

  #nonce(asked: Buffer): Buffer {
    return this.#options.nonce?.(asked) ?? asked;
  }

  #speakFrames(socket: TLSSocket): void {
    let received = Buffer.alloc(0);
    let answered = 0;
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 4 && received.length >= 4 + received.readUInt32BE()) {
        const length = received.readUInt32BE();
        const frame = JSON.parse(received.toString("utf8", 4, 4 + length)) as string | Record<string, unknown>;
        received = received.subarray(4 + length);
        this.seen.push(frame);
        answered += 1;
        if (this.#options.hangUpAt === answered) {
          socket.destroy();
          return;
        }
        const json = Buffer.from(JSON.stringify(this.#answerFrame(frame, socket)));
        const head = Buffer.alloc(4);
        head.writeUInt32BE(json.length);
        socket.write(head.subarray(0, 1)); // in pieces, as a network may deliver it
        socket.write(Buffer.concat([head.subarray(1), json]));
      }
    });
  }

  #answerFrame(frame: string | Record<string, unknown>, socket: TLSSocket): unknown {
    if (typeof frame === "object" && "attest" in frame) {
      const answer = this.#attest((frame["attest"] as { nonce: string }).nonce, socket);
      return "code" in answer ? { status: "error", ...answer } : { status: "attested", ...answer };
    }
    return frame === "Ping" ? "Pong" : this.answer(frame);
  }

  #answerHttp(path: string, body: string, socket: TLSSocket): [number, unknown] {
    if (path === "/.enclave/v1/attest") {
      const answer = this.#attest((JSON.parse(body) as { nonce: string }).nonce, socket);
      return "code" in answer ? [503, { code: answer.code, detail: answer.message }] : [200, answer];
    }
    const { manifest, proofs } = this.#options;
    if (path === "/.enclave/v1/manifest" && manifest !== undefined) {
      return [200, typeof manifest === "function" ? manifest(socket.servername || undefined) : manifest];
    }
    const proof = proofs?.[path.replace("/.enclave/v1/proofs/", "")];
    if (proof !== undefined) return [200, proof];
    return path === "/echo" ? [200, { body }] : [404, { code: "not-found", detail: `nothing is at ${path}` }];
  }

  #attest(asked: string, socket: TLSSocket): { code: string; message: string } | object {
    const { refuseAttest, exporter, withoutCollateral, attestPadding } = this.#options;
    if (refuseAttest !== undefined) return { code: refuseAttest, message: `not now: ${refuseAttest}` };
    const nonce = this.#nonce(Buffer.from(asked, "base64url"));
    const own = socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.from(asked, "base64url"));
    const spki = spkiOf(this.#options.quotedKey ?? this.#key);
    const quote = this.platform.quote(channelReportData(spki, nonce, exporter?.(own) ?? own));
    return {
      quote: quote.toString("base64"),
      ...(withoutCollateral !== true && { collateral: collateralJson(this.platform.collateral) }),
      issued: "2026-11-21T17:00:00Z",
      ...(attestPadding !== undefined && { padding: "x".repeat(attestPadding) }),
    };
  }
}
