/**
 * Certificates and revocation lists (RFC 5280), as far as evidence needs them.
 *
 * node:crypto parses certificates too and checks every signature here, but it gives neither the raw extensions nor
 * revocation lists; those are read by `der.ts`.
 */

import { type KeyObject, X509Certificate, createPublicKey, verify } from "node:crypto";
import { isIP } from "node:net";

import { equal, toHex, view } from "./bytes.js";
import { DerError, type Element, DerReader, Tag, boolean, oid, time, unsigned, wholeBits } from "./der.js";
import { pemOf } from "./pem.js";

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const KEY_USAGE = "2.5.29.15";
const SUBJECT_ALT_NAME = "2.5.29.17";
const BASIC_CONSTRAINTS = "2.5.29.19";
const NAME_CONSTRAINTS = "2.5.29.30";
const EXTENDED_KEY_USAGE = "2.5.29.37";
/** Extensions that may be critical, because they are judged here or restrict what is not relied on. */
const UNDERSTOOD = new Set([KEY_USAGE, SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, NAME_CONSTRAINTS, EXTENDED_KEY_USAGE]);
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const ANY_PURPOSE = "2.5.29.37.0";

/** An extension as it stands in a certificate. */
export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  /** The content of its OCTET STRING. */
  readonly value: Buffer;
}

/** One certificate. */
export class Certificate {
  readonly raw: Buffer;
  /** The serial number in hexadecimal. */
  readonly serial: string;
  /** The issuer's Name (DER). */
  readonly issuer: Buffer;
  /** The subject's Name (DER). */
  readonly subject: Buffer;
  /** Start of validity, in milliseconds since 1970. */
  readonly notBefore: number;
  /** End of validity, in milliseconds since 1970. */
  readonly notAfter: number;
  /** SubjectPublicKeyInfo (DER). */
  readonly spki: Buffer;
  readonly extensions: readonly Extension[];
  readonly #signatureAlgorithm: string;
  readonly #openssl: X509Certificate;
  #publicKey: KeyObject | undefined;

  /** Reads one certificate; throws {@link DerError} if it is not one. */
  constructor(der: Uint8Array) {
    this.raw = view(der);
    const [tbs, algorithm] = signed(this.raw, "certificate");
    this.#signatureAlgorithm = algorithm;
    const fields = new DerReader(tbs.content, "certificate");
    const version = fields.optional(0xa0);
    if (version === undefined || toHex(version.content) !== "020102") {
      throw new DerError("certificate: not of version 3");
    }
    this.serial = unsigned(fields.expect(Tag.integer).content).toString(16);
    fields.expect(Tag.sequence); // the signature's algorithm, once more
    this.issuer = fields.expect(Tag.sequence).raw;
    const validity = fields.sequence();
    this.notBefore = time(validity.next());
    this.notAfter = time(validity.next());
    validity.end();
    this.subject = fields.expect(Tag.sequence).raw;
    this.spki = fields.expect(Tag.sequence).raw;
    const wrapped = fields.optional(0xa3);
    fields.end();
    this.extensions = wrapped === undefined ? [] : extensions(wrapped);
    this.#openssl = openssl(this.raw);
  }

  /** The value of an extension that may occur once. */
  extension(wanted: string): Buffer | undefined {
    const found = this.extensions.filter((extension) => extension.oid === wanted);
    if (found.length > 1) throw new DerError(`certificate: extension ${wanted} occurs twice`);
    return found[0]?.value;
  }

  /** The subject as one line, for messages. */
  get name(): string {
    return this.#openssl.subject.replaceAll("\n", ", ");
  }

  /** Whether this is an ECDSA P-256 signature with SHA-256, the only kind in Intel's chains. */
  get hasEcdsaSha256(): boolean {
    return this.#signatureAlgorithm === ECDSA_WITH_SHA256;
  }

  /** Its public key. */
  publicKey(): KeyObject {
    this.#publicKey ??= createPublicKey({ key: this.spki, format: "der", type: "spki" });
    return this.#publicKey;
  }

