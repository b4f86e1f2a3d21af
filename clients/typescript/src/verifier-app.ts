/** Checks of what the certificate says of an app, of the configuration, and of who vouches for the enclave. */

import { equal, sha256, toHex } from "./bytes.js";
import type { LeafCertificate } from "./leaf-certificate.js";
import type { Manifest } from "./manifest.js";
import type { Policy } from "./policy.js";
import type { Judgement } from "./verifier.js";
import type { Certificate } from "./x509.js";

/** The checks `app`, `code-hash` and `key-source`. */
export function judgeApp(judgement: Judgement, policy: Policy, leaf: LeafCertificate): void {
  const wanted = policy.app;
  if (wanted === undefined) return;
  const claim = leaf.apps.find(({ name }) => name === wanted.name);
  const found = leaf.apps.map(({ name }) => name).join(", ") || "none";
  judgement.record("app", claim !== undefined, found, wanted.name, `the app ${wanted.name} is not loaded there`);
  if (claim === undefined) return;
  if (wanted.codeHashes !== undefined) {
    const hash = toHex(claim.codeHash);
    const message = `other code runs as ${wanted.name}`;
    judgement.record("code-hash", wanted.codeHashes.includes(hash), hash, wanted.codeHashes.join(" or "), message);
  }
  if (wanted.keySource !== undefined) {
    const source = leaf.app?.keySource ?? "not in this certificate";
    const message =
      leaf.app === undefined
        ? `only the app's own certificate says where its key is from: connect with the hostname of ${wanted.name}`
        : `the data of ${wanted.name} is under a key of another source`;
    const passed = wanted.keySource === "byok" ? source.startsWith("byok:") : source === wanted.keySource;
    judgement.record("key-source", passed, source, wanted.keySource, message);
  }
}

/** The check `configuration`: roots and leaves that the policy names, and an evidence document's manifest. */
export function judgeConfiguration(
  judgement: Judgement,
  policy: Policy,
  leaf: LeafCertificate,
  manifest: Manifest | undefined,
  isEvidence: boolean,
): void {
  const wanted = policy.configuration;
  if (wanted === undefined && !isEvidence) return;
  const root = toHex(leaf.configurationRoot);
  const problems: string[] = [];
  const scope = manifest && Scope.of(manifest, leaf);
  if (manifest !== undefined && scope === undefined) {
    problems.push("the manifest does not lead to the root in the certificate: it is of another configuration");
  }
  if (wanted?.root !== undefined && !wanted.root.includes(root)) {
    problems.push("the configuration root is another: something in the enclave is configured otherwise");
  }
  if (wanted?.appRoot !== undefined) {
    const name = policy.app?.name;
    const appRoot = leaf.app?.configurationRoot ?? (name === undefined ? undefined : scope?.appRoot(name));
    if (appRoot === undefined) {
      problems.push("the app's configuration root is in its own certificate: connect with its hostname, or give the manifest and name the app in [app]");
    } else if (!wanted.appRoot.includes(toHex(appRoot))) {
      problems.push("the app is configured otherwise (app_root)");
    }
  }
  for (const [name, hashes] of wanted?.leaves ?? []) {
    const problem = leafProblem(name, hashes, manifest, scope);
    if (problem !== undefined) problems.push(problem);
  }
  judgement.record("configuration", problems.length === 0, root, wantedText(policy), problems.join("; "));
}

function leafProblem(
  name: string,
  hashes: readonly string[],
  manifest: Manifest | undefined,
  scope: Scope | undefined,
): string | undefined {
  if (manifest === undefined) return `${name} is in the manifest, which was not fetched`;
  if (scope === undefined) return undefined; // a manifest of something else says nothing, which is told once
  const hash = scope.valueHash(name);
  if (hash === undefined) return `${name} is not in the manifest`;
  return hashes.includes(toHex(hash)) ? undefined : `${name} has another value`;
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
    "no operator that the policy names has certified this enclave",
  );
}

function wantedText({ configuration }: Policy): string {
  const parts: string[] = [];
  if (configuration?.root !== undefined) parts.push(`root ${configuration.root.join(" or ")}`);
  if (configuration?.appRoot !== undefined) parts.push(`app_root ${configuration.appRoot.join(" or ")}`);
  for (const [name, hashes] of configuration?.leaves ?? []) parts.push(`${name} ${hashes.join(" or ")}`);
  return parts.join("; ") || "a manifest that follows from the certificate";
}
