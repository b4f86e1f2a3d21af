/** Bytes and their strict spellings: one value has one spelling. */

import { createHash } from "node:crypto";

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return view(bytes).toString("hex");
}

/** Reads lower-case hexadecimal, of exactly `length` bytes if given; `undefined` for anything else. */
export function fromHex(text: string, length?: number): Buffer | undefined {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "hex");
  return length === undefined || bytes.length === length ? bytes : undefined;
}

/** Reads standard base64 with padding (RFC 4648 §4); `undefined` for anything else. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

/** Standard base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  return view(bytes).toString("base64");
}

/** Reads base64url without padding (RFC 4648 §5); `undefined` for anything else. */
export function fromBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

/** Base64url without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return view(bytes).toString("base64url");
}

/** Whether two byte strings are the same. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return view(a).equals(b);
}

/** SHA-256 over the parts, one after the other. */
export function sha256(...parts: (Uint8Array | string)[]): Buffer {
  return digest("sha256", parts);
}

/** SHA-512 over the parts, one after the other. */
export function sha512(...parts: (Uint8Array | string)[]): Buffer {
  return digest("sha512", parts);
}

/** The same memory as a `Buffer`. */
export function view(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function digest(algorithm: string, parts: (Uint8Array | string)[]): Buffer {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}
