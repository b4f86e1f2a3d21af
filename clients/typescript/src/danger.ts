/** What switches verification off. Never in production: whoever answers is believed. */

/** In place of a policy: anybody is accepted, and no verdict is made. */
export class Unverified {
  private constructor() {}

  static readonly #only = new Unverified();

  /** Use {@link acceptAnyCertificate}. */
  static only(): Unverified {
    return Unverified.#only;
  }
}

/** A stand-in for a policy that accepts whoever answers. */
export function acceptAnyCertificate(): Unverified {
  return Unverified.only();
}
