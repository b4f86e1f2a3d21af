/** SGX quotes of version 3 with an ECDSA P-256 key (Intel SGX DCAP ECDSA Quote Library API, appendix A). */

import { view } from "./bytes.js";
import { certificatesOfPem } from "./pem.js";

const HEADER = 48;
const REPORT = 384;
const SIGNED = HEADER + REPORT;
const ECDSA_P256 = 2;
const PCK_CHAIN = 5;
/** Longest quote in bytes; a genuine one has about 5,000. */
const MAX_QUOTE = 16 * 1024;

/** Bytes that are not a quote which can be judged here. */
export class QuoteError extends Error {
  override readonly name = "QuoteError";
}

/** What the CPU reports of an enclave (Intel SDM, volume 3D, REPORT). */
export class Report {
  constructor(readonly bytes: Buffer) {}

  get cpuSvn(): Buffer {
    return this.bytes.subarray(0, 16);
  }
  get miscSelect(): number {
    return this.bytes.readUInt32LE(16);
  }
  get attributes(): Buffer {
    return this.bytes.subarray(48, 64);
  }
  get mrEnclave(): Buffer {
    return this.bytes.subarray(64, 96);
  }
  get mrSigner(): Buffer {
    return this.bytes.subarray(128, 160);
  }
  get isvProdId(): number {
    return this.bytes.readUInt16LE(256);
  }
  get isvSvn(): number {
    return this.bytes.readUInt16LE(258);
  }
  get reportData(): Buffer {
    return this.bytes.subarray(320, 384);
  }
  /** ATTRIBUTES.DEBUG: the host can read and change the enclave. */
  get debug(): boolean {
    return ((this.attributes[0] ?? 0) & 0x02) !== 0;
  }
}

/** A quote that was parsed, not verified. */
export interface Quote {
  /** Who made the quoting enclave. */
  readonly vendor: Buffer;
  /** Header and report: what the attestation key signed. */
  readonly signed: Buffer;
  readonly report: Report;
  /** Signature over `signed`: r ‖ s. */
  readonly signature: Buffer;
  /** The attestation key: x ‖ y. */
  readonly attestationKey: Buffer;
  /** The quoting enclave's own report, which names the attestation key. */
  readonly qeReport: Report;
  /** The PCK's signature over `qeReport`: r ‖ s. */
  readonly qeReportSignature: Buffer;
  readonly authenticationData: Buffer;
  /** PCK certificate, PCK CA and root (DER). */
  readonly pckChain: readonly [Buffer, Buffer, Buffer];
}

/** Parses a quote; throws {@link QuoteError}. */
export function parseQuote(bytes: Uint8Array): Quote {
  const all = view(bytes);
  if (all.length > MAX_QUOTE) throw new QuoteError(`${all.length} bytes are too many for a quote`);
  const reader = new Fields(all);
  const vendor = header(reader.take(HEADER));
  const report = new Report(reader.take(REPORT));
  const body = new Fields(reader.take(reader.u32()));
  reader.end();
  const signature = body.take(64);
  const attestationKey = body.take(64);
  const qeReport = new Report(body.take(REPORT));
  const qeReportSignature = body.take(64);
  const authenticationData = body.take(body.u16());
  const kind = body.u16();
  if (kind !== PCK_CHAIN) {
    throw new QuoteError(`certification data of type ${kind}, not the PCK certificate chain (type ${PCK_CHAIN})`);
  }
  const pckChain = chain(body.take(body.u32()));
  body.end();
  return {
    vendor,
    signed: all.subarray(0, SIGNED),
    report,
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    authenticationData,
    pckChain,
  };
}

/** Checks the header and gives the vendor of the quoting enclave. */
function header(bytes: Buffer): Buffer {
  const version = bytes.readUInt16LE(0);
  if (version !== 3) throw new QuoteError(`a quote of version ${version}, not 3`);
  const key = bytes.readUInt16LE(2);
  if (key !== ECDSA_P256) throw new QuoteError(`an attestation key of type ${key}, not ECDSA P-256 (type ${ECDSA_P256})`);
  if (bytes.readUInt32LE(4) !== 0) throw new QuoteError("a quote of something that is not an SGX enclave");
  return bytes.subarray(12, 28);
}

function chain(bytes: Buffer): [Buffer, Buffer, Buffer] {
  const [pck, ca, root] = certificatesOfPem(bytes.toString("latin1"), 3) ?? [];
  if (pck === undefined || ca === undefined || root === undefined) {
    throw new QuoteError("the PCK certificate chain in the quote is not three certificates in PEM");
  }
  return [pck, ca, root];
}

class Fields {
  #at = 0;

  constructor(readonly bytes: Buffer) {}

  take(length: number): Buffer {
    if (length > this.bytes.length - this.#at) throw new QuoteError("the quote ends too early");
    const taken = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  u16(): number {
    return this.take(2).readUInt16LE();
  }

  u32(): number {
    return this.take(4).readUInt32LE();
  }

  end(): void {
    if (this.#at !== this.bytes.length) throw new QuoteError("bytes after the end of the quote");
  }
}
