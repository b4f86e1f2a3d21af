/** Checks of what the quote says of the enclave and its platform. */

import type { Accepted, Policy } from "./policy.js";
import type { EnclaveFacts, TcbFacts } from "./verdict.js";
import type { Judgement } from "./verifier.js";

/** Failures of this advisory have a reason of this system's own. */
const LVI = "INTEL-SA-00334";

/** The checks `debug`, `measurement`, `tcb-status` and `advisories`. */
export function judgeEnclave(judgement: Judgement, policy: Policy, enclave: EnclaveFacts, tcb: TcbFacts): void {
  judgement.record(
    "debug",
    !enclave.debug || policy.enclave.allowDebug,
    enclave.debug ? "a debug enclave" : "a production enclave",
    policy.enclave.allowDebug ? "either" : "a production enclave",
    "this is a debug enclave: its host can read and change everything in it",
  );
  judgeMeasurement(judgement, policy, enclave);
  judgeStatus(judgement, policy, tcb.status);
  judgeAdvisories(judgement, policy, tcb.advisories);
}

function judgeMeasurement(judgement: Judgement, policy: Policy, enclave: EnclaveFacts): void {
  const { mrEnclave, signer } = policy.enclave;
  const problems: string[] = [];
  const wanted: string[] = [];
  if (mrEnclave !== undefined) {
    wanted.push(`mrenclave ${mrEnclave.join(" or ")}`);
    if (!mrEnclave.includes(enclave.mrEnclave)) problems.push("another image runs (MRENCLAVE)");
  }
  if (signer !== undefined) {
    wanted.push(`mrsigner ${signer.mrSigner.join(" or ")}, isv_prod_id ${signer.isvProdId}, isv_svn from ${signer.minIsvSvn}`);
    if (!signer.mrSigner.includes(enclave.mrSigner)) problems.push("somebody else signed the image (MRSIGNER)");
    if (signer.isvProdId !== enclave.isvProdId) problems.push("it is another product (ISVPRODID)");
    if (enclave.isvSvn < signer.minIsvSvn) problems.push("it is an older version (ISVSVN)");
  }
  const found =
    `mrenclave ${enclave.mrEnclave}, mrsigner ${enclave.mrSigner}, ` +
    `isv_prod_id ${enclave.isvProdId}, isv_svn ${enclave.isvSvn}`;
  judgement.record("measurement", problems.length === 0, found, wanted.join("; "), problems.join("; "));
}

function judgeStatus(judgement: Judgement, policy: Policy, status: string): void {
  const { statuses } = policy.tcb;
  judgement.record(
    "tcb-status",
    isAccepted(statuses, status, judgement.now),
    status,
    statuses.map(({ value }) => value).join(" or "),
    `Intel rates the platform ${status}: its operator has to update or configure it, or the policy has to accept that`,
  );
}

function judgeAdvisories(judgement: Judgement, policy: Policy, advisories: readonly string[]): void {
  const open = advisories.filter((id) => !isAccepted(policy.tcb.advisories, id, judgement.now));
  const lvi = open.includes(LVI) ? `; ${LVI} matters because the image is built without LVI fences` : "";
  judgement.record(
    "advisories",
    open.length === 0,
    advisories.join(", ") || "none",
    policy.tcb.advisories.map(({ value }) => value).join(", ") || "none",
    `the platform is affected by ${open.join(", ")}${lvi}`,
  );
}

function isAccepted(list: readonly Accepted<string>[], value: string, now: number): boolean {
  return list.some((entry) => entry.value === value && (entry.until === undefined || now < entry.until));
}
