/** What Intel publishes about platforms, as a host passes it on. */

import { fromHex } from "./bytes.js";
import { type Json, JsonError, members, parseJson, string } from "./json.js";

/** The exact texts and bytes that a quote is judged with. Nothing in it is trusted before it is verified. */
export interface Collateral {
  /** PEM, leaf first. */
  readonly pckCrlIssuerChain: string;
  /** DER. */
  readonly rootCaCrl: Buffer;
  /** DER. */
  readonly pckCrl: Buffer;
  /** PEM, leaf first. */
  readonly tcbInfoIssuerChain: string;
  /** The JSON text that is signed. */
  readonly tcbInfo: string;
  /** r ‖ s. */
  readonly tcbInfoSignature: Buffer;
  /** PEM, leaf first. */
  readonly qeIdentityIssuerChain: string;
  /** The JSON text that is signed. */
  readonly qeIdentity: string;
  /** r ‖ s. */
  readonly qeIdentitySignature: Buffer;
}

/** Longest document in bytes. */
export const MAX_COLLATERAL = 64 * 1024;

const MEMBERS = [
  "pck_crl_issuer_chain",
  "root_ca_crl",
  "pck_crl",
  "tcb_info_issuer_chain",
  "tcb_info",
  "tcb_info_signature",
  "qe_identity_issuer_chain",
  "qe_identity",
  "qe_identity_signature",
] as const;

/** Reads a collateral document; throws {@link JsonError}. */
export function parseCollateral(text: string): Collateral {
  if (text.length > MAX_COLLATERAL) throw new JsonError(`the collateral is longer than ${MAX_COLLATERAL} bytes`);
  return collateralOf(parseJson(text));
}

/** Reads a collateral document that is part of another; throws {@link JsonError}. */
export function collateralOf(json: Json | undefined): Collateral {
  const document = members(json, "collateral", MEMBERS);
  const text = (name: (typeof MEMBERS)[number]): string => string(document[name], name);
  const bytes = (name: (typeof MEMBERS)[number]): Buffer => {
    const value = fromHex(text(name));
    if (value === undefined) throw new JsonError(`${name} is not lower-case hexadecimal`);
    return value;
  };
  return {
    pckCrlIssuerChain: text("pck_crl_issuer_chain"),
    rootCaCrl: bytes("root_ca_crl"),
    pckCrl: bytes("pck_crl"),
    tcbInfoIssuerChain: text("tcb_info_issuer_chain"),
    tcbInfo: text("tcb_info"),
    tcbInfoSignature: bytes("tcb_info_signature"),
    qeIdentityIssuerChain: text("qe_identity_issuer_chain"),
    qeIdentity: text("qe_identity"),
    qeIdentitySignature: bytes("qe_identity_signature"),
  };
}
