/** What can go wrong between a client and an enclave. */

import type { Verdict } from "./verdict.js";

/** Any failure of this package's own. */
export class EnclaveError extends Error {
  override readonly name: string = "EnclaveError";
}

/** The evidence does not satisfy the policy. Nothing was sent to the application. */
export class VerificationError extends EnclaveError {
  override readonly name = "VerificationError";

  constructor(
    /** Every check with its result. */
    readonly verdict: Verdict,
  ) {
    super(verdict.failed.map(({ check, message }) => `${check}: ${message}`).join("\n"));
  }
}

/** The enclave answered, and its answer is no. */
export class RefusedError extends EnclaveError {
  override readonly name = "RefusedError";

  constructor(
    /** The stable word for what is wrong, such as `unknown-app`. */
    readonly code: string,
    /** What is wrong and how to mend it. */
    message: string,
  ) {
    super(message);
  }
}

/** There is no connection, or it does not speak the protocol. */
export class ConnectionError extends EnclaveError {
  override readonly name = "ConnectionError";
}
