//! `enclave-os verify`: a report that a person reads in ten seconds.

use std::fs;
use std::path::Path;

use attestation::evidence::EvidenceDocument;
use attestation::policy::{AppRule, VerificationPolicy};
use attestation::verify::{Presented, Verdict, Verifier};
use time::OffsetDateTime;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output;
use crate::session::{POLICY_HINT, Session};

pub(crate) fn run(session: &Session, args: &Verify) -> Result<(), Failure> {
    let (verdict, judged_by) = match (session.policy(), &args.write_policy) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "--write-policy writes what is seen, and --policy says what has to be",
            )
            .hint("leave one of them out; ENCLAVE_OS_VERIFY_POLICY counts as --policy"));
        }
        (Some(policy), None) => {
            let demand = with_app(policy.demand.clone(), args.app.as_deref())?;
            let verdict = match &args.evidence {
                Some(file) => document(file, demand)?,
                None => session.verdict(demand)?,
            };
            (verdict, policy.file.display().to_string())
        }
        (None, Some(file)) => (pinned(session, args.app.as_deref(), file)?, file.display().to_string()),
        (None, None) => {
            return Err(Failure::usage("there is nothing to verify against: --policy FILE is missing")
                .hint(POLICY_HINT));
        }
    };
    let subject = match &args.evidence {
        Some(file) => file.display().to_string(),
        None => session.server().to_owned(),
    };
    super::verdict::show(&verdict, &subject, &judged_by, session.json);
    if verdict.accepted() {
        return Ok(());
    }
    Err(Failure::verification("policy", format!("the policy {judged_by} does not hold")).told())
}

/// Demands an application beyond what the policy does.
fn with_app(mut policy: VerificationPolicy, app: Option<&str>) -> Result<VerificationPolicy, Failure> {
    match (app, &mut policy.app) {
        (None, _) => {}
        (Some(name), None) => {
            policy.app = Some(AppRule { name: name.to_owned(), code_hashes: None, key_source: None });
        }
        (Some(name), Some(rule)) if rule.name == name => {}
        (Some(name), Some(rule)) => {
            return Err(Failure::usage(format!("--app {name}: the policy is for the app `{}`", rule.name)));
        }
    }
    Ok(policy)
}

/// What a file shows.
fn document(path: &Path, policy: VerificationPolicy) -> Result<Verdict, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
    Ok(match EvidenceDocument::from_json(&text) {
        Ok(document) => {
            let shown = Presented::Evidence(&document);
            Verifier::new(policy).judge(&shown, None, None, OffsetDateTime::now_utc())
        }
        Err(error) => Verdict::of_bad_evidence(&error),
    })
}

/// Writes a policy of what the server shows, if that policy holds.
fn pinned(session: &Session, app: Option<&str>, file: &Path) -> Result<Verdict, Failure> {
    let policy = super::pin::policy(session, app)?;
    let text = policy.to_toml().map_err(|e| Failure::local("policy", e.to_string()))?;
    let verdict = session.verdict(policy)?;
    if verdict.accepted() {
        fs::write(file, text).map_err(|e| Failure::file(file, "write", &e))?;
        output::note(&format!(
            "{} accepts what was seen just now, from whoever answered. Compare its MRENCLAVE with what you built \
             before you rely on it",
            file.display()
        ));
    }
    Ok(verdict)
}
