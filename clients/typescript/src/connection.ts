/** Connections that are verified before anybody can send on them. */

import { randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { type DetailedPeerCertificate, type TLSSocket, connect as tlsConnect } from "node:tls";

import { fromBase64, toBase64Url } from "./bytes.js";
import { type Collateral, collateralOf } from "./collateral.js";
import type { CollateralCache } from "./collateral-cache.js";
import { Unverified } from "./danger.js";
import { ConnectionError, EnclaveError, RefusedError, VerificationError } from "./errors.js";
import { FramedConnection, MAX_EVIDENCE } from "./framed.js";
import { exchange } from "./http-exchange.js";
import { type Json, JsonError, parseJson } from "./json.js";
import { type LeafCertificate, parseLeafCertificate } from "./leaf-certificate.js";
import { Manifest, Proof } from "./manifest.js";
import { type Policy, type Tier, parsePolicy } from "./policy.js";
import { EXPORTER_LABEL } from "./report-data.js";
import type { Verdict } from "./verdict.js";
import { type Presented, judge } from "./verifier.js";
import type { Disclosed } from "./verifier-app.js";

/** How connections are made and judged. */
export interface ConnectOptions {
  /** What is accepted: a policy, or the text of a policy file. */
  readonly policy: Policy | string | Unverified;
  /** How fresh the evidence is asked to be. The default is the strongest, `channel`. */
  readonly tier?: Tier;
  /**
   * The name that is asked for (SNI) and has to stand in the certificate; an app's hostname selects that app's
   * certificate. The default is the host of the address unless that is an IP address.
   */
  readonly serverName?: string;
  /** Collateral to judge quotes with. The default is what the cache knows, else what the server hands on. */
  readonly collateral?: Collateral;
  /** Where collateral is kept between connections. */
  readonly cache?: CollateralCache;
  /** The configuration's manifest, where the policy names settings. The default is to ask for those alone. */
  readonly manifest?: Manifest;
  /** The time, in milliseconds since 1970. The default is this machine's clock. */
  readonly now?: () => number;
  /** How long connecting and verifying may take together, in milliseconds. */
  readonly timeoutMs?: number;
}

/** Where a server is. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a connection speaks. */
export type Protocol = "enclave-os/1" | "http/1.1";

/** A connection whose peer satisfied the policy. Only {@link openVerified} makes one. */
export interface VerifiedSocket {
  readonly socket: TLSSocket;
  /** Absent only on connections that were asked to be unverified. */
  readonly verdict: Verdict | undefined;
}

/** As {@link VerifiedSocket}, for frames. */
export interface VerifiedFramed {
  readonly framed: FramedConnection;
  readonly verdict: Verdict | undefined;
}

const DEFAULT_TIMEOUT = 30_000;
const DEFAULT_PORT = 8443;
const MANIFEST = "/.enclave/v1/manifest";
const PROOFS = "/.enclave/v1/proofs/";
const ATTEST = "/.enclave/v1/attest";

/** Reads `host`, `host:port` or `[v6 address]:port`; the default port is 8443. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new ConnectionError(`“${text}” is not host:port, such as enclave.example.com:8443`);
  }
  return { host, port };
}

/** The address as a `Host` header has it (RFC 9110 §7.2). */
export function authority({ host, port }: Address): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Connects for HTTP/1.1, verifies, and only then gives the socket. */
export async function openVerified(address: Address, options: ConnectOptions): Promise<VerifiedSocket> {
  const host = authority({ ...address, host: options.serverName ?? address.host });
  return await within(options, async (guard) => {
    const { socket, nonce } = await handshake(address, nameOf(address, options), "http/1.1", options.tier, guard);
    const attest: Attest = async (request) => parseJson(await exchange(socket, host, "POST", ATTEST, request));
    return { socket, verdict: await verify(socket, nonce, address, options, attest, guard) };
  });
}

/** Connects for framed JSON, verifies, and only then gives the connection. */
export async function openFramed(address: Address, options: ConnectOptions): Promise<VerifiedFramed> {
  return await within(options, async (guard) => {
    const { socket, nonce } = await handshake(address, nameOf(address, options), "enclave-os/1", options.tier, guard);
    const framed = new FramedConnection(socket);
    const attest: Attest = async (request) => {
      const { status: _, ...answer } = await framed.request({ attest: request }, MAX_EVIDENCE);
      return answer as Json;
    };
    return { framed, verdict: await verify(socket, nonce, address, options, attest, guard) };
  });
}

/** Asks for evidence on the connection itself. */
type Attest = (request: { nonce: string }) => Promise<Json>;

/** Sockets that are destroyed if anything fails before they are handed out. */
type Guard = (socket: TLSSocket) => void;

/** Runs one attempt to connect, within its time. */
async function within<T>(options: ConnectOptions, attempt: (guard: Guard) => Promise<T>): Promise<T> {
  const sockets: TLSSocket[] = [];
  const timeout = options.timeoutMs ?? DEFAULT_TIMEOUT;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    for (const socket of sockets) socket.destroy();
  }, timeout);
  try {
    return await attempt((socket) => {
      if (late) socket.destroy();
      else sockets.push(socket);
    });
  } catch (cause) {
    for (const socket of sockets) socket.destroy();
    if (late) throw new ConnectionError(`not connected and verified within ${timeout} ms`, { cause });
    if (cause instanceof EnclaveError) throw cause;
    throw new ConnectionError((cause as Error).message, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** The name that is asked for; SNI takes names only (RFC 6066 §3). */
function nameOf(address: Address, options: ConnectOptions): string | undefined {
  const name = options.serverName ?? address.host;
  return isIP(name) === 0 ? name : undefined;
}

/** A TLS 1.3 handshake whose certificate nobody has judged yet. */
async function handshake(
  address: Address,
  name: string | undefined,
  protocol: Protocol,
  tier: Tier | undefined,
  guard: Guard,
): Promise<{ socket: TLSSocket; nonce: Buffer }> {
  const nonce = randomBytes(32);
  const challenge = tier === "challenge" ? [`enclave-os-nonce/${toBase64Url(nonce)}`] : [];
  const socket = tlsConnect({
    ...address,
    ...(name !== undefined && { servername: name }),
    ALPNProtocols: [...challenge, protocol],
    minVersion: "TLSv1.3",
    // The chain is judged by the policy, in `verify`, before anything is sent; no public authority has a say in it.
    rejectUnauthorized: false,
    ca: [],
  });
  guard(socket);
  await connected(socket, address);
  // An error with no listener would end the process; whoever takes the socket adds one that tells.
  socket.on("error", () => undefined);
  if (socket.isSessionReused()) throw new ConnectionError("the session was resumed, which skips the certificate");
  if (socket.alpnProtocol !== protocol) throw new ConnectionError(`the server does not speak ${protocol}`);
  return { socket, nonce };
}

function connected(socket: TLSSocket, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (act: () => void): void => {
      socket.off("secureConnect", onConnect).off("error", onError).off("close", onClose);
      act();
    };
    const onConnect = (): void => finish(resolve);
    const onError = (cause: Error): void =>
      finish(() => reject(new ConnectionError(`no connection to ${host}:${port}: ${cause.message}`, { cause })));
    const onClose = (): void =>
      finish(() => reject(new ConnectionError("the server closed the connection during the handshake")));
    socket.on("secureConnect", onConnect).on("error", onError).on("close", onClose);
  });
}

