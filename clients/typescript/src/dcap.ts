/**
 * DCAP verification of an SGX quote over node:crypto, offline, at a given moment.
 *
 * The order is that of the chain of trust: the root, what it says is revoked, what it signs about platforms, the PCK,
 * the quoting enclave, the attestation key, the quote.
 */

import { type KeyObject, createPublicKey, verify } from "node:crypto";

import { equal, sha256, toHex } from "./bytes.js";
import type { Collateral } from "./collateral.js";
import { type Platform, platformOf } from "./pck.js";
import { certificatesOfPem } from "./pem.js";
import type { Quote } from "./quote.js";
import { converge, parseQeIdentity, parseTcbInfo, qeMismatch, ratePlatform, rateQe, type Rating } from "./tcb.js";
import { toRfc3339 } from "./time.js";
import { Certificate, RevocationList, mayIssue } from "./x509.js";

/** SHA-256 of Intel's SGX Root CA certificate (DER). */
export const INTEL_ROOT = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";

const INTEL_QE_VENDOR = "939a7233f79c4ca9940a0db3957f0607";
const AUTHENTICATION_DATA = 32;

/** A quote that does not hold, or cannot be judged with this collateral. */
export class QuoteVerificationError extends Error {
  override readonly name = "QuoteVerificationError";
}

/** What a quote that holds says of its platform. */
export interface VerifiedQuote extends Rating {
  readonly platform: Platform;
  /** When the first part of the collateral is due to be replaced, in milliseconds since 1970. */
  readonly nextUpdate: number;
}

/**
 * Verifies a quote under exactly this root certificate (DER); throws {@link QuoteVerificationError}. `now` is in
 * milliseconds since 1970.
 */
export function verifyQuote(quote: Quote, collateral: Collateral, rootDer: Buffer, now: number): VerifiedQuote {
  try {
    requireThat(equal(quote.pckChain[2], rootDer), "the quote leads to another root");
    return judge(quote, collateral, new Certificate(rootDer), now);
  } catch (error) {
    if (error instanceof QuoteVerificationError) throw error;
    throw new QuoteVerificationError((error as Error).message);
  }
}

function judge(quote: Quote, collateral: Collateral, root: Certificate, now: number): VerifiedQuote {
  requireThat(toHex(quote.vendor) === INTEL_QE_VENDOR, "the quoting enclave is of an unknown vendor");
  const rootList = new RevocationList(collateral.rootCaCrl);
  const lists = [rootList, new RevocationList(collateral.pckCrl)];
  requireThat(rootList.isSignedBy(root), "the root's revocation list is not signed by the root");
  requireThat(!rootList.revokes(root), "the root is revoked");
  for (const list of lists) {
    requireThat(
      list.thisUpdate <= now,
      `a revocation list is from the future (${toRfc3339(list.thisUpdate)}): fetch the collateral anew, or mend the clock`,
    );
  }
  const trust: Trust = { root, lists, now };

  const tcbInfo = parseTcbInfo(
    signedText(trust, collateral.tcbInfoIssuerChain, collateral.tcbInfo, collateral.tcbInfoSignature, "TCB info"),
  );
  requireCurrent("TCB info", tcbInfo.issued, tcbInfo.nextUpdate, now);
  const identity = parseQeIdentity(
    signedText(trust, collateral.qeIdentityIssuerChain, collateral.qeIdentity, collateral.qeIdentitySignature, "QE identity"),
  );
  requireCurrent("QE identity", identity.issued, identity.nextUpdate, now);

  const [pck, ca] = [new Certificate(quote.pckChain[0]), new Certificate(quote.pckChain[1])];
  const listSigner = signerOf(trust, collateral.pckCrlIssuerChain, "PCK revocation list");
  requireThat(equal(listSigner, ca.raw), "the PCK revocation list is of another authority than the PCK certificate");
  requireIssued(trust, ca, root);
  requireThat(mayIssue(ca, 0), `“${ca.name}” may not sign certificates`);
  requireEndEntity(trust, pck, ca);
  const platform = platformOf(pck);

  requireThat(
    ecdsa(pck.publicKey(), quote.qeReport.bytes, quote.qeReportSignature),
    "the quoting enclave's report is not signed by the PCK",
  );
  requireThat(quote.authenticationData.length === AUTHENTICATION_DATA, "the authentication data is not 32 bytes long");
  requireThat(
    equal(sha256(quote.attestationKey, quote.authenticationData), quote.qeReport.reportData.subarray(0, 32)),
    "the attestation key is not the one the quoting enclave reports",
  );
  const mismatch = qeMismatch(identity, quote.qeReport);
  requireThat(mismatch === undefined, `the quoting enclave is not Intel's: another ${mismatch}`);
  requireThat(
    ecdsa(attestationKey(quote.attestationKey), quote.signed, quote.signature),
    "the quote is not signed by the attestation key",
  );

  requireThat(equal(platform.fmspc, tcbInfo.fmspc), "the TCB info is about another kind of platform (FMSPC): fetch the collateral of this one");
  requireThat(equal(platform.pceId, tcbInfo.pceId), "the TCB info is about another provisioning enclave (PCEID): fetch the collateral of this platform");
  const rating = converge(ratePlatform(tcbInfo, platform), rateQe(identity, quote.qeReport));
  requireThat(rating.status !== "Revoked", "the platform's TCB level is Revoked, Intel no longer trusts such platforms: update firmware and microcode and register the platform anew, or move the enclave to another machine");
  const nextUpdate = Math.min(tcbInfo.nextUpdate, identity.nextUpdate, ...lists.map((list) => list.nextUpdate));
  return { ...rating, platform, nextUpdate };
}

