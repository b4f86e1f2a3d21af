/** What a verifier found: every check with its result, in the order in which they are made. */

import { toHex } from "./bytes.js";
import type { AppClaim, AppLeaf } from "./leaf-certificate.js";
import type { Tier } from "./policy.js";
import { toRfc3339 } from "./time.js";

/** Ids of the checks, the same in every client of this system. */
export const CHECK_IDS = [
  "policy",
  "evidence-format",
  "certificate-format",
  "certificate-chain",
  "certificate-time",
  "server-name",
  "quote-format",
  "root",
  "quote",
  "report-data",
  "debug",
  "measurement",
  "tcb-status",
  "advisories",
  "tier",
  "age",
  "app",
  "code-hash",
  "key-source",
  "configuration",
  "platform",
  "operator-ca",
] as const;
/** One of {@link CHECK_IDS}. */
export type CheckId = (typeof CHECK_IDS)[number];

/** One check. */
export interface Check {
  readonly check: CheckId;
  readonly passed: boolean;
  /** The value seen. */
  readonly found: string;
  /** The value the policy asks for. */
  readonly wanted?: string;
  /** Of a failure: the sentence a person needs. */
  readonly message?: string;
}

/** What the quote says of the enclave; hashes in hexadecimal. */
export interface EnclaveFacts {
  readonly mrEnclave: string;
  readonly mrSigner: string;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly debug: boolean;
  readonly cpuSvn: string;
}

/** What the quote says of the platform; bytes in hexadecimal. */
export interface TcbFacts {
  readonly status: string;
  readonly advisories: readonly string[];
  readonly fmspc: string;
  readonly ppid: string;
  /** SHA-256 of the root certificate. */
  readonly root: string;
}

/** The result of judging evidence by a policy. What it says of enclave, platform and apps is proven only if `accepted`. */
export class Verdict {
  readonly checks: Check[] = [];
  enclave: EnclaveFacts | undefined;
  tcb: TcbFacts | undefined;
  /** The apps of the certificate. */
  apps: readonly AppClaim[] = [];
  /** What an app's own certificate says of it beyond that. */
  app: AppLeaf | undefined;
  configurationRoot: Buffer | undefined;
  /** Start of the leaf's validity, in milliseconds since 1970. */
  notBefore: number | undefined;
  /** End of the leaf's validity, in milliseconds since 1970. */
  notAfter: number | undefined;

  constructor(
    /** Absent where a quote alone was judged, and where the policy or the evidence document could not be read. */
    public tier: Tier | undefined,
  ) {}

  /** Whether every check passed. */
  get accepted(): boolean {
    return this.checks.length > 0 && this.failed.length === 0;
  }

  /** The checks that failed, in order. */
  get failed(): readonly Check[] {
    return this.checks.filter((check) => !check.passed);
  }

  /** The verdict as the JSON document that every client writes; what is not known is null. */
  toJSON(): object {
    const { enclave, tcb, app } = this;
    return {
      accepted: this.accepted,
      tier: this.tier ?? null,
      checks: this.checks,
      enclave: enclave === undefined ? null : {
        mrenclave: enclave.mrEnclave,
        mrsigner: enclave.mrSigner,
        isv_prod_id: enclave.isvProdId,
        isv_svn: enclave.isvSvn,
        debug: enclave.debug,
        cpu_svn: enclave.cpuSvn,
      },
      tcb: tcb ?? null,
      apps: this.apps.map(({ name, routePrefix, codeHash }) => ({
        name,
        route_prefix: routePrefix,
        code_hash: toHex(codeHash),
        ...(app && { configuration_root: toHex(app.configurationRoot), key_source: app.keySource }),
      })),
      configuration_root: this.configurationRoot === undefined ? null : toHex(this.configurationRoot),
      not_before: this.notBefore === undefined ? null : toRfc3339(this.notBefore),
      not_after: this.notAfter === undefined ? null : toRfc3339(this.notAfter),
    };
  }
}
