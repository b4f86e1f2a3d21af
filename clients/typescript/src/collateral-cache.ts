/** Collateral that held once is kept until a part of it is due to be replaced. */

import { sha256, toHex } from "./bytes.js";
import type { Collateral } from "./collateral.js";
import { verifyQuote } from "./dcap.js";
import { platformOf } from "./pck.js";
import { parseQuote } from "./quote.js";
import { Certificate } from "./x509.js";

/** A cache that several clients may share. Whatever is in it is verified again each time it is used. */
export class CollateralCache {
  readonly #kept = new Map<string, { collateral: Collateral; nextUpdate: number }>();

  /** What is known for the platform of a quote. */
  find(quote: Uint8Array, now: number): Collateral | undefined {
    const key = keyOf(quote);
    const kept = key === undefined ? undefined : this.#kept.get(key);
    return kept !== undefined && now < kept.nextUpdate ? kept.collateral : undefined;
  }

  /** Keeps collateral with which a quote has been verified. */
  keep(quote: Uint8Array, collateral: Collateral, now: number): void {
    const key = keyOf(quote);
    const parsed = parseQuote(quote);
    if (key === undefined) return;
    const { nextUpdate } = verifyQuote(parsed, collateral, parsed.pckChain[2], now);
    this.#kept.set(key, { collateral, nextUpdate });
  }
}

/** One entry for each root, PCK CA and kind of platform; `undefined` for what is not a quote. */
function keyOf(quote: Uint8Array): string | undefined {
  try {
    const [pck, ...above] = parseQuote(quote).pckChain;
    return [toHex(platformOf(new Certificate(pck)).fmspc), ...above.map((der) => toHex(sha256(der)))].join(" ");
  } catch {
    return undefined;
  }
}
