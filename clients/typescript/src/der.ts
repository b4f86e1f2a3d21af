/**
 * DER (X.690 §10), as far as certificates and revocation lists need it: definite lengths in their shortest form,
 * one-byte tags, nothing after the end.
 */

import { calendar } from "./time.js";

/** Bytes that are not the DER they should be. */
export class DerError extends Error {
  override readonly name = "DerError";
}

/** The tags that are read here. */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One value: its tag, its content, and all of its bytes. */
export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly raw: Buffer;
}

/** Reads values one after the other. */
export class DerReader {
  #at = 0;

  constructor(
    readonly bytes: Buffer,
    readonly what: string,
  ) {}

  /** Reads the one value that `bytes` consists of. */
  static single(bytes: Buffer, tag: number, what: string): Element {
    const reader = new DerReader(bytes, what);
    const element = reader.expect(tag);
    reader.end();
    return element;
  }

  /** Reads the sequence that `bytes` consists of and gives a reader of what is in it. */
  static sequence(bytes: Buffer, what: string): DerReader {
    return new DerReader(DerReader.single(bytes, Tag.sequence, what).content, what);
  }

  /** Whether everything has been read. */
  get done(): boolean {
    return this.#at === this.bytes.length;
  }

  /** Refuses what is left over. */
  end(): void {
    if (!this.done) throw new DerError(`${this.what}: bytes after its end`);
  }

  /** The tag that comes next; `undefined` at the end. */
  peek(): number | undefined {
    return this.bytes[this.#at];
  }

  /** The next value, whatever it is. */
  next(): Element {
    const start = this.#at;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw new DerError(`${this.what}: a tag of several bytes`);
    const length = this.#length();
    if (length > this.bytes.length - this.#at) throw new DerError(`${this.what}: ends too early`);
    const content = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return { tag, content, raw: this.bytes.subarray(start, this.#at) };
  }

  /** The next value, which must have this tag. */
  expect(tag: number): Element {
    const element = this.next();
    if (element.tag !== tag) {
      throw new DerError(`${this.what}: tag ${element.tag} where ${tag} should be`);
    }
    return element;
  }

  /** The next value if it has this tag. */
  optional(tag: number): Element | undefined {
    return this.peek() === tag ? this.next() : undefined;
  }

  /** The next value, a sequence, as a reader of what is in it. */
  sequence(): DerReader {
    return new DerReader(this.expect(Tag.sequence).content, this.what);
  }

  #byte(): number {
    const byte = this.bytes[this.#at];
    if (byte === undefined) throw new DerError(`${this.what}: ends too early`);
    this.#at += 1;
    return byte;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new DerError(`${this.what}: a length that is not DER`);
    let length = 0;
    for (let i = 0; i < count; i += 1) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1)) {
      throw new DerError(`${this.what}: a length that is not in its shortest form`);
    }
    return length;
  }
}

/** An object identifier with dots (X.690 §8.19). */
export function oid(content: Buffer): string {
  const arcs: bigint[] = [];
  let arc = 0n;
  let open = false;
  for (const byte of content) {
    if (!open && byte === 0x80) throw new DerError("object identifier: an arc that is not in its shortest form");
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    open = (byte & 0x80) !== 0;
    if (!open) {
      arcs.push(arc);
      arc = 0n;
    }
  }
  const [first, ...rest] = arcs;
  if (open || first === undefined) throw new DerError("object identifier: ends too early");
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - root * 40n, ...rest].join(".");
}

/** A truth value (X.690 §11.1). */
export function boolean(content: Buffer): boolean {
  if (content.length === 1 && content[0] === 0xff) return true;
  if (content.length === 1 && content[0] === 0x00) return false;
  throw new DerError("boolean: neither 00 nor ff");
}

/** A whole number (X.690 §8.3) that is not negative. */
export function unsigned(content: Buffer): bigint {
  const [first, second] = content;
  if (first === undefined) throw new DerError("integer: empty");
  if (first >= 0x80) throw new DerError("integer: negative");
  if (first === 0 && second !== undefined && second < 0x80) {
    throw new DerError("integer: not in its shortest form");
  }
  return BigInt(`0x${content.toString("hex")}`);
}

/** The bits of a string of whole bytes. */
export function wholeBits(content: Buffer): Buffer {
  if (content[0] !== 0) throw new DerError("bit string: not a whole number of bytes");
  return content.subarray(1);
}

/** A moment (RFC 5280 §4.1.2.5) as milliseconds since 1970. */
export function time(element: Element): number {
  const text = element.content.toString("latin1");
  const match = /^(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  const years = match?.[1]?.length;
  const form = element.tag === Tag.utcTime ? 2 : element.tag === Tag.generalizedTime ? 4 : undefined;
  if (match === null || form === undefined || years !== form) throw new DerError("time: malformed");
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number, number, number, number, number, number,
  ];
  const full = form === 4 ? year : year < 50 ? 2000 + year : 1900 + year;
  const moment = calendar(full, month, day, hour, minute, second);
  if (moment === undefined) throw new DerError("time: no such moment");
  return moment;
}
