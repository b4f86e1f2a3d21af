/** Checks of what the certificate says of an app, of the configuration, and of who vouches for the enclave. */

import { equal, sha256, toHex } from "./bytes.js";
import { CA_LEAF, type EvidenceDocument } from "./evidence.js";
import type { LeafCertificate } from "./leaf-certificate.js";
import type { Manifest, Proof } from "./manifest.js";
import type { Policy } from "./policy.js";
import type { Judgement } from "./verifier.js";
import type { Certificate } from "./x509.js";

/** The checks `app`, `code-hash` and `key-source`. */
export function judgeApp(judgement: Judgement, policy: Policy, leaf: LeafCertificate): void {
  const wanted = policy.app;
  if (wanted === undefined) return;
  const claim = leaf.apps.find(({ name }) => name === wanted.name);
  const found = leaf.apps.map(({ name }) => name).join(", ") || "none";
  judgement.record("app", claim !== undefined, found, wanted.name, `the certificate does not name the app ${wanted.name}: it is not loaded, or this is the certificate of another app. Load it, or connect with its hostname`);
  if (claim === undefined) return;
  if (wanted.codeHashes !== undefined) {
    const hash = toHex(claim.codeHash);
    const message = `the app ${wanted.name} runs other code than the policy accepts: it was replaced. If this is the code you mean, put its hash into \`app.code_hashes\``;
    judgement.record("code-hash", wanted.codeHashes.includes(hash), hash, wanted.codeHashes.join(" or "), message);
  }
  if (wanted.keySource !== undefined) {
    const source = leaf.app?.keySource ?? "not in this certificate";
    const message =
      leaf.app === undefined
        ? `only the app's own certificate says where its key is from: connect with the hostname of ${wanted.name}`
        : `the data of ${wanted.name} is under another key than the policy accepts: load it again with the right key`;
    const passed = wanted.keySource === "byok" ? source.startsWith("byok:") : source === wanted.keySource;
    judgement.record("key-source", passed, source, wanted.keySource, message);
  }
}

/** What is known of the configuration beside the root in the certificate. It counts so far as it leads there. */
export interface Disclosed {
  readonly manifest: Manifest | undefined;
  readonly proofs: readonly Proof[];
}

/** The check `configuration`: roots and leaves that the policy names, and an evidence document's manifest. */
export function judgeConfiguration(
  judgement: Judgement,
  policy: Policy,
  leaf: LeafCertificate,
  disclosed: Disclosed,
  evidence: EvidenceDocument | undefined,
): void {
  const { manifest } = disclosed;
  const wanted = policy.configuration;
  if (wanted === undefined && evidence === undefined) return;
  const root = toHex(leaf.configurationRoot);
  const problems: string[] = [];
  const scope = manifest && Scope.of(manifest, leaf);
  if (manifest !== undefined && scope === undefined) {
    problems.push("the manifest does not lead to the root in the certificate: it is of another configuration. Ask the enclave for both anew");
  }
  const caProblem = evidence && caProblemOf(evidence, leaf);
  if (caProblem !== undefined) problems.push(caProblem);
  if (wanted?.root !== undefined && !wanted.root.includes(root)) {
    problems.push("the configuration root is not one of the policy's: something in the enclave is configured otherwise. `enclave-os proof` lists its settings; if they are what you want, put the root into `configuration.root`");
  }
  if (wanted?.appRoot !== undefined) {
    const name = policy.app?.name;
    const appRoot = leaf.app?.configurationRoot ?? (name === undefined ? undefined : scope?.appRoot(name));
    if (appRoot === undefined) {
      problems.push("the app's configuration root is in its own certificate: connect with its hostname, or give the manifest and name the app in [app]");
    } else if (!wanted.appRoot.includes(toHex(appRoot))) {
      problems.push(
        `the app's configuration root is ${toHex(appRoot)}: it is configured otherwise than the policy accepts; if that is what you want, put it into \`configuration.app_root\``,
      );
    }
  }
  for (const [name, hashes] of wanted?.leaves ?? []) {
    const problem = leafProblem(name, hashes, leaf, disclosed, scope);
    if (problem !== undefined) problems.push(problem);
  }
  judgement.record("configuration", problems.length === 0, root, wantedText(policy), problems.join("; "));
}