/** Judges the peer; throws unless it satisfies the policy. */
async function verify(
  socket: TLSSocket,
  nonce: Buffer,
  address: Address,
  options: ConnectOptions,
  attest: Attest,
  guard: Guard,
): Promise<Verdict | undefined> {
  if (options.policy instanceof Unverified) return undefined;
  const policy = typeof options.policy === "string" ? parsePolicy(options.policy) : options.policy;
  const now = (options.now ?? Date.now)();
  const evidence = await gather(socket, nonce, address, options, attest, now);
  const verdict = judge(policy, evidence.presented, {
    collateral: evidence.collateral,
    ...(await disclosed(policy, leafIn(chainOf(socket)), address, options, guard)),
    now,
  });
  if (!verdict.accepted) throw new VerificationError(verdict);
  if (evidence.quote !== undefined && evidence.collateral !== undefined) {
    options.cache?.keep(evidence.quote, evidence.collateral, now);
  }
  return verdict;
}

interface Gathered {
  readonly presented: Presented;
  readonly quote: Uint8Array | undefined;
  readonly collateral: Collateral | undefined;
}

async function gather(
  socket: TLSSocket,
  nonce: Buffer,
  address: Address,
  options: ConnectOptions,
  attest: Attest,
  now: number,
): Promise<Gathered> {
  const tier = options.tier ?? "channel";
  const chain = chainOf(socket);
  const serverName = options.serverName ?? (isIP(address.host) === 0 ? address.host : undefined);
  const known = (quote: Uint8Array | undefined): Collateral | undefined =>
    options.collateral ?? (quote && options.cache?.find(quote, now));
  if (tier === "channel") {
    const answer = attestation(await attest({ nonce: toBase64Url(nonce) }));
    const exporter = socket.exportKeyingMaterial(32, EXPORTER_LABEL, nonce);
    const presented: Presented = { tier, chain, serverName, nonce, exporter, quote: answer.quote };
    return { presented, quote: answer.quote, collateral: known(answer.quote) ?? answer.collateral };
  }
  const presented: Presented =
    tier === "challenge" ? { tier, chain, serverName, nonce } : { tier, chain, serverName };
  const quote = quoteIn(chain);
  let collateral = known(quote);
  if (collateral === undefined && quote !== undefined) {
    collateral = attestation(await attest({ nonce: toBase64Url(randomBytes(32)) })).collateral;
  }
  return { presented, quote, collateral };
}

