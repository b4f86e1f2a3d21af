/**
 * One HTTP/1.1 exchange on an open connection, before the connection is handed to anybody else.
 *
 * node:http takes a connection for itself and does not give it back; evidence has to be asked for on the very
 * connection that requests will use.
 */

import type { TLSSocket } from "node:tls";

import { ConnectionError, RefusedError } from "./errors.js";

const MAX_HEAD = 16 * 1024;
const MAX_BODY = 8 * 1024 * 1024;

/** Sends a request with a JSON body, or without one, and gives the body of its answer; refusals throw. */
export async function exchange(socket: TLSSocket, host: string, method: string, path: string, body?: object): Promise<string> {
  const json = body === undefined ? "" : JSON.stringify(body);
  const head = [`${method} ${path} HTTP/1.1`, `host: ${host}`, "accept: application/json"];
  if (body !== undefined) head.push("content-type: application/json", `content-length: ${Buffer.byteLength(json)}`);
  socket.write(`${head.join("\r\n")}\r\n\r\n${json}`);
  const { status, text } = await answer(socket);
  if (status === 200) return text;
  const problem = problemOf(text);
  throw new RefusedError(problem.code ?? `http-${status}`, problem.detail ?? `the server answered ${method} ${path} with ${status}`);
}

/** The answer, once all of it has arrived and nothing else has. */
function answer(socket: TLSSocket): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const finish = (act: () => void): void => {
      socket.off("data", onData).off("error", onError).off("close", onClose);
      act();
    };
    const onError = (cause: Error): void =>
      finish(() => reject(new ConnectionError(`the connection failed: ${cause.message}`, { cause })));
    const onClose = (): void => finish(() => reject(new ConnectionError("the server closed the connection")));
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      try {
        const whole = parse(received);
        if (whole !== undefined) finish(() => resolve(whole));
      } catch (error) {
        finish(() => reject(error as Error));
      }
    };
    socket.on("data", onData).on("error", onError).on("close", onClose);
  });
}

/** The answer if it is complete (RFC 9112 §6.3: a length, or chunks). */
function parse(received: Buffer): { status: number; text: string } | undefined {
  const end = received.indexOf("\r\n\r\n");
  if (end === -1) {
    if (received.length > MAX_HEAD) throw new ConnectionError("the head of the answer is too long");
    return undefined;
  }
  const [first = "", ...lines] = received.toString("latin1", 0, end).split("\r\n");
  const status = /^HTTP\/1\.1 (\d{3})(?: |$)/.exec(first)?.[1];
  if (status === undefined) throw new ConnectionError("the server does not answer in HTTP/1.1");
  const header = (name: string): string | undefined =>
    lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();
  const rest = received.subarray(end + 4);
  if (rest.length > MAX_BODY) throw new ConnectionError("the answer is too long");
  const chunked = header("transfer-encoding")?.toLowerCase() === "chunked";
  const body = chunked ? dechunk(rest) : byLength(rest, header("content-length"));
  return body === undefined ? undefined : { status: Number(status), text: body.toString("utf8") };
}

function byLength(rest: Buffer, header: string | undefined): Buffer | undefined {
  if (header === undefined || !/^\d{1,9}$/.test(header)) throw new ConnectionError("the answer does not say its length");
  const length = Number(header);
  if (rest.length > length) throw new ConnectionError("bytes after the end of the answer");
  return rest.length === length ? rest : undefined;
}

/** The content of chunks (RFC 9112 §7.1) without trailers; `undefined` if the last is not there yet. */
function dechunk(rest: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = rest.indexOf("\r\n", at);
    if (end === -1) return undefined;
    const size = /^[0-9a-fA-F]{1,8}$/.exec(rest.toString("latin1", at, end))?.[0];
    if (size === undefined) throw new ConnectionError("a chunk of the answer does not say its length");
    const length = parseInt(size, 16);
    const start = end + 2;
    if (rest.length < start + length + 2) return undefined;
    if (rest.toString("latin1", start + length, start + length + 2) !== "\r\n") {
      throw new ConnectionError("a chunk of the answer does not end where it should");
    }
    at = start + length + 2;
    if (length === 0) {
      if (rest.length > at) throw new ConnectionError("bytes after the end of the answer");
      return Buffer.concat(parts);
    }
    parts.push(rest.subarray(start, start + length));
  }
}

/** What `application/problem+json` says (RFC 9457). */
function problemOf(text: string): { code?: string; detail?: string } {
  try {
    const problem = JSON.parse(text) as { code?: unknown; detail?: unknown } | null;
    return {
      ...(typeof problem?.code === "string" && { code: problem.code }),
      ...(typeof problem?.detail === "string" && { detail: problem.detail }),
    };
  } catch {
    return {};
  }
}
