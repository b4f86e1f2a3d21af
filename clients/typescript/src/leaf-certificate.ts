/** What a leaf certificate claims: the extensions of this system, read strictly. Reading is not verifying. */

import { equal, sha256 } from "./bytes.js";
import { Certificate } from "./x509.js";

const ARC = "1.3.6.1.4.1.65230";
const OID = {
  quote: "1.2.840.113741.1.13.1.0",
  configurationRoot: `${ARC}.1.1`,
  appNames: `${ARC}.2.1`,
  routePrefixes: `${ARC}.2.2`,
  codeHashes: `${ARC}.2.3`,
  workloadsHash: `${ARC}.2.5`,
  appConfigurationRoot: `${ARC}.3.1`,
  appCodeHash: `${ARC}.3.2`,
  appKeySource: `${ARC}.3.4`,
} as const;
const KNOWN: ReadonlySet<string> = new Set(Object.values(OID));

/** A certificate that is not a leaf of an enclave of this system. */
export class LeafCertificateError extends Error {
  override readonly name = "LeafCertificateError";
}

/** One app as the certificate names it. */
export interface AppClaim {
  readonly name: string;
  readonly routePrefix: string;
  /** SHA-256 of the bytes that were loaded. */
  readonly codeHash: Buffer;
}

/** What a certificate of one app says beyond {@link AppClaim}. */
export interface AppLeaf {
  /** Root of the app's own configuration tree. */
  readonly configurationRoot: Buffer;
  readonly codeHash: Buffer;
  /** `generated`, or `byok:` and 16 hexadecimal digits. */
  readonly keySource: string;
}

/** The claims of a leaf. */
export interface LeafCertificate {
  readonly certificate: Certificate;
  readonly quote: Buffer | undefined;
  readonly configurationRoot: Buffer;
  readonly workloadsHash: Buffer;
  /** All apps of the enclave, or the one whose hostname was asked for. */
  readonly apps: readonly AppClaim[];
  /** Only in a certificate of one app. */
  readonly app: AppLeaf | undefined;
}

/** Reads a leaf; throws {@link LeafCertificateError} on anything that the format does not allow. */
export function parseLeafCertificate(der: Uint8Array): LeafCertificate {
  const certificate = parseCertificate(der);
  const found = extensionsOf(certificate);
  const configurationRoot = hash(found, OID.configurationRoot);
  const workloadsHash = hash(found, OID.workloadsHash);
  const apps = appClaims(found);
  const app = appLeaf(found);
  if (app !== undefined) {
    const [claim, ...more] = apps;
    if (claim === undefined || more.length > 0) throw malformed(OID.appNames, "one app in a certificate of one app");
    if (!equal(claim.codeHash, app.codeHash)) throw malformed(OID.appCodeHash, "the same code hash as in .2.3");
  } else if (!equal(hashOfWorkloads(apps), workloadsHash)) {
    throw malformed(OID.workloadsHash, "the hash over the apps of this certificate");
  }
  return { certificate, quote: found.get(OID.quote), configurationRoot, workloadsHash, apps, app };
}

function parseCertificate(der: Uint8Array): Certificate {
  try {
    return new Certificate(der);
  } catch (error) {
    throw new LeafCertificateError(`not a certificate: ${(error as Error).message}`);
  }
}

function extensionsOf(certificate: Certificate): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const { oid, value } of certificate.extensions) {
    if (!KNOWN.has(oid)) {
      if (oid === ARC || oid.startsWith(`${ARC}.`)) {
        throw new LeafCertificateError(`extension ${oid} is unknown to this version`);
      }
      continue;
    }
    if (found.has(oid)) throw new LeafCertificateError(`extension ${oid} occurs twice`);
    found.set(oid, value);
  }
  return found;
}

/** SHA-256 over (u16 BE name length ‖ name ‖ code hash) of every app, in name order. */
function hashOfWorkloads(apps: readonly AppClaim[]): Buffer {
  const parts = apps.flatMap(({ name, codeHash }) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(name.length);
    return [length, Buffer.from(name, "ascii"), codeHash];
  });
  return sha256(...parts);
}

function appClaims(found: Map<string, Buffer>): AppClaim[] {
  const lists = [OID.appNames, OID.routePrefixes, OID.codeHashes];
  if (lists.every((oid) => !found.has(oid))) return [];
  const names = text(found, OID.appNames).split("\n");
  const prefixes = text(found, OID.routePrefixes).split("\n");
  const hashes = required(found, OID.codeHashes);
  if (hashes.length !== names.length * 32) throw malformed(OID.codeHashes, "32 bytes for each app");
  if (prefixes.length !== names.length) throw malformed(OID.routePrefixes, "one line for each app");
  const ordered = names.every((name, at) => name !== "" && (at === 0 || (names[at - 1] ?? "") < name));
  if (!ordered) throw malformed(OID.appNames, "names in order, each once");
  if (names.some((name) => name.length > 0xffff)) throw malformed(OID.appNames, "names of at most 65,535 bytes");
  return names.map((name, at) => ({
    name,
    routePrefix: prefixes[at] ?? "",
    codeHash: hashes.subarray(at * 32, at * 32 + 32),
  }));
}

function appLeaf(found: Map<string, Buffer>): AppLeaf | undefined {
  const own = [OID.appConfigurationRoot, OID.appCodeHash, OID.appKeySource];
  if (own.every((oid) => !found.has(oid))) return undefined;
  const keySource = text(found, OID.appKeySource);
  if (!/^(?:generated|byok:[0-9a-f]{16})$/.test(keySource)) {
    throw malformed(OID.appKeySource, "`generated`, or `byok:` and 16 hexadecimal digits");
  }
  return {
    configurationRoot: hash(found, OID.appConfigurationRoot),
    codeHash: hash(found, OID.appCodeHash),
    keySource,
  };
}

function required(found: Map<string, Buffer>, oid: string): Buffer {
  const value = found.get(oid);
  if (value === undefined) {
    throw new LeafCertificateError(`no extension ${oid}: this is not a certificate of an enclave of this system`);
  }
  return value;
}

function hash(found: Map<string, Buffer>, oid: string): Buffer {
  const value = required(found, oid);
  if (value.length !== 32) throw malformed(oid, "32 bytes");
  return value;
}

function text(found: Map<string, Buffer>, oid: string): string {
  const value = required(found, oid).toString("latin1");
  if (!/^[\x21-\x7e\n]*$/.test(value)) throw malformed(oid, "printable ASCII");
  return value;
}

function malformed(oid: string, rule: string): LeafCertificateError {
  return new LeafCertificateError(`extension ${oid} is malformed, it has to be ${rule}`);
}
