//! Checks of the platform: its root, the state it is in, and which one it is.

use time::OffsetDateTime;

use super::dcap::VerifiedQuote;
use super::enclave::list;
use super::judge::Outcome;
use crate::hex;
use crate::policy::{INTEL_ROOT, Roots, TcbRule, TcbStatus};

/// Load value injection, which the image has no fences against.
const LVI: &str = "INTEL-SA-00334";

pub(super) fn root(roots: &Roots, fingerprint: &[u8; 32], root_der: &[u8]) -> Outcome {
    let development = root_der.windows(11).any(|window| window == b"DEVELOPMENT");
    let intel = *fingerprint == INTEL_ROOT;
    let found = match (intel, development) {
        (true, _) => "Intel SGX Root CA".to_owned(),
        (false, true) => format!("development root {}", hex::encode(fingerprint)),
        (false, false) => format!("unknown root {}", hex::encode(fingerprint)),
    };
    let (accepted, wanted) = match roots {
        Roots::Intel => (intel, "Intel SGX Root CA".to_owned()),
        // Intel's root is never a development root, not even when a policy lists its fingerprint as one.
        Roots::Development(roots) => {
            (!intel && roots.contains(fingerprint), format!("development root {}", list(roots)))
        }
    };
    let outcome = if accepted {
        Outcome::pass(found)
    } else {
        let message = match (intel, development) {
            (true, _) => {
                "this is genuine hardware under Intel's root, and the policy accepts development roots only: use `intel = true`"
            }
            (false, true) => {
                "this root says DEVELOPMENT: its keys are in a file on some machine and it protects nothing. To accept it while developing, name its fingerprint in `roots.development`"
            }
            (false, false) => {
                "nobody the policy trusts vouches for this platform: compare the root with the one you meant; hardware leads to Intel's (`intel = true`)"
            }
        };
        Outcome::fail(found, message)
    };
    outcome.wanted(wanted)
}

pub(super) fn tcb_status(rule: &TcbRule, quote: &VerifiedQuote, now: OffsetDateTime) -> Outcome {
    let wanted: Vec<_> = rule.statuses.iter().map(ToString::to_string).collect();
    let entry = |accepted: &&crate::policy::Accepted<TcbStatus>| accepted.value.name() == quote.status;
    let listed: Vec<_> = rule.statuses.iter().filter(entry).collect();
    let outcome = if listed.iter().any(|accepted| accepted.holds(now)) {
        Outcome::pass(&quote.status)
    } else if listed.is_empty() {
        let message = match quote.status.as_str() {
            "OutOfDate" | "OutOfDateConfigurationNeeded" => {
                "the platform lacks security updates: update its firmware and microcode, or accept the status for a while with `until`"
            }
            "UpToDate" => {
                "the platform is up to date, and the policy lists other statuses only: add `UpToDate` to `tcb.statuses`"
            }
            _ => {
                "the platform needs hardening or another configuration: read the advisories, then accept the status in `tcb.statuses` if they do not matter here"
            }
        };
        Outcome::fail(&quote.status, message)
    } else {
        Outcome::fail(
            &quote.status,
            "the grace period of this status is over: update the platform's firmware and microcode, or extend `until`",
        )
    };
    outcome.wanted(wanted.join(" or "))
}

pub(super) fn advisories(rule: &TcbRule, quote: &VerifiedQuote, now: OffsetDateTime) -> Outcome {
    let found = if quote.advisories.is_empty() { "none".to_owned() } else { quote.advisories.join(", ") };
    let accepted =
        |id: &String| rule.advisories.iter().any(|accepted| accepted.value == *id && accepted.holds(now));
    let refused: Vec<_> = quote.advisories.iter().filter(|id| !accepted(id)).map(String::as_str).collect();
    let wanted = match rule.advisories.as_slice() {
        [] => "none".to_owned(),
        accepted => accepted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let outcome = if refused.is_empty() {
        Outcome::pass(found)
    } else {
        let mut message = format!(
            "{} of the platform's TCB level {} not accepted: update the platform, or list what does not matter here in `tcb.advisories`",
            refused.join(", "),
            if refused.len() == 1 { "is" } else { "are" }
        );
        if refused.contains(&LVI) {
            message.push_str(". Mind INTEL-SA-00334 (load value injection): the image is built without LVI fences, so on such a platform other code on the machine could read the enclave's secrets");
        }
        Outcome::fail(found, message)
    };
    outcome.wanted(wanted)
}

/// Which machine, where the policy lists machines.
pub(super) fn instance(ppids: &[[u8; 16]], quote: &VerifiedQuote) -> Outcome {
    let found = format!("PPID {}", hex::encode(&quote.ppid));
    let outcome = if ppids.iter().any(|ppid| ppid[..] == quote.ppid) {
        Outcome::pass(found)
    } else {
        Outcome::fail(
            found,
            "this is not one of the machines in `platform.ppids`: the connection was diverted, or the machine was replaced. If you moved it yourself, put the new PPID into the list",
        )
    };
    outcome.wanted(format!("PPID {}", list(ppids)))
}
