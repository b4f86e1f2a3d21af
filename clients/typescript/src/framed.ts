/** Framed JSON: `u32 BE length ‖ JSON` both ways, answered in order (`docs/formats/framed-json.md`). */

import type { TLSSocket } from "node:tls";

import { ConnectionError, RefusedError } from "./errors.js";

const MAX_FRAME = 64 * 1024 * 1024;
/** The largest answer that is taken from a peer which has not been judged yet. */
export const MAX_EVIDENCE = 256 * 1024;
/** The code of an answer after which a connection is over: what it was verified for has changed. */
const STALE = "attestation-stale";

/** An answer that a client waits for. */
interface Waiting {
  /** How many bytes it may have. */
  readonly most: number;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A connection that speaks frames. Requests may be made while others wait for their answers. */
export class FramedConnection {
  readonly #socket: TLSSocket;
  readonly #waiting: Waiting[] = [];
  #chunks: Buffer[] = [];
  #size = 0;
  #ended: ConnectionError | undefined;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (cause) => this.#end(new ConnectionError(`the connection failed: ${cause.message}`, { cause })));
    socket.on("close", () => this.#end(new ConnectionError("the server closed the connection")));
  }

  /** Whether requests can still be made. */
  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** Sends any frame and gives its answer, of at most so many bytes. */
  send(frame: unknown, most = MAX_FRAME): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const json = Buffer.from(JSON.stringify(frame));
    if (json.length > MAX_FRAME) {
      return Promise.reject(new RangeError(`a frame holds at most ${MAX_FRAME} bytes; load larger components by HTTP PUT`));
    }
    const length = Buffer.alloc(4);
    length.writeUInt32BE(json.length);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ most, resolve, reject });
      this.#socket.write(Buffer.concat([length, json]));
    });
  }

  /** Sends an envelope, such as `{ wasm_list: {} }`; throws {@link RefusedError} if the answer is an error. */
  async request(envelope: object, most = MAX_FRAME): Promise<Record<string, unknown>> {
    const answer = await this.send(envelope, most);
    if (typeof answer !== "object" || answer === null || Array.isArray(answer)) {
      throw new ConnectionError("the server's answer is not an object");
    }
    const reply = answer as Record<string, unknown>;
    if (reply["status"] !== "error") return reply;
    const refusal = new RefusedError(String(reply["code"]), String(reply["message"]));
    // The server is about to close; nothing more is to be sent to a configuration that was never verified.
    if (refusal.code === STALE) this.#end(new ConnectionError(refusal.message, { cause: refusal }));
    throw refusal;
  }

  /** Ends the connection. Requests that wait for their answers fail. */
  close(): void {
    this.#end(new ConnectionError("the connection was closed"));
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#size >= 4 && this.#ended === undefined) {
      const length = this.#peekLength();
      const [next] = this.#waiting;
      if (next === undefined) {
        this.#end(new ConnectionError("the server sent an answer that nobody asked for"));
        return;
      }
      if (length === 0 || length > next.most) {
        this.#end(new ConnectionError(`the server sent a frame of ${length} bytes`));
        return;
      }
      if (this.#size < 4 + length) return;
      this.#deliver(this.#take(4 + length).subarray(4));
    }
  }

  #peekLength(): number {
    if ((this.#chunks[0]?.length ?? 0) < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]?.readUInt32BE() ?? 0;
  }

  #take(length: number): Buffer {
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    const rest = all.subarray(length);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#size = rest.length;
    return all.subarray(0, length);
  }

  #deliver(json: Buffer): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    try {
      waiting.resolve(JSON.parse(json.toString("utf8")));
    } catch (cause) {
      const error = new ConnectionError("the server's answer is not JSON", { cause });
      waiting.reject(error);
      this.#end(error);
    }
  }

  #end(error: ConnectionError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#socket.destroy();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
