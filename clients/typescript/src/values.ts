/** Values of the component model as native ones (`docs/formats/values.md`). */

/** What a function of an app takes and gives. */
export type Value =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Typed
  | readonly Value[]
  | ReadonlySet<string>
  | { readonly [field: string]: Value };

/** A value with its type said beside it, where the signature alone is not enough for a reader. */
export class Typed {
  constructor(
    /** A word such as `u32`, or a type as WIT writes it, such as `list<u8>`. */
    readonly type: string,
    readonly value: Value,
  ) {}
}

/** A type as a schema writes it. */
export type Type =
  | string
  | { readonly list: Type }
  | { readonly option: Type }
  | { readonly tuple: readonly Type[] }
  | { readonly record: readonly { readonly name: string; readonly type: Type }[] }
  | { readonly variant: readonly { readonly name: string; readonly type?: Type }[] }
  | { readonly enum: readonly string[] }
  | { readonly flags: readonly string[] }
  | { readonly result: { readonly ok?: Type; readonly err?: Type } };

/** A function that an app exports. */
export interface ExportSchema {
  /** `name`, or `pkg:name/interface@1.0.0#name`. */
  readonly name: string;
  readonly params: readonly { readonly name: string; readonly type: Type }[];
  readonly results: readonly Type[];
}

/** Everything an app exports. */
export interface Schema {
  readonly exports: readonly ExportSchema[];
}

/** A result type as {@link decode} gives it. */
export type Result<T, E> = { readonly ok: T } | { readonly err: E };

/** An `err` of a function, where it was to be thrown. */
export class ResultError extends Error {
  override readonly name = "ResultError";

  constructor(readonly err: unknown) {
    super(typeof err === "string" ? err : JSON.stringify(err, (_, item) => (typeof item === "bigint" ? String(item) : item)));
  }
}

/** The `ok` of a result; throws {@link ResultError} with its `err`. */
export function unwrap<T>(result: Result<T, unknown>): T {
  if ("ok" in result) return result.ok;
  throw new ResultError(result.err);
}

/** Writes a native value as JSON that a signature types. */
export function encode(value: Value): unknown {
  switch (typeof value) {
    case "undefined":
      return null;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
    case "boolean":
    case "string":
      return value;
    case "object":
      return value === null ? null : encodeObject(value);
    default:
      throw new TypeError(`a ${typeof value} is not a value of the component model`);
  }
}

function encodeObject(value: Exclude<Value, undefined | null | boolean | number | bigint | string>): unknown {
  if (value instanceof Typed) return { type: value.type, value: encode(value.value) };
  if (value instanceof Uint8Array) {
    // Named, so that bytes are refused where a string was meant.
    return { type: "bytes", value: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (value instanceof Set) return [...value];
  if (Array.isArray(value)) return value.map(encode);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError("a class instance is not a value of the component model; give its fields as a plain object");
  }
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  const record = Object.fromEntries(fields.map(([name, field]) => [name, encode(field as Value)]));
  const looksTyped = fields.length === 2 && "type" in record && "value" in record;
  return looksTyped ? { type: "record", value: record } : record;
}

/** Reads a value of a type: 64-bit integers become `bigint`, `list<u8>` bytes; all others what JSON has. */
export function decode(type: Type, json: unknown): unknown {
  if (typeof type === "string") return decodeWord(type, json);
  if ("list" in type) return type.list === "u8" ? bytes(json) : list(json).map((item) => decode(type.list, item));
  if ("option" in type) return decodeOption(type.option, json);
  if ("tuple" in type) return list(json).map((item, at) => decode(element(type.tuple, at), item));
  if ("record" in type) {
    const fields = object(json);
    return Object.fromEntries(type.record.map((field) => [field.name, decode(field.type, fields[field.name])]));
  }
  if ("variant" in type) {
    return cases(json, (name) => element(type.variant, type.variant.findIndex((known) => known.name === name)).type);
  }
  if ("result" in type) return cases(json, (name) => (name === "ok" ? type.result.ok : type.result.err));
  return json; // enum and flags: names
}

/** As {@link decode}, where only the word beside the value is known. */
export function decodeWord(word: string, json: unknown): unknown {
  switch (word) {
    case "s64":
    case "u64":
      if (typeof json !== "number" && typeof json !== "string") throw wrong(word, json);
      return BigInt(json);
    case "f32":
    case "f64":
      return Number(json);
    case "bytes":
      return bytes(json);
    default:
      return json;
  }
}

function decodeOption(type: Type, json: unknown): unknown {
  if (json === null) return null;
  const nested = typeof type === "object" && "option" in type;
  return nested ? { some: decode(type, object(json)["some"]) } : decode(type, json);
}

/** An object whose only field is the case. */
function cases(json: unknown, typeOf: (name: string) => Type | undefined): Record<string, unknown> {
  const [entry] = Object.entries(object(json));
  if (entry === undefined) throw wrong("variant", json);
  const [name, payload] = entry;
  const type = typeOf(name);
  return { [name]: type === undefined ? null : decode(type, payload) };
}

/** The export that a name means: the whole name, or a shorter form that fits one export only. */
export function resolve(schema: Schema, name: string): ExportSchema | undefined {
  const exact = schema.exports.find((known) => known.name === name);
  if (exact !== undefined) return exact;
  const fitting = schema.exports.filter((known) => shortForms(known.name).includes(name));
  return fitting.length === 1 ? fitting[0] : undefined;
}

/** `pkg:name/interface#function`, `interface#function`, `function`. */
function shortForms(name: string): string[] {
  const [path, exported] = name.split("#");
  if (path === undefined || exported === undefined) return [];
  const unversioned = path.replace(/@[^@/]*$/, "");
  return [`${unversioned}#${exported}`, `${unversioned.split("/").at(-1) ?? ""}#${exported}`, exported];
}

function bytes(json: unknown): Uint8Array {
  if (typeof json === "string") return new Uint8Array(Buffer.from(json, "base64"));
  return Uint8Array.from(list(json) as number[]);
}

function list(json: unknown): unknown[] {
  if (!Array.isArray(json)) throw wrong("list", json);
  return json;
}

function object(json: unknown): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw wrong("object", json);
  return json as Record<string, unknown>;
}

function element<T>(items: readonly T[], at: number): T {
  const item = items[at];
  if (item === undefined) throw new TypeError("the result does not fit the function's type");
  return item;
}

function wrong(wanted: string, json: unknown): TypeError {
  return new TypeError(`the result is ${JSON.stringify(json)} where a ${wanted} should be`);
}
