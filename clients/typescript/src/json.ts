/**
 * JSON (RFC 8259) read strictly, and canonical JSON (RFC 8785).
 *
 * The built-in parser keeps the last of two equal keys and rounds large whole numbers, so that two readers of one
 * signed document could see different things. This one refuses the first and keeps the second as `bigint`.
 */

/** A JSON value; a whole number beyond 2^53 - 1 is a `bigint`. */
export type Json = null | boolean | number | bigint | string | Json[] | JsonObject;
/** A JSON object, without a prototype. */
export interface JsonObject {
  [key: string]: Json;
}

/** A text that is not JSON, or a document that is not of its format. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

const MAX_DEPTH = 128;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\r\n]*/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t",
};

/** Reads one JSON text. */
export function parseJson(text: string): Json {
  return new Parser(text).document();
}

/** Canonical JSON (RFC 8785). Refuses whole numbers that it would round. */
export function canonical(value: Json): string {
  if (typeof value === "bigint") {
    throw new JsonError(`the number ${value} is beyond 2^53 and not exact in canonical JSON`);
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`).join(",")}}`;
}

/** Whether this is an object. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value as an object with no other members than these, of which those without `?` must be there. */
export function members(value: Json | undefined, what: string, names: readonly string[]): JsonObject {
  if (!isObject(value)) throw new JsonError(`${what} is not an object`);
  const known = new Set(names.map((name) => name.replace("?", "")));
  for (const key of Object.keys(value)) {
    if (!known.has(key)) throw new JsonError(`${what} has an unknown member ${JSON.stringify(key)}`);
  }
  for (const name of names) {
    if (!name.endsWith("?") && !Object.hasOwn(value, name)) throw new JsonError(`${what} has no ${name}`);
  }
  return value;
}

/** The value as a string. */
export function string(value: Json | undefined, what: string): string {
  if (typeof value !== "string") throw new JsonError(`${what} is not a string`);
  return value;
}

/** The value as an array. */
export function array(value: Json | undefined, what: string): Json[] {
  if (!Array.isArray(value)) throw new JsonError(`${what} is not an array`);
  return value;
}

/** The value as a whole number from 0 to 2^53 - 1. */
export function count(value: Json | undefined, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new JsonError(`${what} is not a whole number`);
  }
  return value;
}

class Parser {
  #at = 0;

  constructor(readonly text: string) {}

  document(): Json {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.text.length) throw this.#error("text after its end");
    return value;
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) throw this.#error("nested too deeply");
    this.#space();
    switch (this.text[this.#at]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
        return this.#word("true", true);
      case "f":
        return this.#word("false", false);
      case "n":
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #object(depth: number): JsonObject {
    const object = Object.create(null) as JsonObject;
    this.#at += 1;
    if (this.#take("}")) return object;
    do {
      this.#space();
      if (this.text[this.#at] !== '"') throw this.#error("a key is missing");
      const key = this.#string();
      if (Object.hasOwn(object, key)) throw this.#error(`the key ${JSON.stringify(key)} occurs twice`);
      if (!this.#take(":")) throw this.#error("`:` is missing");
      object[key] = this.#value(depth + 1);
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#error("`}` is missing");
    return object;
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#at += 1;
    if (this.#take("]")) return items;
    do items.push(this.#value(depth + 1));
    while (this.#take(","));
    if (!this.#take("]")) throw this.#error("`]` is missing");
    return items;
  }

  #string(): string {
    this.#at += 1;
    let out = "";
    for (;;) {
      out += this.#match(PLAIN)?.[0] ?? "";
      const stop = this.text[this.#at];
      this.#at += 1;
      if (stop === '"') break;
      if (stop !== "\\") throw this.#error("a string does not end");
      out += this.#escape();
    }
    if (/[\ud800-\udfff]/u.test(out)) throw this.#error("half of a surrogate pair");
    return out;
  }

  #escape(): string {
    const letter = this.text[this.#at] ?? "";
    this.#at += 1;
    if (letter !== "u") {
      const character = ESCAPES[letter];
      if (character === undefined) throw this.#error("an unknown escape");
      return character;
    }
    const digits = this.text.slice(this.#at, this.#at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#error("an escape that is not four digits");
    this.#at += 4;
    return String.fromCharCode(parseInt(digits, 16));
  }

  #number(): number | bigint {
    const match = this.#match(NUMBER);
    if (match === null) throw this.#error("a value is missing");
    const [literal, fraction, exponent] = match;
    const value = Number(literal);
    if (!Number.isFinite(value)) throw this.#error("a number out of range");
    const whole = fraction === undefined && exponent === undefined;
    if (!whole || Number.isSafeInteger(value)) return value;
    const exact = BigInt(literal);
    return exact >= -(2n ** 63n) && exact < 2n ** 64n ? exact : value;
  }

  #word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.#at)) throw this.#error("an unknown word");
    this.#at += word.length;
    return value;
  }

  #take(character: string): boolean {
    this.#space();
    if (this.text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #space(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match !== null) this.#at = pattern.lastIndex;
    return match;
  }

  #error(message: string): JsonError {
    return new JsonError(`not JSON at offset ${this.#at}: ${message}`);
  }
}
