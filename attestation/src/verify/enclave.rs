//! Checks of whom the quote is about.

use super::judge::Outcome;
use crate::hex;
use crate::policy::EnclaveRule;
use crate::quote::ReportBody;

pub(super) fn debug(rule: &EnclaveRule, report: &ReportBody) -> Outcome {
    match (report.is_debug(), rule.allow_debug) {
        (false, _) => Outcome::pass("not a debug enclave"),
        (true, true) => Outcome::pass("a debug enclave, which the policy allows"),
        (true, false) => Outcome::fail(
            "a debug enclave",
            "everything in a debug enclave can be read from outside: launch the enclave without DEBUG",
        )
        .wanted("not a debug enclave"),
    }
}

pub(super) fn measurement(rule: &EnclaveRule, report: &ReportBody) -> Outcome {
    let found = format!(
        "MRENCLAVE {}, MRSIGNER {}, ISVPRODID {}, ISVSVN {}",
        hex::encode(&report.mrenclave),
        hex::encode(&report.mrsigner),
        report.isv_prod_id,
        report.isv_svn
    );
    let (mut wanted, mut wrong) = (Vec::new(), Vec::new());
    if let Some(accepted) = &rule.mrenclave {
        wanted.push(format!("MRENCLAVE {}", list(accepted)));
        if !accepted.contains(&report.mrenclave) {
            wrong.push(
                "MRENCLAVE is not one of the policy's: this is another image, or another policy page in it. Compare it with what your own build of the image says; if this is the image you mean, put its MRENCLAVE into `enclave.mrenclave`"
                    .to_owned(),
            );
        }
    }
    if let Some(signer) = &rule.signer {
        wanted.push(format!(
            "MRSIGNER {}, ISVPRODID {}, ISVSVN at least {}",
            list(&signer.mrsigner),
            signer.isv_prod_id,
            signer.min_isv_svn
        ));
        if !signer.mrsigner.contains(&report.mrsigner) {
            wrong.push("MRSIGNER is not one of the policy's: somebody else signed this image. Take the one that your signer published, or name this signer in `enclave.mrsigner`".to_owned());
        }
        if report.isv_prod_id != signer.isv_prod_id {
            wrong.push(format!(
                "ISVPRODID is {}: this is another product of that signer; compare `enclave.isv_prod_id`",
                report.isv_prod_id
            ));
        }
        if report.isv_svn < signer.min_isv_svn {
            wrong.push(format!(
                "ISVSVN is {}: this image is older than the policy allows; the server has to be updated",
                report.isv_svn
            ));
        }
    }
    let outcome =
        if wrong.is_empty() { Outcome::pass(found) } else { Outcome::fail(found, wrong.join("; ")) };
    outcome.wanted(wanted.join("; "))
}

pub(super) fn list<const N: usize>(accepted: &[[u8; N]]) -> String {
    accepted.iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>().join(" or ")
}
