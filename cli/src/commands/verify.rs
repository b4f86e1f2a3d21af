//! `enclave-os verify`: a report that a person reads in ten seconds.

use std::fs;
use std::path::Path;

use attestation::evidence::EvidenceDocument;
use attestation::manifest::Manifest;
use attestation::policy::{AppRule, VerificationPolicy};
use attestation::verify::{Presented, Verdict, Verifier};
use enclave_os_client::ClientError;
use time::OffsetDateTime;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output;
use crate::session::{POLICY_HINT, Session};

pub(crate) fn run(session: &Session, args: &Verify, policy: Option<&Path>) -> Result<(), Failure> {
    let (verdict, judged_by) = match (&args.evidence, policy, &args.write_policy) {
        (Some(evidence), Some(policy), _) => {
            (document(evidence, policy, args)?, policy.display().to_string())
        }
        (None, Some(policy), _) => (live(session, read(policy, args)?)?, policy.display().to_string()),
        (None, None, Some(file)) => {
            let policy = super::pin::policy(session, args.app.as_deref())?;
            let text = policy.to_toml().map_err(|e| Failure::local("policy", e.to_string()))?;
            let verdict = live(session, policy)?;
            if verdict.accepted() {
                fs::write(file, text).map_err(|e| Failure::file(file, "write", &e))?;
                output::note(&format!(
                    "{} accepts what was seen just now, from whoever answered. Compare its MRENCLAVE with what \
                     you built before you rely on it",
                    file.display()
                ));
            }
            (verdict, file.display().to_string())
        }
        (_, None, _) => {
            return Err(Failure::usage("there is nothing to verify against: --policy FILE is missing")
                .hint(POLICY_HINT));
        }
    };
    super::verdict::show(&verdict, &subject(session, args), &judged_by, session.json);
    if verdict.accepted() {
        return Ok(());
    }
    Err(Failure::verification("policy", format!("the policy {judged_by} does not hold")))
}

fn subject(session: &Session, args: &Verify) -> String {
    match &args.evidence {
        Some(file) => file.display().to_string(),
        None => session.server().to_owned(),
    }
}

/// The policy of a file; `--app` demands an application beyond it.
fn read(path: &Path, args: &Verify) -> Result<VerificationPolicy, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
    let mut policy = VerificationPolicy::from_toml(&text).map_err(|error| {
        Failure::usage(format!("the policy {}: {error}", path.display())).hint(POLICY_HINT)
    })?;
    match (&args.app, &mut policy.app) {
        (None, _) => {}
        (Some(name), None) => {
            policy.app = Some(AppRule { name: name.clone(), code_hashes: None, key_source: None });
        }
        (Some(name), Some(rule)) if rule.name == *name => {}
        (Some(name), Some(rule)) => {
            return Err(Failure::usage(format!("--app {name}: the policy is for the app `{}`", rule.name)));
        }
    }
    Ok(policy)
}

/// What a server shows on a connection of its own.
fn live(session: &Session, policy: VerificationPolicy) -> Result<Verdict, Failure> {
    match session.verified(policy).http() {
        Ok(connection) => Ok(connection.verified().verdict().clone()),
        Err(ClientError::Verification(verdict)) => Ok(*verdict),
        Err(error) => Err(error.into()),
    }
}

/// What a file shows.
fn document(path: &Path, policy: &Path, args: &Verify) -> Result<Verdict, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
    let document = EvidenceDocument::from_json(&text)
        .map_err(|error| Failure::usage(format!("{} is no evidence document: {error}", path.display())))?;
    let verifier = Verifier::new(read(policy, args)?);
    let manifest: Option<&Manifest> = None;
    Ok(verifier.judge(&Presented::Evidence(&document), None, manifest, OffsetDateTime::now_utc()))
}
