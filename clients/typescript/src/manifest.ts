/** The configuration as named leaves of a tree, and proofs of single leaves. */

import { equal, fromBase64, fromHex, sha256 } from "./bytes.js";
import { type Json, JsonError, array, canonical, count, members, parseJson, string } from "./json.js";
import { type InclusionProof, leafHash, provenRoot, treeRoot } from "./merkle.js";

/** One setting. `value` is told unless it is withheld; its hash is then that of a salt and the value. */
export interface Leaf {
  readonly name: string;
  readonly valueHash: Buffer;
  readonly value:
    | { readonly kind: "raw"; readonly bytes: Buffer }
    | { readonly kind: "json"; readonly json: Json }
    | { readonly kind: "withheld" };
}

/** All leaves, ordered by name, each name once, with the root that follows from them. */
export class Manifest {
  private constructor(
    readonly leaves: readonly Leaf[],
    /** Extension `.1.1` of a leaf certificate; of an app's own manifest, extension `.3.1`. */
    readonly root: Buffer,
  ) {}

  /** Reads a manifest; throws {@link JsonError} unless every hash in it follows. */
  static parse(text: string): Manifest {
    return Manifest.of(parseJson(text));
  }

  /** Reads a manifest that is part of a document; throws {@link JsonError}. */
  static of(json: Json | undefined): Manifest {
    const document = members(json, "manifest", ["version", "root", "leaves"]);
    if (document["version"] !== 1) throw new JsonError("manifest: this reader knows format 1 only");
    const leaves = array(document["leaves"], "leaves").map(readLeaf);
    leaves.reduce((before: Leaf | undefined, leaf) => {
      if (before !== undefined && before.name >= leaf.name) {
        throw new JsonError(`manifest: leaf ${leaf.name} is out of order or there twice`);
      }
      return leaf;
    }, undefined);
    const root = treeRoot(leaves.map(hashOf));
    if (!equal(root, hash(document["root"], "root of the manifest"))) {
      throw new JsonError("manifest: the stated root is not the root of the leaves");
    }
    return new Manifest(leaves, root);
  }

  /** The leaf of that name. */
  leaf(name: string): Leaf | undefined {
    return this.leaves.find((leaf) => leaf.name === name);
  }

  /** Root of an app's own tree: its leaves without `app.<name>.` in front. */
  appRoot(app: string): Buffer {
    const prefix = `app.${app}.`;
    const own = this.leaves.filter((leaf) => leaf.name.startsWith(prefix));
    return treeRoot(own.map((leaf) => hashOf({ ...leaf, name: leaf.name.slice(prefix.length) })));
  }
}

/** One leaf and the way from it to the root. */
export class Proof {
  private constructor(
    readonly leaf: Leaf,
    readonly inclusion: InclusionProof,
  ) {}

  /** Reads a proof; throws {@link JsonError}. */
  static parse(text: string): Proof {
    return Proof.of(parseJson(text));
  }

  /** Reads a proof that is part of a document; throws {@link JsonError}. */
  static of(json: Json | undefined): Proof {
    const document = members(json, "proof", ["leaf", "index", "tree_size", "path", "root"]);
    hash(document["root"], "root of the proof");
    const path = array(document["path"], "path").map((sibling) => hash(sibling, "a hash in the path"));
    const index = count(document["index"], "index");
    return new Proof(readLeaf(document["leaf"]), { index, treeSize: count(document["tree_size"], "tree_size"), path });
  }

  /** Whether the leaf is part of the configuration with this root, which comes from a verified certificate. */
  holds(root: Uint8Array): boolean {
    const proven = provenRoot(hashOf(this.leaf), this.inclusion);
    return proven !== undefined && equal(proven, root);
  }
}

function readLeaf(json: Json | undefined): Leaf {
  const leaf = members(json, "a leaf", ["name", "value_hash", "bytes?", "json?"]);
  const name = string(leaf["name"], "name of a leaf");
  if (!/^[\x21-\x7e]{1,255}$/.test(name)) throw new JsonError("a leaf's name is not 1 to 255 printable ASCII characters");
  const valueHash = hash(leaf["value_hash"], `value_hash of ${name}`);
  const value = valueOf(name, leaf["bytes"], leaf["json"]);
  const computed =
    value.kind === "raw" ? sha256(value.bytes) : value.kind === "json" ? sha256(canonical(value.json)) : valueHash;
  if (!equal(computed, valueHash)) throw new JsonError(`the value of leaf ${name} does not have the hash beside it`);
  return { name, valueHash, value };
}

function valueOf(name: string, bytes: Json | undefined, json: Json | undefined): Leaf["value"] {
  if (bytes === undefined) return json === undefined ? { kind: "withheld" } : { kind: "json", json };
  if (json !== undefined) throw new JsonError(`leaf ${name} has both bytes and json`);
  const raw = fromBase64(string(bytes, `bytes of ${name}`));
  if (raw === undefined) throw new JsonError(`bytes of ${name} is not base64`);
  return { kind: "raw", bytes: raw };
}

/** Hash of the tree's entry: u16 BE name length ‖ name ‖ value hash. */
function hashOf(leaf: Leaf): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(leaf.name.length);
  return leafHash(Buffer.concat([length, Buffer.from(leaf.name, "ascii"), leaf.valueHash]));
}

function hash(json: Json | undefined, what: string): Buffer {
  const bytes = fromHex(string(json, what), 32);
  if (bytes === undefined) throw new JsonError(`${what} is not 64 lower-case hexadecimal digits`);
  return bytes;
}
