/** Certificate chains as PEM (RFC 7468), read strictly: one chain has one spelling, so no byte of it can be changed unnoticed. */

import { fromBase64 } from "./bytes.js";

const BEGIN = "-----BEGIN CERTIFICATE-----\n";
const END = "-----END CERTIFICATE-----\n";

/**
 * Reads exactly `count` certificates (DER), in lines of 64 characters, with nothing around them but the one NUL that quoting
 * libraries put at the end; `undefined` for anything else.
 */
export function certificatesOfPem(text: string, count: number): Buffer[] | undefined {
  const certificates: Buffer[] = [];
  let rest = text.endsWith("\0") ? text.slice(0, -1) : text;
  while (certificates.length < count) {
    const end = rest.indexOf(END);
    if (!rest.startsWith(BEGIN) || end === -1) return undefined;
    const body = rest.slice(BEGIN.length, end);
    const der = fromBase64(body.replaceAll("\n", ""));
    if (der === undefined || linesOf(der) !== body) return undefined;
    certificates.push(der);
    rest = rest.slice(end + END.length);
  }
  return rest === "" ? certificates : undefined;
}

/** One certificate as PEM. */
export function pemOf(der: Buffer): string {
  return `${BEGIN}${linesOf(der)}${END}`;
}

function linesOf(der: Buffer): string {
  return der.toString("base64").replace(/.{1,64}/g, "$&\n");
}
