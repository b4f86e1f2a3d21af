/** An enclave as a program uses it: apps and their functions, HTTP, management. */

import { VerifiedAgent, verifiedFetch } from "./agent.js";
import { equal } from "./bytes.js";
import { CollateralCache } from "./collateral-cache.js";
import { type Address, type ConnectOptions, type VerifiedFramed, openFramed, parseAddress } from "./connection.js";
import { Unverified } from "./danger.js";
import { ConnectionError, RefusedError } from "./errors.js";
import { Manifest, Proof } from "./manifest.js";
import { parsePolicy } from "./policy.js";
import { type Schema, type Value, decode, decodeWord, encode, resolve } from "./values.js";
import type { Verdict } from "./verdict.js";

/** An app as the enclave lists it. */
export interface AppInfo {
  readonly name: string;
  readonly hostname: string;
  /** SHA-256 of the bytes that were loaded, in hexadecimal. */
  readonly codeHash: string;
  /** `generated`, or `byok:` and an id of the key. */
  readonly keySource: string;
  /** `locked` while the app waits for its own key after a restart. */
  readonly state: string | undefined;
  readonly exports: readonly { readonly name: string; readonly paramCount: number; readonly resultCount: number }[];
}

/** How an app is loaded; what is left out is the server's default. */
export interface LoadOptions {
  readonly hostname?: string;
  /** The key of the app's data, 32 bytes. Without it the enclave makes one. */
  readonly encryptionKey?: Uint8Array;
  readonly routePrefix?: string;
  readonly maxFuel?: number;
  readonly maxMemoryBytes?: number;
  /** Bytes that all its calls together may keep in the store. */
  readonly maxStoreBytes?: number;
  /** Keys that all its calls together may keep in buckets. */
  readonly maxStoreKeys?: number;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly secrets?: Readonly<Record<string, string>>;
  /** Hosts that the app may reach; an empty list: none; left out: any. */
  readonly egress?: readonly string[];
  readonly version?: string;
  readonly dataPolicy?: "code-hash" | "operator";
  readonly logPolicy?: "host" | "none";
  readonly access?: "open" | "token";
  readonly httpMaxFuel?: number;
  readonly httpIdleTimeoutMs?: number;
  readonly httpTimeoutMs?: number;
  readonly httpMaxRequestBytes?: number;
  readonly httpMaxResponseBytes?: number;
}

/**
 * A client of one enclave. Its connections are made when they are needed, and each of them is verified before anything
 * is sent on it. A call whose connection breaks fails and is not repeated; the next one connects anew.
 */
export class EnclaveClient {
  /** An agent for node:https whose connections are verified by the same policy. */
  readonly agent: VerifiedAgent;
  readonly #address: Address;
  readonly #options: ConnectOptions;
  readonly #schemas = new Map<string, Promise<Schema>>();
  #connecting: Promise<VerifiedFramed> | undefined;
  #current: VerifiedFramed | undefined;

