/** Tree hash and inclusion proofs (RFC 9162 §2.1) with SHA-256. */

import { sha256 } from "./bytes.js";

const LEAF = Buffer.of(0);
const NODE = Buffer.of(1);

/** SHA-256(00 ‖ entry). */
export function leafHash(entry: Uint8Array): Buffer {
  return sha256(LEAF, entry);
}

/** SHA-256(01 ‖ left ‖ right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return sha256(NODE, left, right);
}

/** The tree hash over leaf hashes (§2.1.1). */
export function treeRoot(leaves: readonly Buffer[]): Buffer {
  const [first] = leaves;
  if (first === undefined) return sha256();
  if (leaves.length === 1) return first;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(treeRoot(leaves.slice(0, split)), treeRoot(leaves.slice(split)));
}

/** Where a leaf is, and the hashes beside the way to the root. */
export interface InclusionProof {
  /** Position of the leaf, from 0. */
  readonly index: number;
  readonly treeSize: number;
  /** From the leaf upwards. */
  readonly path: readonly Buffer[];
}

/** The root that follows from a leaf and its proof (§2.1.3.2); `undefined` if the proof is not of any tree. */
export function provenRoot(leaf: Buffer, proof: InclusionProof): Buffer | undefined {
  if (proof.index < 0 || proof.index >= proof.treeSize) return undefined;
  let at = proof.index;
  let last = proof.treeSize - 1;
  let hash = leaf;
  for (const sibling of proof.path) {
    if (last === 0) return undefined;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 ? hash : undefined;
}

/** Not a shift: positions may be beyond 32 bits. */
function half(value: number): number {
  return Math.floor(value / 2);
}
