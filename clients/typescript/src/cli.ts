/** `enclave-os-ts verify`: a report that a person reads in ten seconds, and an exit status for scripts. */

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { toHex } from "./bytes.js";
import { parseCollateral } from "./collateral.js";
import { openFramed, parseAddress } from "./connection.js";
import { EnclaveError, VerificationError } from "./errors.js";
import { PolicyError, type Tier, TIERS, parsePolicy } from "./policy.js";
import { printable } from "./printable.js";
import { toRfc3339 } from "./time.js";
import type { Verdict } from "./verdict.js";
import { judge } from "./verifier.js";

const USAGE = `Usage: enclave-os-ts verify HOST:PORT --policy FILE [options]
       enclave-os-ts verify --evidence FILE --policy FILE [options]

Judges a running enclave, or an evidence document, by a policy.

  --policy FILE        what is accepted (TOML)
  --evidence FILE      judge this document, without a connection
  --tier TIER          certificate, challenge or channel (default: channel)
  --server-name NAME   the name to ask for, such as an app's hostname
  --collateral FILE    judge the quote with this collateral
  --json               write the verdict as JSON

Exit status: 0 the policy holds, 1 it does not, 2 nothing could be judged.
`;

/** Where output goes. */
export interface Output {
  log(text: string): void;
  error(text: string): void;
}

interface Arguments {
  readonly address: string | undefined;
  readonly evidence: string | undefined;
  readonly policy: string;
  readonly tier: Tier;
  readonly serverName: string | undefined;
  readonly collateral: string | undefined;
  readonly json: boolean;
}

class UsageError extends Error {}

/** Runs the command and gives its exit status. */
export async function run(argv: readonly string[], output: Output): Promise<number> {
  try {
    const parsed = parse(argv);
    if (parsed === undefined) {
      output.log(USAGE);
      return 0;
    }
    const verdict = await verdictOf(parsed);
    // In JSON the escapes read back as what they stand for.
    output.log(parsed.json ? printable(JSON.stringify(verdict, undefined, 2), "\n") : report(verdict));
    return verdict.accepted ? 0 : 1;
  } catch (error) {
    // What is wrong with a policy is told in lines of it, and it is the caller's own.
    const message = printable((error as Error).message, error instanceof PolicyError ? "\t\n" : "");
    output.error(`${message}${error instanceof UsageError ? `\n\n${USAGE}` : ""}`);
    return 2;
  }
}

function parse(argv: readonly string[]): Arguments | undefined {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        policy: { type: "string" },
        evidence: { type: "string" },
        tier: { type: "string", default: "channel" },
        "server-name": { type: "string" },
        collateral: { type: "string" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help) return undefined;
  const [command, address, ...more] = positionals;
  if (command !== "verify" || more.length > 0) throw new UsageError("say what to verify");
  if ((address === undefined) === (values.evidence === undefined)) {
    throw new UsageError("give either HOST:PORT or --evidence FILE");
  }
  if (values.policy === undefined) throw new UsageError("--policy FILE is missing: nothing is accepted without one");
  const tier = TIERS.find((known) => known === values.tier);
  if (tier === undefined) throw new UsageError(`--tier is one of ${TIERS.join(", ")}`);
  return {
    address,
    evidence: values.evidence,
    policy: values.policy,
    tier,
    serverName: values["server-name"],
    collateral: values.collateral,
    json: values.json,
  };
}

async function verdictOf(parsed: Arguments): Promise<Verdict> {
  const policy = parsePolicy(await readFile(parsed.policy, "utf8"));
  const collateral =
    parsed.collateral === undefined ? undefined : parseCollateral(await readFile(parsed.collateral, "utf8"));
  if (parsed.evidence !== undefined) {
    const document = await readFile(parsed.evidence, "utf8");
    return judge(policy, { tier: "evidence", document }, { collateral, now: Date.now() });
  }
  try {
    const { framed, verdict } = await openFramed(parseAddress(parsed.address ?? ""), {
      policy,
      tier: parsed.tier,
      ...(parsed.serverName !== undefined && { serverName: parsed.serverName }),
      ...(collateral !== undefined && { collateral }),
    });
    framed.close();
    if (verdict === undefined) throw new EnclaveError("the connection was not verified");
    return verdict;
  } catch (error) {
    if (error instanceof VerificationError) return error.verdict;
    throw error;
  }
}

/** Who signed it, what runs, which configuration, how fresh, what is wrong. */
function report(verdict: Verdict): string {
  const lines = [verdict.accepted ? "ACCEPTED: the policy holds" : "REFUSED: the policy does not hold"];
  const line = (what: string, value: string | undefined): void => {
    if (value !== undefined) lines.push(`  ${what.padEnd(14)} ${printable(value)}`);
  };
  const { enclave, tcb } = verdict;
  line("signed by", tcb && `root ${tcb.root}`);
  line("platform", tcb && `${tcb.status}${tcb.advisories.map((id) => `, ${id}`).join("")}, PPID ${tcb.ppid}`);
  line("enclave", enclave?.mrEnclave);
  line("signer", enclave && `${enclave.mrSigner}, product ${enclave.isvProdId}, version ${enclave.isvSvn}`);
  for (const app of verdict.apps) line("app", `${app.name} at ${app.routePrefix}, code ${toHex(app.codeHash)}`);
  line("configuration", verdict.configurationRoot && toHex(verdict.configurationRoot));
  line("freshness", `tier ${verdict.tier ?? "none"}${verdict.notBefore === undefined ? "" : `, certificate of ${toRfc3339(verdict.notBefore)}`}`);
  for (const { check, message } of verdict.failed) lines.push(`  FAILED ${check}: ${printable(message ?? "")}`);
  return lines.join("\n");
}