  /** A client that has not connected yet. Throws `PolicyError` for a policy that cannot be read. */
  constructor(address: string, options: ConnectOptions) {
    this.#address = parseAddress(address);
    const policy = typeof options.policy === "string" ? parsePolicy(options.policy) : options.policy;
    this.#options = { cache: new CollateralCache(), ...options, policy };
    this.agent = new VerifiedAgent(this.#options);
  }

  /** Connects and verifies. */
  static async connect(address: string, options: ConnectOptions): Promise<EnclaveClient> {
    const client = new EnclaveClient(address, options);
    await client.verify();
    return client;
  }

  /** Makes sure of a verified connection and gives its verdict. */
  async verify(): Promise<Verdict | undefined> {
    return (await this.#connection()).verdict;
  }

  /** One app of the enclave. */
  app(name: string): App {
    return new App(this, name);
  }

  /** All apps. */
  async list(): Promise<AppInfo[]> {
    const reply = await this.request({ wasm_list: {} });
    return (reply["apps"] as RawApp[]).map(appInfo);
  }

  /** Loads a compiled component, or replaces the app of that name. */
  async load(name: string, component: Uint8Array, options: LoadOptions = {}): Promise<AppInfo> {
    const base64 = Buffer.from(component.buffer, component.byteOffset, component.byteLength).toString("base64");
    const reply = await this.request({ wasm_load: { name, bytes_base64: base64, ...loadFields(options) } });
    this.#schemas.delete(name);
    return appInfo(reply["app"] as RawApp);
  }

  /** Unloads an app and erases its data for good; `false` if there was none of that name. */
  async unload(name: string): Promise<boolean> {
    const reply = await this.request({ wasm_unload: { name } });
    this.#schemas.delete(name);
    return reply["status"] === "unloaded";
  }

  /** The functions of an app with their types. */
  schema(app: string): Promise<Schema> {
    let schema = this.#schemas.get(app);
    if (schema === undefined) {
      schema = this.request({ wasm_schema: { app } }).then((reply) => reply["schema"] as Schema);
      this.#schemas.set(app, schema);
      schema.catch(() => this.#schemas.delete(app));
    }
    return schema;
  }

  /** Calls a function; `params` by position or by name. Most programs use {@link App.call}. */
  async call(app: string, name: string, params: readonly Value[] | Readonly<Record<string, Value>>): Promise<unknown> {
    const schema = await this.schema(app);
    const json = Array.isArray(params)
      ? params.map(encode)
      : Object.fromEntries(Object.entries(params).map(([key, value]) => [key, encode(value)]));
    const reply = await this.request({ wasm_call: { app, function: name, params: json } });
    const returns = reply["returns"] as { type: string; value: unknown }[];
    const types = resolve(schema, name)?.results;
    const values = returns.map(({ type, value }, at) => {
      const known = types?.[at];
      return known === undefined ? decodeWord(type, value) : decode(known, value);
    });
    return values.length > 1 ? values : values[0];
  }

  /** Sends any envelope of framed JSON and gives its reply; throws {@link RefusedError} if that is an error. */
  async request(envelope: object): Promise<Record<string, unknown>> {
    return await (await this.#connection()).framed.request(envelope);
  }

  /** Asks whether the server answers. */
  async ping(): Promise<void> {
    const answer = await (await this.#connection()).framed.send("Ping");
    if (answer !== "Pong") throw new ConnectionError("the server does not answer a ping");
  }

  /** Makes an HTTP request as `fetch` does, without following redirects. `path` begins with `/`. */
  fetch(path: string, init?: RequestInit): Promise<Response> {
    return verifiedFetch(this.agent, this.#address, path, init);
  }

  /**
   * The configuration as leaves, checked against the root in the verified certificate. At an app's hostname it is the
   * app's own, with the root of its own tree.
   */
  async manifest(): Promise<Manifest> {
    const manifest = Manifest.parse(await this.#text("/.enclave/v1/manifest"));
    const verdict = this.#vouching();
    if (verdict !== undefined && !equal(manifest.root, (verdict.app ?? verdict).configurationRoot)) {
      throw new ConnectionError("the manifest is not the one whose root is in the certificate: it has changed");
    }
    return manifest;
  }

  /** One leaf with its inclusion proof, checked against the root in the verified certificate. */
  async proof(leaf: string): Promise<Proof> {
    const proof = Proof.parse(await this.#text(`/.enclave/v1/proofs/${encodeURIComponent(leaf)}`));
    if (proof.leaf.name !== leaf) {
      throw new ConnectionError(`the server proved the leaf ${proof.leaf.name}, not ${leaf}`);
    }
    const verdict = this.#vouching();
    if (verdict !== undefined && !proof.holds(verdict.configurationRoot)) {
      throw new ConnectionError("the proof does not lead to the root in the certificate: it has changed");
    }
    return proof;
  }

  /** The evidence document, to be kept and judged offline. */
  evidence(): Promise<string> {
    return this.#text("/.enclave/v1/evidence");
  }

  /** Ends all connections. */
  close(): void {
    this.#current?.framed.close();
    this.agent.destroy();
  }

  async #text(path: string): Promise<string> {
    const response = await this.fetch(path);
    const text = await response.text();
    if (response.ok) return text;
    let problem: { code?: unknown; detail?: unknown } = {};
    try {
      problem = JSON.parse(text) as typeof problem;
    } catch {
      // not a problem document: the status says what there is to say
    }
    throw new RefusedError(String(problem.code ?? `http-${response.status}`), String(problem.detail ?? response.statusText));
  }

  /** The verdict on the connection of HTTP; `undefined` only where verification was switched off by name. */
  #vouching(): Vouching | undefined {
    if (this.#options.policy instanceof Unverified) return undefined;
    const { app, configurationRoot } = this.agent.verdict ?? {};
    if (configurationRoot === undefined) {
      throw new ConnectionError("no certificate was verified that could vouch for the answer: connect with a policy");
    }
    return { app, configurationRoot };
  }

  #connection(): Promise<VerifiedFramed> {
    if (this.#current?.framed.isOpen === true) return Promise.resolve(this.#current);
    this.#connecting ??= openFramed(this.#address, this.#options)
      .then((opened) => {
        this.#schemas.clear();
        this.#current = opened;
        return opened;
      })
      .finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }
}

/** One app. */
export class App {
  constructor(
    readonly client: EnclaveClient,
    readonly name: string,
  ) {}

  /** Calls a function with parameters by position. */
  async call<T = unknown>(name: string, ...params: readonly Value[]): Promise<T> {
    return (await this.client.call(this.name, name, params)) as T;
  }

  /** Calls a function with parameters by name. */
  async callNamed<T = unknown>(name: string, params: Readonly<Record<string, Value>>): Promise<T> {
    return (await this.client.call(this.name, name, params)) as T;
  }

  /** Its functions with their types. */
  schema(): Promise<Schema> {
    return this.client.schema(this.name);
  }
}

/** The roots in a verified certificate. */
interface Vouching {
  readonly configurationRoot: Buffer;
  /** Of an app's own certificate. */
  readonly app: { readonly configurationRoot: Buffer } | undefined;
}

interface RawApp {
  readonly name: string;
  readonly hostname: string;
  readonly code_hash: string;
  readonly key_source: string;
  readonly state?: string;
  readonly exports: readonly { name: string; param_count: number; result_count: number }[];
}

function appInfo(app: RawApp): AppInfo {
  return {
    name: app.name,
    hostname: app.hostname,
    codeHash: app.code_hash,
    keySource: app.key_source,
    state: app.state,
    exports: app.exports.map(({ name, param_count, result_count }) => ({
      name,
      paramCount: param_count,
      resultCount: result_count,
    })),
  };
}

function loadFields(options: LoadOptions): object {
  const { encryptionKey } = options;
  const fields = {
    hostname: options.hostname,
    encryption_key: encryptionKey && Buffer.from(encryptionKey).toString("hex"),
    route_prefix: options.routePrefix,
    max_fuel: options.maxFuel,
    max_memory_bytes: options.maxMemoryBytes,
    max_store_bytes: options.maxStoreBytes,
    max_store_keys: options.maxStoreKeys,
    timeout_ms: options.timeoutMs,
    env: options.env,
    secrets: options.secrets,
    egress: options.egress,
    version: options.version,
    data_policy: options.dataPolicy,
    log_policy: options.logPolicy,
    access: options.access,
    http_max_fuel: options.httpMaxFuel,
    http_idle_timeout_ms: options.httpIdleTimeoutMs,
    http_timeout_ms: options.httpTimeoutMs,
    http_max_request_bytes: options.httpMaxRequestBytes,
    http_max_response_bytes: options.httpMaxResponseBytes,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
