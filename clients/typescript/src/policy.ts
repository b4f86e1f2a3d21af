/** The verification policy: one TOML file, the same for every client. */

import { type TomlTable, type TomlValue, parse } from "smol-toml";

import { fromHex, toHex } from "./bytes.js";
import { TCB_STATUSES, type TcbStatus } from "./tcb.js";
import { fromInstant } from "./time.js";

/** How evidence can be fresh, weakest first. */
export const TIERS = ["certificate", "challenge", "channel"] as const;
/** One of {@link TIERS}. */
export type Tier = (typeof TIERS)[number];

/** A policy file that cannot be read, with the rule it breaks. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** Something that is accepted, for good or until a moment in milliseconds since 1970. */
export interface Accepted<T> {
  readonly value: T;
  readonly until: number | undefined;
}

/** A policy that was read. Hashes are lower-case hexadecimal. */
export interface Policy {
  /** Intel's root, or these development roots. */
  readonly roots: "intel" | readonly string[];
  readonly enclave: {
    readonly mrEnclave: readonly string[] | undefined;
    readonly signer:
      | { readonly mrSigner: readonly string[]; readonly isvProdId: number; readonly minIsvSvn: number }
      | undefined;
    readonly allowDebug: boolean;
  };
  readonly tcb: {
    readonly statuses: readonly Accepted<TcbStatus>[];
    readonly advisories: readonly Accepted<string>[];
  };
  readonly freshness: { readonly minTier: Tier; readonly maxAgeSeconds: number };
  readonly app:
    | {
        readonly name: string;
        readonly codeHashes: readonly string[] | undefined;
        /** `generated`, `byok` for any key that was given, or the whole text. */
        readonly keySource: string | undefined;
      }
    | undefined;
  readonly configuration:
    | {
        readonly root: readonly string[] | undefined;
        readonly appRoot: readonly string[] | undefined;
        readonly leaves: ReadonlyMap<string, readonly string[]>;
      }
    | undefined;
  readonly ppids: readonly string[] | undefined;
  readonly operatorCa: readonly string[] | undefined;
}

/** Reads a policy; throws {@link PolicyError}. Unknown keys are errors, and so is a policy that accepts nothing. */
export function parsePolicy(text: string): Policy {
  let document: TomlTable;
  try {
    document = parse(text, { integersAsBigInt: true });
  } catch (error) {
    throw new PolicyError(`not TOML: ${(error as Error).message}`);
  }
  const top = new Table(document, "");
  if (top.integer("format") !== 1) throw new PolicyError("format: this reader knows format 1 only");
  const policy: Policy = {
    roots: roots(top.table("roots")),
    enclave: enclave(top.table("enclave")),
    tcb: tcb(top.optionalTable("tcb")),
    freshness: freshness(top.optionalTable("freshness")),
    app: app(top.optionalTable("app")),
    configuration: configuration(top.optionalTable("configuration")),
    ppids: whole(top.optionalTable("platform"), (table) => table.required("ppids", table.hexes("ppids", 16))),
    operatorCa: whole(top.optionalTable("authority"), (table) => table.required("operator_ca", table.hexes("operator_ca", 32))),
  };
  top.end();
  return policy;
}

function roots(table: Table): Policy["roots"] {
  const intel = table.optionalBoolean("intel");
  const development = table.hexes("development", 32);
  table.end();
  if (intel === true && development === undefined) return "intel";
  if (intel !== true && development !== undefined) return development;
  throw new PolicyError("roots: either `intel = true` or `development = [fingerprints]`, and never both");
}

function enclave(table: Table): Policy["enclave"] {
  const mrEnclave = table.hexes("mrenclave", 32);
  const mrSigner = table.hexes("mrsigner", 32);
  const isvProdId = table.optionalInteger("isv_prod_id", 0xffff);
  const minIsvSvn = table.optionalInteger("min_isv_svn", 0xffff);
  const allowDebug = table.optionalBoolean("allow_debug") ?? false;
  table.end();
  if (mrSigner === undefined) {
    if (isvProdId !== undefined || minIsvSvn !== undefined) {
      throw new PolicyError("enclave: `isv_prod_id` and `min_isv_svn` say something only beside `mrsigner`");
    }
    if (mrEnclave === undefined) {
      throw new PolicyError("enclave: say which enclaves are accepted, by `mrenclave` or by `mrsigner`");
    }
    return { mrEnclave, signer: undefined, allowDebug };
  }
  if (isvProdId === undefined || minIsvSvn === undefined) {
    throw new PolicyError("enclave: `mrsigner` needs `isv_prod_id` and `min_isv_svn` beside it");
  }
  return { mrEnclave, signer: { mrSigner, isvProdId, minIsvSvn }, allowDebug };
}

function tcb(table: Table | undefined): Policy["tcb"] {
  const statuses = table?.accepted("statuses", "status")?.map(({ value, until }) => {
    const status = TCB_STATUSES.find((known) => known === value);
    if (status === undefined) throw new PolicyError(`tcb.statuses: ${JSON.stringify(value)} is no TCB status`);
    if (status === "Revoked") throw new PolicyError("tcb.statuses: Revoked can never be accepted");
    return { value: status, until };
  });
  const advisories = table?.accepted("advisories", "advisory", true);
  table?.end();
  return { statuses: statuses ?? [{ value: "UpToDate", until: undefined }], advisories: advisories ?? [] };
}