/** Of the enclave CA's certificate the leaf's signature binds the key alone; the configuration has all of it. */
function caProblemOf({ chain, caProof }: EvidenceDocument, leaf: LeafCertificate): string | undefined {
  if (caProof.leaf.name !== CA_LEAF || !caProof.holds(leaf.configurationRoot)) {
    return `\`ca_proof\` does not prove ${CA_LEAF} under the root in the certificate: it is of another configuration, or was changed. Ask the enclave for another document`;
  }
  const certificate = chain[1];
  if (certificate !== undefined && equal(sha256(certificate), caProof.leaf.valueHash)) return undefined;
  return `the second certificate is not the one that the enclave has for its CA (${CA_LEAF}): it was changed on its way. Ask the enclave for another document`;
}

function leafProblem(
  name: string,
  hashes: readonly string[],
  leaf: LeafCertificate,
  { manifest, proofs }: Disclosed,
  scope: Scope | undefined,
): string | undefined {
  const ofName = proofs.filter((proof) => proof.leaf.name === name);
  const proved = ofName.find((proof) => proof.holds(leaf.configurationRoot))?.leaf.valueHash;
  const hash = scope?.valueHash(name) ?? proved;
  if (hash !== undefined) {
    if (hashes.includes(toHex(hash))) return undefined;
    return `${name} has the value hash ${toHex(hash)}, which the policy does not accept; \`enclave-os proof ${name}\` shows the value. If it is what you want, put the hash into \`configuration.leaves\``;
  }
  if (ofName.length > 0) {
    return `the proof of ${name} does not lead to the root in the certificate: it is of another configuration. Ask the enclave for both anew`;
  }
  if (manifest === undefined) {
    return `${name} was not shown: it is mistyped, or neither its proof (/.enclave/v1/proofs/${name}) nor the manifest was given`;
  }
  if (scope === undefined) return undefined; // a manifest of something else says nothing, which is told once
  return `${name} is not in the manifest: it is mistyped, or a leaf of the core in the manifest of an app`;
}

/** A manifest and what of the certificate vouches for it. */
class Scope {
  private constructor(
    readonly manifest: Manifest,
    /** The app whose own tree it is, where leaves are named without `app.<name>.`. */
    readonly app: string | undefined,
  ) {}

  static of(manifest: Manifest, leaf: LeafCertificate): Scope | undefined {
    if (equal(manifest.root, leaf.configurationRoot)) return new Scope(manifest, undefined);
    if (leaf.app === undefined || !equal(manifest.root, leaf.app.configurationRoot)) return undefined;
    return new Scope(manifest, leaf.apps[0]?.name);
  }

  valueHash(name: string): Buffer | undefined {
    if (this.app === undefined) return this.manifest.leaf(name)?.valueHash;
    const prefix = `app.${this.app}.`;
    return name.startsWith(prefix) ? this.manifest.leaf(name.slice(prefix.length))?.valueHash : undefined;
  }

  appRoot(name: string): Buffer | undefined {
    return this.app === undefined ? this.manifest.appRoot(name) : undefined;
  }
}

/** The check `operator-ca`: one of the certificates above the enclave CA is a known one. */
export function judgeOperatorCa(judgement: Judgement, accepted: readonly string[], above: readonly Certificate[]): void {
  const found = above.map(({ raw }) => toHex(sha256(raw)));
  judgement.record(
    "operator-ca",
    found.some((fingerprint) => accepted.includes(fingerprint)),
    found.join(", ") || "none",
    accepted.join(" or "),
    "the enclave is not under an operator that the policy accepts: have its request signed by that CA (`enclave-os ca csr`, `ca install`)",
  );
}

function wantedText({ configuration }: Policy): string {
  const parts: string[] = [];
  if (configuration?.root !== undefined) parts.push(`root ${configuration.root.join(" or ")}`);
  if (configuration?.appRoot !== undefined) parts.push(`app_root ${configuration.appRoot.join(" or ")}`);
  for (const [name, hashes] of configuration?.leaves ?? []) parts.push(`${name} ${hashes.join(" or ")}`);
  return parts.join("; ") || "a manifest that follows from the certificate";
}