/** What certificates are judged by. */
interface Trust {
  readonly root: Certificate;
  readonly lists: readonly RevocationList[];
  readonly now: number;
}

/** The signer (DER) of a chain in the collateral, which consists of it and the root. */
function signerOf(trust: Trust, pem: string, what: string): Buffer {
  const [signer, root] = certificatesOfPem(pem, 2) ?? [];
  if (signer === undefined || root === undefined || !equal(root, trust.root.raw)) {
    throw new QuoteVerificationError(`the issuer chain of the ${what} is not its signer and the root in PEM`);
  }
  return signer;
}

/** The text, once it is known to be signed by a key that the root itself vouches for. */
function signedText(trust: Trust, pem: string, text: string, signature: Buffer, what: string): string {
  const signer = new Certificate(signerOf(trust, pem, what));
  requireEndEntity(trust, signer, trust.root);
  requireThat(ecdsa(signer.publicKey(), Buffer.from(text), signature), `the signature of the ${what} is wrong`);
  return text;
}

function requireEndEntity(trust: Trust, certificate: Certificate, issuer: Certificate): void {
  requireThat(!certificate.isAuthority(), `“${certificate.name}” is an authority and may not sign anything else`);
  requireIssued(trust, certificate, issuer);
}

/** The certificate is signed by the issuer, valid now, and not revoked (RFC 5280 §6.1.3). */
function requireIssued(trust: Trust, certificate: Certificate, issuer: Certificate): void {
  const name = `“${certificate.name}”`;
  requireThat(
    certificate.hasEcdsaSha256 && isP256(issuer) && certificate.isSignedBy(issuer),
    `${name} is not signed by “${issuer.name}” with ECDSA P-256`,
  );
  requireThat(isP256(certificate), `${name} is not about a P-256 key`);
  const critical = certificate.unknownCritical();
  requireThat(critical === undefined, `${name} has an unknown critical extension ${critical}`);
  requireThat(
    certificate.isValidAt(trust.now),
    `${name} is valid from ${toRfc3339(certificate.notBefore)} to ${toRfc3339(certificate.notAfter)} only`,
  );
  const list = trust.lists.find((candidate) => equal(candidate.issuer, certificate.issuer));
  if (list === undefined) throw new QuoteVerificationError(`no revocation list says whether ${name} is revoked`);
  requireThat(issuer.maySignRevocations() && list.isSignedBy(issuer), `the revocation list for ${name} is not its issuer's`);
  requireThat(trust.now < list.nextUpdate, `the revocation list for ${name} expired at ${toRfc3339(list.nextUpdate)}: fetch the collateral anew, or mend the clock`);
  requireThat(
    !list.revokes(certificate),
    `${name} is revoked, so nothing it signs is worth anything: fetch the collateral anew, and if it stays so, move the enclave to another machine`,
  );
}

function requireCurrent(what: string, issued: number, nextUpdate: number, now: number): void {
  requireThat(issued <= now, `the ${what} is from the future (${toRfc3339(issued)}): fetch the collateral anew, or mend the clock`);
  requireThat(now <= nextUpdate, `the ${what} expired at ${toRfc3339(nextUpdate)}: fetch the collateral anew, or mend the clock`);
}

function isP256(certificate: Certificate): boolean {
  return certificate.publicKey().asymmetricKeyDetails?.namedCurve === "prime256v1";
}

function attestationKey(point: Buffer): KeyObject {
  const x = point.subarray(0, 32).toString("base64url");
  const y = point.subarray(32).toString("base64url");
  return createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
}

/** ECDSA with SHA-256 and a signature of r ‖ s. */
function ecdsa(key: KeyObject, message: Buffer, signature: Buffer): boolean {
  return verify("sha256", message, { key, dsaEncoding: "ieee-p1363" }, signature);
}

function requireThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new QuoteVerificationError(otherwise);
}