  /** Whether the issuer's name and key fit this certificate's issuer and signature. */
  isSignedBy(issuer: Certificate): boolean {
    if (!equal(this.issuer, issuer.subject)) return false;
    try {
      return this.#openssl.verify(issuer.publicKey());
    } catch {
      return false; // a key of another kind than the signature's
    }
  }

  /** Whether it is valid at a moment, in milliseconds since 1970. */
  isValidAt(now: number): boolean {
    return this.notBefore <= now && now <= this.notAfter;
  }

  /** Whether it is for an authority (RFC 5280 §4.2.1.9). */
  isAuthority(): boolean {
    const value = this.extension(BASIC_CONSTRAINTS);
    if (value === undefined) return false;
    const flag = DerReader.sequence(value, "basicConstraints").optional(Tag.boolean);
    return flag !== undefined && boolean(flag.content);
  }

  /** How many authorities may stand below it and above an end entity; `undefined`: any number. */
  pathLength(): number | undefined {
    const value = this.extension(BASIC_CONSTRAINTS);
    if (value === undefined) return undefined;
    const fields = DerReader.sequence(value, "basicConstraints");
    fields.optional(Tag.boolean);
    const length = fields.optional(Tag.integer);
    return length === undefined ? undefined : Number(unsigned(length.content));
  }

  /** Whether its key may sign certificates (`keyCertSign`, bit 5) by its key usage. */
  maySignCertificates(): boolean {
    return this.#usage(5) === true;
  }

  /** Whether its key may sign revocation lists (`cRLSign`, bit 6); without a key usage it may. */
  maySignRevocations(): boolean {
    return this.#usage(6) !== false;
  }

  /** An extension that is critical and not understood here (RFC 5280 §4.2). */
  unknownCritical(): string | undefined {
    return this.extensions.find((extension) => extension.critical && !UNDERSTOOD.has(extension.oid))?.oid;
  }

  /**
   * Whether it may stand in the chain of a server's certificate: servers are among its purposes, or, of an authority, among
   * those it may sign for (RFC 5280 §4.2.1.12).
   */
  isForServers(): boolean {
    const value = this.extension(EXTENDED_KEY_USAGE);
    if (value === undefined) return true;
    const list = DerReader.sequence(value, "extKeyUsage");
    const purposes = new Set<string>();
    while (!list.done) purposes.add(oid(list.expect(Tag.oid).content));
    return purposes.has(SERVER_AUTH) || (this.isAuthority() && purposes.has(ANY_PURPOSE));
  }

  /** Whether a DNS name or an address is among its subject alternative names. */
  isFor(name: string): boolean {
    if (this.extensions.filter(({ oid: id }) => id === SUBJECT_ALT_NAME).length !== 1) return false;
    if (isIP(name) !== 0) return this.#openssl.checkIP(name) !== undefined;
    return this.#openssl.checkHost(name, { subject: "never", wildcards: false }) !== undefined;
  }

  /** Its subject alternative names, for messages. */
  get names(): string {
    return this.#openssl.subjectAltName ?? "none";
  }

