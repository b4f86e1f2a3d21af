//! A verdict as a person reads it: what was decided, who runs what, and what is wrong.

use attestation::policy::INTEL_ROOT;
use attestation::verify::{Check, Tier, Verdict};

use super::hex;
use crate::output;

/// Prints a verdict on `subject`.
pub(crate) fn show(verdict: &Verdict, subject: &str, policy: &str, json: bool) {
    if json {
        output::json(verdict);
        return;
    }
    if verdict.accepted() {
        output::done("verified", &format!("{subject} passes {policy}"));
    } else {
        output::refused("refused", &format!("{subject} does not pass {policy}"));
    }
    for check in verdict.failed() {
        wrong(check);
    }
    if let Some(enclave) = verdict.enclave() {
        output::field("enclave", &hex(&enclave.mrenclave));
        let debug = if enclave.debug { ", DEBUG: its memory can be read" } else { "" };
        output::field(
            "signed by",
            &format!(
                "{}, product {}, version {}{debug}",
                hex(&enclave.mrsigner),
                enclave.isv_prod_id,
                enclave.isv_svn
            ),
        );
    }
    if let Some(tcb) = verdict.tcb() {
        let advisories = match tcb.advisories.as_slice() {
            [] => String::new(),
            some => format!(", {}", some.join(", ")),
        };
        output::field("platform", &format!("{}{advisories}, under root {}", tcb.status, root(&tcb.root)));
    }
    for app in verdict.apps() {
        output::field("app", &format!("{} at {}, code {}", app.name, app.route_prefix, hex(&app.code_hash)));
    }
    if let Some(root) = verdict.configuration_root() {
        output::field("configuration", &hex(root));
    }
    if let Some((from, to)) = verdict.validity() {
        output::field("certificate", &format!("{from} to {to}"));
    }
    if let Some(tier) = verdict.tier() {
        output::field("fresh", sentence(tier));
    }
    let passed: Vec<_> = verdict.checks().iter().filter(|c| c.passed).map(|c| c.check.name()).collect();
    output::field("passed", &passed.join(", "));
}

/// What a tier proves, in a line.
fn sentence(tier: Tier) -> &'static str {
    match tier {
        Tier::Certificate => "certificate: as old as the enclave's clock says, which the host sets",
        Tier::Challenge => "challenge: made for this connection",
        Tier::Channel => "channel: quoted over the keys of this connection",
    }
}

fn root(fingerprint: &[u8; 32]) -> String {
    match fingerprint {
        &INTEL_ROOT => "Intel SGX Root CA".to_owned(),
        other => format!("{}, a DEVELOPMENT root: it protects nothing", hex(other)),
    }
}

fn wrong(check: &Check) {
    output::failed(check.check.name(), check.message.as_deref().unwrap_or_default());
    output::field("", &format!("found  {}", check.found));
    if let Some(wanted) = &check.wanted {
        output::field("", &format!("wanted {wanted}"));
    }
}