/** The certificates that the server sent, leaf first. */
function chainOf(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined) {
    chain.push(certificate.raw);
    const issuer: DetailedPeerCertificate | undefined = certificate.issuerCertificate;
    certificate = issuer === certificate ? undefined : issuer;
  }
  return chain;
}

function quoteIn(chain: readonly Buffer[]): Buffer | undefined {
  return leafIn(chain)?.quote;
}

function leafIn([leaf]: readonly Buffer[]): LeafCertificate | undefined {
  try {
    return leaf && parseLeafCertificate(leaf);
  } catch {
    return undefined; // the verdict says what is wrong with it
  }
}

/** The answer of `attest`. */
function attestation(json: Json): { quote: Buffer; collateral: Collateral | undefined } {
  try {
    const { quote, collateral } = json as { quote?: Json; collateral?: Json };
    const bytes = typeof quote === "string" ? fromBase64(quote) : undefined;
    if (bytes === undefined) throw new JsonError("the quote is not base64");
    return { quote: bytes, collateral: collateral == null ? undefined : collateralOf(collateral) };
  } catch (cause) {
    throw new ConnectionError(`the answer of attest is malformed: ${(cause as Error).message}`, { cause });
  }
}

/**
 * What the policy wants to know of the configuration: proofs of the leaves that it names, which show nothing of the others,
 * or the manifest where an app's root has to follow from it. It comes over a connection of its own and needs no trust,
 * since it has to lead to the root in the certificate; and where no name is asked for, because an app's hostname tells
 * that app's settings alone.
 */
async function disclosed(
  { configuration }: Policy,
  leaf: LeafCertificate | undefined,
  address: Address,
  options: ConnectOptions,
  guard: Guard,
): Promise<Disclosed> {
  const whole = configuration?.appRoot !== undefined && leaf?.app === undefined;
  const names = [...(configuration?.leaves.keys() ?? [])];
  if (options.manifest !== undefined || (!whole && names.length === 0)) return { manifest: options.manifest, proofs: [] };
  const { socket } = await handshake(address, undefined, "http/1.1", "certificate", guard);
  const get = (path: string): Promise<string> => exchange(socket, authority(address), "GET", path);
  try {
    if (whole) return { manifest: Manifest.parse(await get(MANIFEST)), proofs: [] };
    const proofs: Proof[] = [];
    for (const name of names) {
      try {
        proofs.push(Proof.parse(await get(PROOFS + encodeURIComponent(name))));
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error; // there is no such leaf, and the verdict says so
      }
    }
    return { manifest: undefined, proofs };
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause;
    throw new ConnectionError(`what the server tells of its configuration is malformed: ${cause.message}`, { cause });
  } finally {
    socket.destroy();
  }
}