  #usage(bit: number): boolean | undefined {
    const value = this.extension(KEY_USAGE);
    if (value === undefined) return undefined;
    const bits = DerReader.single(value, Tag.bitString, "keyUsage").content.subarray(1);
    return (((bits[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1;
  }
}

/** A certificate revocation list. */
export class RevocationList {
  /** The issuer's Name (DER). */
  readonly issuer: Buffer;
  /** When it was issued, in milliseconds since 1970. */
  readonly thisUpdate: number;
  /** When the next one is due, in milliseconds since 1970. */
  readonly nextUpdate: number;
  readonly #tbs: Buffer;
  readonly #signature: Buffer;
  readonly #ecdsa: boolean;
  readonly #revoked = new Set<string>();

  /** Reads one list; throws {@link DerError} if it is not one, or has no nextUpdate. */
  constructor(der: Uint8Array) {
    const [tbs, algorithm, signature] = signed(view(der), "revocation list");
    this.#tbs = tbs.raw;
    this.#ecdsa = algorithm === ECDSA_WITH_SHA256;
    this.#signature = signature;
    const fields = new DerReader(tbs.content, "revocation list");
    const version = fields.expect(Tag.integer);
    if (unsigned(version.content) !== 1n) throw new DerError("revocation list: not of version 2");
    fields.expect(Tag.sequence); // the signature's algorithm, once more
    this.issuer = fields.expect(Tag.sequence).raw;
    this.thisUpdate = time(fields.next());
    const next = fields.optional(Tag.utcTime) ?? fields.optional(Tag.generalizedTime);
    if (next === undefined) throw new DerError("revocation list: no nextUpdate");
    this.nextUpdate = time(next);
    const entries = fields.optional(Tag.sequence);
    const wrapped = fields.optional(0xa0);
    fields.end();
    if (wrapped !== undefined) refuseCritical(extensions(wrapped));
    if (entries !== undefined) this.#read(new DerReader(entries.content, "revocation list"));
  }

  /** Whether the authority signed this list. */
  isSignedBy(authority: Certificate): boolean {
    if (!this.#ecdsa || !equal(this.issuer, authority.subject)) return false;
    return verify("sha256", this.#tbs, authority.publicKey(), this.#signature);
  }

  /** Whether a serial number is on it. */
  revokes(certificate: Certificate): boolean {
    return this.#revoked.has(certificate.serial);
  }

  #read(entries: DerReader): void {
    while (!entries.done) {
      const entry = entries.sequence();
      this.#revoked.add(unsigned(entry.expect(Tag.integer).content).toString(16));
      time(entry.next());
      const details = entry.optional(Tag.sequence);
      entry.end();
      if (details !== undefined) refuseCritical(extensionList(details.raw));
    }
  }
}

/** Whether an authority may sign certificates with so many authorities between it and the end entity. */
export function mayIssue(issuer: Certificate, authoritiesBelow: number): boolean {
  const length = issuer.pathLength();
  return issuer.isAuthority() && issuer.maySignCertificates() && (length === undefined || authoritiesBelow <= length);
}

/**
 * The certificate as node:crypto has it. Given bytes, its constructor looks for PEM before it tries DER, and a leaf carries
 * a quote with a PEM chain in it: the result would be another certificate. Therefore PEM goes in, and what comes out is
 * compared.
 */
function openssl(der: Buffer): X509Certificate {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(pemOf(der));
  } catch (error) {
    throw new DerError(`certificate: ${(error as Error).message}`);
  }
  if (!equal(parsed.raw, der)) throw new DerError("certificate: read in two ways");
  return parsed;
}

/** What `SIGNED{…}` consists of: the signed part, the algorithm, the signature. */
function signed(der: Buffer, what: string): [Element, string, Buffer] {
  const outer = DerReader.sequence(der, what);
  const tbs = outer.expect(Tag.sequence);
  const algorithm = outer.sequence().expect(Tag.oid);
  const signature = outer.expect(Tag.bitString);
  outer.end();
  return [tbs, oid(algorithm.content), wholeBits(signature.content)];
}

/** The extensions in an explicitly tagged field. */
function extensions(wrapped: Element): Extension[] {
  return extensionList(wrapped.content);
}

function extensionList(bytes: Buffer): Extension[] {
  const list = DerReader.sequence(bytes, "extensions");
  const found: Extension[] = [];
  while (!list.done) {
    const fields = list.sequence();
    const name = oid(fields.expect(Tag.oid).content);
    const critical = fields.optional(Tag.boolean);
    const value = fields.expect(Tag.octetString).content;
    fields.end();
    found.push({ oid: name, critical: critical !== undefined && boolean(critical.content), value });
  }
  return found;
}

function refuseCritical(found: readonly Extension[]): void {
  const critical = found.find((extension) => extension.critical);
  if (critical !== undefined) {
    throw new DerError(`revocation list: the critical extension ${critical.oid} is unknown`);
  }
}
