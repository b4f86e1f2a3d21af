//! Checks of the app that a connection is for.

use super::enclave::list;
use super::judge::Outcome;
use crate::hex;
use crate::leaf_certificate::{AppClaim, LeafCertificate};
use crate::policy::AppRule;

pub(super) fn named<'a>(rule: &AppRule, leaf: &'a LeafCertificate) -> Option<&'a AppClaim> {
    leaf.apps.iter().find(|app| app.name == rule.name)
}

pub(super) fn app(rule: &AppRule, leaf: &LeafCertificate) -> Outcome {
    let names: Vec<_> = leaf.apps.iter().map(|app| app.name.as_str()).collect();
    let found = if names.is_empty() { "no app".to_owned() } else { names.join(", ") };
    let outcome = if named(rule, leaf).is_some() {
        Outcome::pass(found)
    } else {
        let message = format!(
            "the certificate does not name the app {}: it is not loaded, or this is the certificate of another app. Load it, or connect with its hostname",
            rule.name
        );
        Outcome::fail(found, message)
    };
    outcome.wanted(&rule.name)
}

pub(super) fn code_hash(accepted: &[[u8; 32]], claim: &AppClaim) -> Outcome {
    let found = hex::encode(&claim.code_hash);
    let outcome = if accepted.contains(&claim.code_hash) {
        Outcome::pass(found)
    } else {
        let message = format!(
            "the app {} runs other code than the policy accepts: it was replaced. If this is the code you mean, put its hash into `app.code_hashes`",
            claim.name
        );
        Outcome::fail(found, message)
    };
    outcome.wanted(list(accepted))
}

pub(super) fn key_source(rule: &AppRule, leaf: &LeafCertificate) -> Option<Outcome> {
    let wanted = rule.key_source.as_ref()?;
    let outcome = match &leaf.app {
        Some(app) if wanted.accepts(&app.key_source) => Outcome::pass(&app.key_source),
        Some(app) => Outcome::fail(
            &app.key_source,
            "the app's data is under another key than the policy accepts: load it again with the right key",
        ),
        None => Outcome::fail(
            "the certificate of the whole enclave",
            "only the app's own certificate says where its key comes from: connect with the app's hostname",
        ),
    };
    Some(outcome.wanted(wanted.to_string()))
}
