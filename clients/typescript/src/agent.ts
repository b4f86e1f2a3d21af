/** HTTP over verified connections: an agent for node:https, and a `fetch`. */

import { Agent, type RequestOptions, request } from "node:https";
import { type Duplex, Readable } from "node:stream";

import { CollateralCache } from "./collateral-cache.js";
import { type Address, type ConnectOptions, authority, openVerified } from "./connection.js";
import { ConnectionError } from "./errors.js";
import type { Verdict } from "./verdict.js";

/**
 * An agent whose sockets have all satisfied the policy. Give it to `https.request`, or to any library that takes an
 * agent; a request through it fails with `VerificationError` before a byte of it is sent.
 */
export class VerifiedAgent extends Agent {
  readonly #options: ConnectOptions;
  #verdict: Verdict | undefined;

  constructor(options: ConnectOptions) {
    // No sessions are kept: a resumed one would skip the certificate.
    super({ keepAlive: true, maxCachedSessions: 0 });
    this.#options = { cache: new CollateralCache(), ...options };
  }

  /** The verdict on the newest connection. */
  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /** The name that connections are made for, where it is not the host of the request. */
  get serverName(): string | undefined {
    return this.#options.serverName;
  }

  /** Called by node:http when a request needs a connection. */
  override createConnection(options: RequestOptions, callback?: (error: Error | null, socket: Duplex) => void): undefined {
    const address = { host: options.host ?? "localhost", port: Number(options.port ?? 443) };
    openVerified(address, this.#options).then(
      ({ socket, verdict }) => {
        this.#verdict = verdict;
        callback?.(null, socket);
      },
      // The socket is not looked at beside an error.
      (error: Error) => callback?.(error, undefined as unknown as Duplex),
    );
  }
}

/** Makes one request as `fetch` does, without redirects. `path` begins with `/`. */
export function verifiedFetch(agent: VerifiedAgent, address: Address, path: string, init: RequestInit = {}): Promise<Response> {
  const wanted = new Request(`https://host.invalid${path}`, { ...init, ...(init.body != null && { duplex: "half" }) } as RequestInit);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        agent,
        host: address.host,
        port: address.port,
        method: wanted.method,
        path,
        // An app's name in the handshake and another in the request would be misdirected (RFC 9110 §15.5.20).
        headers: {
          ...(agent.serverName !== undefined && { host: authority({ ...address, host: agent.serverName }) }),
          ...Object.fromEntries(wanted.headers),
        },
        ...(init.signal != null && { signal: init.signal }),
      },
      (incoming) => {
        const status = incoming.statusCode ?? 0;
        const headers = new Headers();
        for (const [name, value] of Object.entries(incoming.headers)) {
          for (const item of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, item);
        }
        const empty = status === 204 || status === 304 || wanted.method === "HEAD";
        if (empty) incoming.resume();
        const body = empty ? null : (Readable.toWeb(incoming) as ReadableStream);
        resolve(new Response(body, { status, statusText: incoming.statusMessage ?? "", headers }));
      },
    );
    outgoing.on("error", (cause) => {
      const own = cause.name === "VerificationError" || cause.name === "RefusedError" || cause instanceof ConnectionError;
      reject(own ? cause : new ConnectionError(cause.message, { cause }));
    });
    if (wanted.body === null) outgoing.end();
    else Readable.fromWeb(wanted.body as Parameters<typeof Readable.fromWeb>[0]).pipe(outgoing);
  });
}
