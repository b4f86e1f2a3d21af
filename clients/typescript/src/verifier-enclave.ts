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
    "everything in a debug enclave can be read from outside: launch the enclave without DEBUG",
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
    if (!mrEnclave.includes(enclave.mrEnclave)) {
      problems.push(
        "MRENCLAVE is not one of the policy's: this is another image, or another policy page in it. Compare it with what your own build of the image says; if this is the image you mean, put its MRENCLAVE into `enclave.mrenclave`",
      );
    };
  }
  if (signer !== undefined) {
    wanted.push(`mrsigner ${signer.mrSigner.join(" or ")}, isv_prod_id ${signer.isvProdId}, isv_svn from ${signer.minIsvSvn}`);
    if (!signer.mrSigner.includes(enclave.mrSigner)) {
      problems.push(
        "MRSIGNER is not one of the policy's: somebody else signed this image. Take the one that your signer published, or name this signer in `enclave.mrsigner`",
      );
    };
    if (signer.isvProdId !== enclave.isvProdId) {
      problems.push(`ISVPRODID is ${enclave.isvProdId}: this is another product of that signer; compare \`enclave.isv_prod_id\``);
    };
    if (enclave.isvSvn < signer.minIsvSvn) {
      problems.push(`ISVSVN is ${enclave.isvSvn}: this image is older than the policy allows; the server has to be updated`);
    };
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
    `the platform's TCB status is ${status}, which the policy does not accept (any longer): update its firmware and microcode, or accept the status in \`tcb.statuses\`, for a while with \`until\``,
  );
}

function judgeAdvisories(judgement: Judgement, policy: Policy, advisories: readonly string[]): void {
  const open = advisories.filter((id) => !isAccepted(policy.tcb.advisories, id, judgement.now));
  const lvi = open.includes(LVI)
    ? `. Mind ${LVI} (load value injection): the image is built without LVI fences, so on such a platform other code on the machine could read the enclave's secrets`
    : "";
  judgement.record(
    "advisories",
    open.length === 0,
    advisories.join(", ") || "none",
    policy.tcb.advisories.map(({ value }) => value).join(", ") || "none",
    `${open.join(", ")} of the platform's TCB level not accepted (any longer): update the platform, or list what does not matter here in \`tcb.advisories\`${lvi}`,
  );
}

function isAccepted(list: readonly Accepted<string>[], value: string, now: number): boolean {
  return list.some((entry) => entry.value === value && (entry.until === undefined || now < entry.until));
}
