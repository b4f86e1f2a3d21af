/** An authority of Intel's kind, a platform, an enclave and its certificates, all made up; every part can be made wrong. */

import { type KeyObject, createHash, generateKeyPairSync, sign } from "node:crypto";

import type { Collateral } from "../../src/collateral.js";
import { pemOf } from "../../src/pem.js";
import { toRfc3339 } from "../../src/time.js";
import { type Extension, bits, extensions, integer, name, octets, oid, sequence, time, tlv } from "./der.js";

export const NOW = Date.parse("2026-11-21T17:00:00Z");
const DAY = 86_400_000;
/** Valid whatever the machine's clock says. */
const ALWAYS = [Date.parse("2020-01-01T00:00:00Z"), Date.parse("9999-12-31T23:59:59Z")] as const;
const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const SGX = "1.2.840.113741.1.13.1";
const ARC = "1.3.6.1.4.1.65230";

export interface Keys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function keys(): Keys {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

export const sha256 = (...parts: Uint8Array[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();

/** r ‖ s. */
export function rawSignature(key: Keys, message: Uint8Array): Buffer {
  return sign("sha256", message, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
}

function point(key: Keys): Buffer {
  const { x, y } = key.publicKey.export({ format: "jwk" });
  return Buffer.concat([Buffer.from(x ?? "", "base64url"), Buffer.from(y ?? "", "base64url")]);
}

export function spkiOf(key: Keys): Buffer {
  return key.publicKey.export({ format: "der", type: "spki" });
}

export interface CertificateFields {
  readonly subject: string;
  readonly issuer: string;
  readonly key: Keys;
  readonly signer: Keys;
  readonly serial?: number;
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly extensions?: readonly Extension[];
}

export function certificate(fields: CertificateFields): Buffer {
  const tbs = sequence(
    tlv(0xa0, integer(2)),
    integer(fields.serial ?? 1),
    ECDSA_SHA256,
    name(fields.issuer),
    sequence(time(fields.notBefore ?? ALWAYS[0]), time(fields.notAfter ?? ALWAYS[1])),
    name(fields.subject),
    spkiOf(fields.key),
    tlv(0xa3, extensions(fields.extensions ?? [])),
  );
  return signed(tbs, fields.signer);
}

function signed(tbs: Buffer, signer: Keys): Buffer {
  return sequence(tbs, ECDSA_SHA256, bits(sign("sha256", tbs, signer.privateKey)));
}

const AUTHORITY: readonly Extension[] = [
  { oid: "2.5.29.19", value: sequence(tlv(0x01, Buffer.of(0xff))), critical: true },
  { oid: "2.5.29.15", value: tlv(0x03, Buffer.of(1, 0b0000_0110)), critical: true },
];
export const authority = AUTHORITY;

export function revocations(issuer: string, signer: Keys, revoked: readonly number[] = [], nextUpdate = NOW + 30 * DAY): Buffer {
  const entries = revoked.map((serial) => sequence(integer(serial), time(NOW - DAY)));
  const tbs = sequence(
    integer(1),
    ECDSA_SHA256,
    name(issuer),
    time(NOW - DAY),
    time(nextUpdate),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
  );
  return signed(tbs, signer);
}

function pem(...certificates: Buffer[]): string {
  return certificates.map(pemOf).join("");
}

/** What can be wrong with a platform. */
export interface PlatformOptions {
  readonly status?: string;
  readonly advisories?: readonly string[];
  readonly cpuSvn?: readonly number[];
  readonly levels?: readonly object[];
  readonly revoked?: readonly number[];
  readonly rootRevoked?: readonly number[];
  readonly crlNextUpdate?: number;
  readonly tcbNextUpdate?: number;
  readonly fmspc?: string;
  readonly pceId?: string;
  readonly qeIdentity?: Readonly<Record<string, unknown>>;
  readonly qeDebug?: boolean;
  readonly qeSvn?: number;
  readonly pckCaMaySign?: boolean;
  readonly pckCaNotAfter?: number;
}

export const PPID = "00112233445566778899aabbccddeeff";
const ROOT = "Enclave OS DEVELOPMENT SGX Root CA";
const PCK_CA = "Enclave OS DEVELOPMENT PCK Platform CA";
const QE_SIGNER = Buffer.alloc(32, 0x51);

/** A platform with its authority and quoting enclave. */
export class TestPlatform {
  readonly root: Buffer;
  readonly collateral: Collateral;
  readonly #pckChain: string;
  readonly #pck = keys();
  readonly #attestation = keys();
  readonly #options: PlatformOptions;

  constructor(options: PlatformOptions = {}) {
    this.#options = options;
    const [root, ca, signer] = [keys(), keys(), keys()];
    this.root = certificate({ subject: ROOT, issuer: ROOT, key: root, signer: root, extensions: AUTHORITY });
    const caDer = certificate({
      subject: PCK_CA,
      issuer: ROOT,
      key: ca,
      signer: root,
      serial: 2,
      extensions: options.pckCaMaySign === false ? [] : AUTHORITY,
      notAfter: options.pckCaNotAfter ?? ALWAYS[1],
    });
    const pckDer = certificate({
      subject: "Enclave OS DEVELOPMENT PCK Certificate",
      issuer: PCK_CA,
      key: this.#pck,
      signer: ca,
      serial: 3,
      extensions: [{ oid: SGX, value: this.#sgxExtension() }],
    });
    const signerDer = certificate({ subject: "TCB Signing", issuer: ROOT, key: signer, signer: root, serial: 4 });
    this.#pckChain = pem(pckDer, caDer, this.root);
    const tcbInfo = JSON.stringify(this.#tcbInfo());
    const qeIdentity = JSON.stringify(this.#qeIdentity());
    this.collateral = {
      pckCrlIssuerChain: pem(caDer, this.root),
      rootCaCrl: revocations(ROOT, root, options.rootRevoked, options.crlNextUpdate),
      pckCrl: revocations(PCK_CA, ca, options.revoked, options.crlNextUpdate),
      tcbInfoIssuerChain: pem(signerDer, this.root),
      tcbInfo,
      tcbInfoSignature: rawSignature(signer, Buffer.from(tcbInfo)),
      qeIdentityIssuerChain: pem(signerDer, this.root),
      qeIdentity,
      qeIdentitySignature: rawSignature(signer, Buffer.from(qeIdentity)),
    };
  }

  get rootFingerprint(): string {
    return sha256(this.root).toString("hex");
  }

  /** A quote about an enclave. */
  quote(reportData: Uint8Array, change: (report: Buffer) => void = () => undefined): Buffer {
    const header = Buffer.alloc(48);
    header.writeUInt16LE(3, 0);
    header.writeUInt16LE(2, 2);
    Buffer.from("939a7233f79c4ca9940a0db3957f0607", "hex").copy(header, 12);
    const report = enclaveReport(reportData);
    change(report);
    const body = Buffer.concat([header, report]);
    const authentication = Buffer.alloc(32, 7);
    const qeReport = this.#qeReport(sha256(point(this.#attestation), authentication));
    const length = Buffer.alloc(2);
    length.writeUInt16LE(authentication.length);
    const certification = Buffer.alloc(6);
    certification.writeUInt16LE(5);
    certification.writeUInt32LE(this.#pckChain.length, 2);
    const signature = Buffer.concat([
      rawSignature(this.#attestation, body),
      point(this.#attestation),
      qeReport,
      rawSignature(this.#pck, qeReport),
      length,
      authentication,
      certification,
      Buffer.from(this.#pckChain, "latin1"),
    ]);
    const total = Buffer.alloc(4);
    total.writeUInt32LE(signature.length);
    return Buffer.concat([body, total, signature]);
  }

  #qeReport(hash: Buffer): Buffer {
    const report = Buffer.alloc(384);
    report[48] = this.#options.qeDebug === true ? 0x13 : 0x11;
    QE_SIGNER.copy(report, 128);
    report.writeUInt16LE(1, 256);
    report.writeUInt16LE(this.#options.qeSvn ?? 8, 258);
    hash.copy(report, 320);
    return report;
  }

  #sgxExtension(): Buffer {
    const cpuSvn = this.#options.cpuSvn ?? Array.from({ length: 16 }, () => 5);
    const components = cpuSvn.map((svn, at) => sequence(oid(`${SGX}.2.${at + 1}`), integer(svn)));
    return sequence(
      sequence(oid(`${SGX}.1`), octets(Buffer.from(PPID, "hex"))),
      sequence(
        oid(`${SGX}.2`),
        sequence(
          ...components,
          sequence(oid(`${SGX}.2.17`), integer(13)),
          sequence(oid(`${SGX}.2.18`), octets(Buffer.from(cpuSvn))),
        ),
      ),
      sequence(oid(`${SGX}.3`), octets(Buffer.from("0000", "hex"))),
      sequence(oid(`${SGX}.4`), octets(Buffer.from("00906ed50000", "hex"))),
      sequence(oid(`${SGX}.5`), tlv(0x0a, Buffer.of(0))),
    );
  }

  #tcbInfo(): object {
    const { status = "UpToDate", advisories = [], levels } = this.#options;
    return {
      id: "SGX",
      version: 3,
      issueDate: toRfc3339(NOW - DAY),
      nextUpdate: toRfc3339(this.#options.tcbNextUpdate ?? NOW + 30 * DAY),
      fmspc: this.#options.fmspc ?? "00906ED50000",
      pceId: this.#options.pceId ?? "0000",
      tcbType: 0,
      tcbEvaluationDataNumber: 17,
      tcbLevels: levels ?? [level(5, 13, status, advisories)],
    };
  }

  #qeIdentity(): object {
    return {
      id: "QE",
      version: 2,
      issueDate: toRfc3339(NOW - DAY),
      nextUpdate: toRfc3339(NOW + 30 * DAY),
      tcbEvaluationDataNumber: 17,
      miscselect: "00000000",
      miscselectMask: "FFFFFFFF",
      attributes: "11000000000000000000000000000000",
      attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
      mrsigner: QE_SIGNER.toString("hex").toUpperCase(),
      isvprodid: 1,
      tcbLevels: [
        { tcb: { isvsvn: 8 }, tcbDate: toRfc3339(NOW), tcbStatus: "UpToDate" },
        { tcb: { isvsvn: 6 }, tcbDate: toRfc3339(NOW), tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-00615"] },
        { tcb: { isvsvn: 1 }, tcbDate: toRfc3339(NOW), tcbStatus: "Revoked" },
      ],
      ...this.#options.qeIdentity,
    };
  }
}

/** One level of TCB info with the same version in every component. */
export function level(svn: number, pcesvn: number, tcbStatus: string, advisoryIDs: readonly string[] = []): object {
  const sgxtcbcomponents = Array.from({ length: 16 }, () => ({ svn }));
  return { tcb: { sgxtcbcomponents, pcesvn }, tcbDate: toRfc3339(NOW), tcbStatus, advisoryIDs };
}

export const MRENCLAVE = "aa".repeat(32);
export const MRSIGNER = "bb".repeat(32);

function enclaveReport(reportData: Uint8Array): Buffer {
  const report = Buffer.alloc(384);
  report[48] = 0x05;
  Buffer.from(MRENCLAVE, "hex").copy(report, 64);
  Buffer.from(MRSIGNER, "hex").copy(report, 128);
  report.writeUInt16LE(1, 256);
  report.writeUInt16LE(3, 258);
  Buffer.from(reportData).copy(report, 320);
  return report;
}

export const CODE_HASH = Buffer.alloc(32, 0xcc);

/** What can be different in a leaf. */
export interface LeafOptions {
  readonly quote?: Buffer | undefined;
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly names?: readonly string[];
  readonly configurationRoot?: Buffer;
  /** Extensions of an app's own leaf. */
  readonly app?: { readonly configurationRoot: Buffer; readonly keySource: string };
  readonly change?: (extensions: Map<string, Buffer>) => void;
  readonly extra?: readonly Extension[];
}

export const CA_NAME = "Enclave OS CA 0011aabb";

/** An enclave's certificate authority. */
export class TestAuthority {
  readonly key = keys();
  /** The enclave CA, and what stands above it. */
  readonly above: readonly Buffer[];

  constructor(operator?: { readonly subject: string; readonly key: Keys; readonly der: Buffer }) {
    const own = certificate({
      subject: CA_NAME,
      issuer: operator?.subject ?? CA_NAME,
      key: this.key,
      signer: operator?.key ?? this.key,
      extensions: AUTHORITY,
    });
    this.above = operator === undefined ? [own] : [own, operator.der];
  }

  leaf(key: Keys, options: LeafOptions = {}): Buffer {
    const app = Buffer.from("notes");
    const values = new Map<string, Buffer>();
    if (options.quote !== undefined) values.set("1.2.840.113741.1.13.1.0", options.quote);
    values.set(`${ARC}.1.1`, options.configurationRoot ?? Buffer.alloc(32, 1));
    values.set(`${ARC}.2.1`, app);
    values.set(`${ARC}.2.2`, Buffer.from("/notes"));
    values.set(`${ARC}.2.3`, CODE_HASH);
    values.set(`${ARC}.2.5`, sha256(Buffer.of(0, app.length), app, CODE_HASH));
    if (options.app !== undefined) {
      values.set(`${ARC}.3.1`, options.app.configurationRoot);
      values.set(`${ARC}.3.2`, CODE_HASH);
      values.set(`${ARC}.3.4`, Buffer.from(options.app.keySource));
    }
    options.change?.(values);
    const names = (options.names ?? ["localhost"]).map((dns) => tlv(0x82, Buffer.from(dns)));
    return certificate({
      subject: "Enclave OS",
      issuer: CA_NAME,
      key,
      signer: this.key,
      notBefore: options.notBefore ?? NOW - 3_600_000,
      notAfter: options.notAfter ?? NOW + DAY - 3_600_000,
      extensions: [
        { oid: "2.5.29.17", value: sequence(...names) },
        ...Array.from(values, ([id, value]) => ({ oid: id, value })),
        ...(options.extra ?? []),
      ],
    });
  }
}

/** A policy that accepts what is made here. */
export function policyText(platform: TestPlatform, more = "", tier = "certificate"): string {
  return [
    "format = 1",
    "[roots]",
    `development = ["${platform.rootFingerprint}"]`,
    "[enclave]",
    `mrenclave = ["${MRENCLAVE}"]`,
    "[freshness]",
    `min_tier = "${tier}"`,
    more,
  ].join("\n");
}