function freshness(table: Table | undefined): Policy["freshness"] {
  const name = table?.optionalString("min_tier") ?? "challenge";
  const minTier = TIERS.find((tier) => tier === name);
  if (minTier === undefined) throw new PolicyError(`freshness.min_tier: one of ${TIERS.join(", ")}`);
  const maxAgeSeconds = table?.optionalInteger("max_age_seconds", 2 ** 63) ?? 86_400;
  table?.end();
  return { minTier, maxAgeSeconds };
}

function app(table: Table | undefined): Policy["app"] {
  return whole(table, (own) => {
    const keySource = own.optionalString("key_source");
    if (keySource !== undefined && !/^(?:generated|byok|byok:[0-9a-f]{16})$/.test(keySource)) {
      throw new PolicyError('app.key_source: "generated", "byok", or "byok:" and 16 hexadecimal digits');
    }
    return { name: own.string("name"), codeHashes: own.hexes("code_hashes", 32), keySource };
  });
}

function configuration(table: Table | undefined): Policy["configuration"] {
  return whole(table, (own) => {
    const leaves = own.optionalTable("leaves");
    const names = leaves?.names() ?? [];
    const wanted = new Map(names.map((name) => [name, leaves?.hexes(name, 32) ?? []]));
    const root = own.hexes("root", 32);
    const appRoot = own.hexes("app_root", 32);
    if (root === undefined && appRoot === undefined && wanted.size === 0) {
      throw new PolicyError("configuration: says nothing; leave the table out or name what is accepted");
    }
    return { root, appRoot, leaves: wanted };
  });
}

/** Reads a table to its end. */
function whole<T>(table: Table | undefined, read: (table: Table) => T): T | undefined {
  if (table === undefined) return undefined;
  const value = read(table);
  table.end();
  return value;
}

/** A table that knows which of its keys have been read. */
class Table {
  readonly #unread: Set<string>;

  constructor(
    readonly values: TomlTable,
    readonly path: string,
  ) {
    this.#unread = new Set(Object.keys(values));
  }

  /** The value of a key that has to be there. */
  required<T>(key: string, value: T | undefined): T {
    if (value === undefined) throw new PolicyError(`${this.#name(key)}: missing`);
    return value;
  }

  names(): string[] {
    return Object.keys(this.values);
  }

  /** Refuses keys that nobody asked for. */
  end(): void {
    const [key] = this.#unread;
    if (key !== undefined) throw new PolicyError(`${this.#name(key)}: unknown key`);
  }

  optionalTable(key: string): Table | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    if (!isTable(value)) throw this.#wrong(key, "a table");
    return new Table(value, this.#name(key));
  }

  table(key: string): Table {
    return this.required(key, this.optionalTable(key));
  }

  optionalBoolean(key: string): boolean | undefined {
    const value = this.#take(key);
    if (value !== undefined && typeof value !== "boolean") throw this.#wrong(key, "true or false");
    return value;
  }

  optionalString(key: string): string | undefined {
    const value = this.#take(key);
    if (value !== undefined && typeof value !== "string") throw this.#wrong(key, "a string");
    return value;
  }

  string(key: string): string {
    return this.required(key, this.optionalString(key));
  }

  optionalInteger(key: string, most: number): number | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    if (typeof value !== "bigint" || value < 0n || value > BigInt(most)) {
      throw this.#wrong(key, `a whole number from 0 to ${most}`);
    }
    return Number(value);
  }

  integer(key: string): number {
    return this.required(key, this.optionalInteger(key, 0xffff));
  }

  /** A list of byte strings of that length. */
  hexes(key: string, length: number): string[] | undefined {
    return this.#list(key, false)?.map((item) => {
      const bytes = typeof item === "string" ? fromHex(item, length) : undefined;
      if (bytes === undefined) throw this.#wrong(key, `a list of ${length} bytes each in lower-case hexadecimal`);
      return toHex(bytes);
    });
  }

  /** A list of names, each alone or in a table with the moment until which it is accepted. */
  accepted(key: string, field: string, mayBeEmpty = false): Accepted<string>[] | undefined {
    return this.#list(key, mayBeEmpty)?.map((item) => {
      if (typeof item === "string") return { value: item, until: undefined };
      if (!isTable(item)) throw this.#wrong(key, `a list of names or of { ${field}, until }`);
      const table = new Table(item, this.#name(key));
      const value = table.optionalString(field);
      const until = fromInstant(table.optionalString("until") ?? "");
      table.end();
      if (value === undefined || until === undefined) {
        throw this.#wrong(key, `a list of names or of { ${field}, until }, where \`until\` is a moment like 2027-01-01T00:00:00Z`);
      }
      return { value, until };
    });
  }

  #list(key: string, mayBeEmpty: boolean): TomlValue[] | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw this.#wrong(key, "a list");
    if (value.length === 0 && !mayBeEmpty) throw this.#wrong(key, "a list with something in it, or left out");
    return value;
  }

  #take(key: string): TomlValue | undefined {
    this.#unread.delete(key);
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined;
  }

  #name(key: string): string {
    return this.path === "" ? key : `${this.path}.${key}`;
  }

  #wrong(key: string, rule: string): PolicyError {
    return new PolicyError(`${this.#name(key)}: has to be ${rule}`);
  }
}

function isTable(value: TomlValue): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
