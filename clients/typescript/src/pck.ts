/** What a PCK certificate says of its platform (Intel SGX PCK Certificate and CRL Profile, §1.3.5). */

import { DerError, DerReader, type Element, Tag, oid, unsigned } from "./der.js";
import type { Certificate } from "./x509.js";

const SGX = "1.2.840.113741.1.13.1";

/** The platform that a PCK certificate is for. */
export interface Platform {
  /** 16 bytes that name this one processor package set. */
  readonly ppid: Buffer;
  /** The 16 component security versions of the level it was certified at. */
  readonly cpuSvn: Buffer;
  readonly pceSvn: number;
  readonly pceId: Buffer;
  /** Family, model, stepping, platform and custom SKU. */
  readonly fmspc: Buffer;
}

/** Reads the SGX extension; throws {@link DerError}. */
export function platformOf(certificate: Certificate): Platform {
  const extension = certificate.extension(SGX);
  if (extension === undefined) throw new DerError("PCK certificate: no SGX extension");
  const fields = entries(extension);
  const tcb = entries(value(fields, `${SGX}.2`, Tag.sequence).raw);
  return {
    ppid: octets(fields, `${SGX}.1`, 16),
    cpuSvn: octets(tcb, `${SGX}.2.18`, 16),
    pceSvn: Number(unsigned(value(tcb, `${SGX}.2.17`, Tag.integer).content)),
    pceId: octets(fields, `${SGX}.3`, 2),
    fmspc: octets(fields, `${SGX}.4`, 6),
  };
}

/** A sequence of pairs of an object identifier and a value, each identifier once. */
function entries(bytes: Buffer): Map<string, Element> {
  const list = DerReader.sequence(bytes, "SGX extension");
  const found = new Map<string, Element>();
  while (!list.done) {
    const pair = list.sequence();
    const name = oid(pair.expect(Tag.oid).content);
    const element = pair.next();
    pair.end();
    if (found.has(name)) throw new DerError(`SGX extension: ${name} occurs twice`);
    found.set(name, element);
  }
  return found;
}

function value(fields: Map<string, Element>, name: string, tag: number): Element {
  const element = fields.get(name);
  if (element?.tag !== tag) throw new DerError(`SGX extension: ${name} is missing or of another kind`);
  return element;
}

function octets(fields: Map<string, Element>, name: string, length: number): Buffer {
  const { content } = value(fields, name, Tag.octetString);
  if (content.length !== length) throw new DerError(`SGX extension: ${name} is not ${length} bytes long`);
  return content;
}
