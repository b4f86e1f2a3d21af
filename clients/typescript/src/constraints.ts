/** Name constraints: what the certificates below an authority may be for (RFC 5280 §4.2.1.10). */

import { DerError, DerReader, Tag } from "./der.js";
import type { Certificate } from "./x509.js";

const SUBJECT_ALT_NAME = "2.5.29.17";
const NAME_CONSTRAINTS = "2.5.29.30";
/** Tags of GeneralName (§4.2.1.6) for the kinds that a certificate here may be for. */
const DNS = 0x82;
const ADDRESS = 0x87;
/** Bounds the work that the constraints of one chain may ask for. */
const MAX_COMPARISONS = 250_000;

interface Name {
  readonly kind: number;
  readonly bytes: Buffer;
}

interface Constraints {
  readonly permitted: readonly Name[];
  readonly excluded: readonly Name[];
}

/**
 * Holds every name of a chain, leaf first, to the constraints of all that stands above it; throws where one does not
 * hold. Constraints on other kinds of names than DNS names and addresses cannot be judged and are refused, and so are
 * those of a leaf, which only an authority may have.
 */
export function requireNamesAllowed([leaf, ...above]: readonly Certificate[]): void {
  if (leaf?.extension(NAME_CONSTRAINTS) !== undefined) {
    throw new Error(`“${leaf.name}” has name constraints, which only an authority may have`);
  }
  let left = MAX_COMPARISONS;
  for (const [at, authority] of above.entries()) {
    const constraints = constraintsOf(authority);
    if (constraints === undefined) continue;
    for (const below of leaf === undefined ? [] : [leaf, ...above.slice(0, at)]) {
      const names = alternativeNames(below);
      left -= names.length * (constraints.permitted.length + constraints.excluded.length);
      if (left < 0) throw new Error("the chain has more names and name constraints than anybody needs");
      const refused = names.find((name) => !allows(constraints, name));
      if (refused !== undefined) {
        throw new Error(
          `“${authority.name}” may not vouch for the name ${shown(refused)} (nameConstraints): the operator has to allow ` +
            "it, or the image's served_names have to leave it out",
        );
      }
    }
  }
}

function constraintsOf(authority: Certificate): Constraints | undefined {
  const value = authority.extension(NAME_CONSTRAINTS);
  if (value === undefined) return undefined;
  const fields = DerReader.sequence(value, "nameConstraints");
  const subtrees = (tag: number): Name[] => {
    const wrapped = fields.optional(tag);
    return wrapped === undefined ? [] : list(wrapped.content).map((subtree) => base(subtree, authority));
  };
  const constraints = { permitted: subtrees(0xa0), excluded: subtrees(0xa1) };
  fields.end();
  return constraints;
}

/** The content of each subtree in a list of them. */
function list(content: Buffer): Buffer[] {
  const reader = new DerReader(content, "nameConstraints");
  const found: Buffer[] = [];
  while (!reader.done) found.push(reader.expect(Tag.sequence).content);
  return found;
}

/** A subtree is its base alone: the profile has no minimum and no maximum. */
function base(subtree: Buffer, authority: Certificate): Name {
  const reader = new DerReader(subtree, "nameConstraints");
  const { tag, content } = reader.next();
  reader.end();
  if (tag !== DNS && tag !== ADDRESS) {
    throw new Error(
      `“${authority.name}” constrains names of another kind than DNS names and addresses (nameConstraints), which is not judged here`,
    );
  }
  if (tag === ADDRESS && !isRange(content)) throw new DerError("nameConstraints: a range of addresses is malformed");
  return { kind: tag, bytes: content };
}

function alternativeNames(certificate: Certificate): Name[] {
  const value = certificate.extension(SUBJECT_ALT_NAME);
  if (value === undefined) return [];
  const reader = DerReader.sequence(value, "subjectAltName");
  const names: Name[] = [];
  while (!reader.done) {
    const { tag, content } = reader.next();
    names.push({ kind: tag, bytes: content });
  }
  return names;
}

/** Not in an excluded subtree and, if any permitted one is of its kind, in one of those. */
function allows({ permitted, excluded }: Constraints, name: Name): boolean {
  const ofKind = permitted.filter(({ kind }) => kind === name.kind);
  if (ofKind.length > 0 && !ofKind.some((subtree) => holds(subtree, name))) return false;
  return !excluded.some((subtree) => subtree.kind === name.kind && holds(subtree, name));
}

/** An empty DNS base holds every name; one that starts with a dot holds what is below it only. */
function holds(subtree: Name, name: Name): boolean {
  if (name.kind === ADDRESS) return inRange(name.bytes, subtree.bytes);
  const [text, suffix] = [lower(name), lower(subtree)];
  if (suffix === "" || text === suffix) return true;
  const below = suffix.startsWith(".") ? suffix : `.${suffix}`;
  return text.length > below.length && text.endsWith(below);
}

function lower({ bytes }: Name): string {
  return bytes.toString("latin1").toLowerCase();
}

/** An address of 4 or 16 bytes, and a range of as many and a mask. */
function inRange(address: Buffer, range: Buffer): boolean {
  if (range.length !== 2 * address.length) return false;
  const mask = range.subarray(address.length);
  return address.every((byte, at) => ((byte ^ (range[at] ?? 0)) & (mask[at] ?? 0)) === 0);
}

/** The mask has no bit behind one that is missing. */
function isRange(content: Buffer): boolean {
  if (content.length !== 8 && content.length !== 32) return false;
  const mask = [...content.subarray(content.length / 2)].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(mask);
}

function shown({ kind, bytes }: Name): string {
  return kind === ADDRESS ? [...bytes].join(".") : JSON.stringify(bytes.toString("latin1").slice(0, 100));
}
