/** Writes the documents that the package only reads. */

import { type Json, type JsonObject, canonical } from "../../src/json.js";
import type { Collateral } from "../../src/collateral.js";
import { leafHash, treeRoot } from "../../src/merkle.js";
import { sha256 } from "./pki.js";

export function collateralJson(collateral: Collateral): JsonObject {
  return {
    pck_crl_issuer_chain: collateral.pckCrlIssuerChain,
    root_ca_crl: collateral.rootCaCrl.toString("hex"),
    pck_crl: collateral.pckCrl.toString("hex"),
    tcb_info_issuer_chain: collateral.tcbInfoIssuerChain,
    tcb_info: collateral.tcbInfo,
    tcb_info_signature: collateral.tcbInfoSignature.toString("hex"),
    qe_identity_issuer_chain: collateral.qeIdentityIssuerChain,
    qe_identity: collateral.qeIdentity,
    qe_identity_signature: collateral.qeIdentitySignature.toString("hex"),
  };
}

export type LeafValue = { readonly bytes: Buffer } | { readonly json: Json } | Record<string, never>;

// An alias, because an interface is not assignable to an object with any keys.
export type ManifestJson = { version: number; root: string; leaves: JsonObject[] };

export function manifestJson(values: Readonly<Record<string, LeafValue>>): ManifestJson {
  const leaves = Object.keys(values)
    .sort()
    .map((name) => {
      const value = values[name] ?? {};
      if ("bytes" in value && value.bytes !== undefined) {
        return { name, value_hash: sha256(value.bytes).toString("hex"), bytes: value.bytes.toString("base64") };
      }
      if ("json" in value && value.json !== undefined) {
        return { name, value_hash: sha256(Buffer.from(canonical(value.json))).toString("hex"), json: value.json };
      }
      return { name, value_hash: "77".repeat(32) };
    });
  const hashes = leaves.map(({ name, value_hash }) =>
    leafHash(Buffer.concat([Buffer.of(0, name.length), Buffer.from(name), Buffer.from(value_hash, "hex")])),
  );
  return { version: 1, root: treeRoot(hashes).toString("hex"), leaves };
}
