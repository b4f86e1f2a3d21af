//! `enclave-os verify`: a report that a person reads in ten seconds.

use std::fs;
use std::path::Path;

use attestation::evidence::EvidenceDocument;
use attestation::policy::{AppRule, TcbRule, TcbStatus, VerificationPolicy};
use attestation::verify::{Disclosed, Presented, Verdict, Verifier};
use time::OffsetDateTime;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output;
use crate::session::{POLICY_HINT, Policy, Session};

pub(crate) fn run(session: &Session, args: &Verify) -> Result<(), Failure> {
    let (verdict, judged_by) = match (session.policy(), &args.write_policy) {
        (Some(Policy { named: true, .. }), Some(_)) => {
            return Err(Failure::usage(
                "--write-policy writes what is seen, and --policy says what has to be",
            )
            .hint("leave one of them out"));
        }
        (_, Some(file)) => (pinned(session, args.app.as_deref(), file)?, file.display().to_string()),
        (Some(policy), None) => {
            let demand = with_app(policy.demand.clone(), args.app.as_deref())?;
            let verdict = match &args.evidence {
                Some(file) => document(file, demand)?,
                None => session.verdict(demand)?,
            };
            (verdict, policy.file.display().to_string())
        }
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
            Verifier::new(policy).judge(&shown, None, Disclosed::default(), OffsetDateTime::now_utc())
        }
        Err(error) => Verdict::of_bad_evidence(&error),
    })
}

/// Writes a policy of what the server shows, if that policy holds.
fn pinned(session: &Session, app: Option<&str>, file: &Path) -> Result<Verdict, Failure> {
    let policy = super::pin::policy(session, app)?;
    let state = state_to_mind(&policy.tcb);
    let text = policy.to_toml().map_err(|e| Failure::local("policy", e.to_string()))?;
    let verdict = session.verdict(policy)?;
    if verdict.accepted() {
        fs::write(file, text).map_err(|e| Failure::file(file, "write", &e))?;
        output::note(&format!(
            "{} accepts what was seen just now, from whoever answered. Compare its MRENCLAVE with what you built \
             before you rely on it",
            file.display()
        ));
        if let Some(state) = state {
            output::warning(&format!(
                "the policy accepts {state}, because that is the state of this platform now. Have the platform updated, \
                 or read what it means and give what you accept an end (`until`)"
            ));
        }
    }
    Ok(verdict)
}

/// What of a platform's state a person should not accept without a look.
fn state_to_mind(tcb: &TcbRule) -> Option<String> {
    let statuses = tcb.statuses.iter().map(|status| status.value);
    let statuses = statuses.filter(|status| *status != TcbStatus::UpToDate).map(TcbStatus::name);
    let advisories = tcb.advisories.iter().map(|advisory| advisory.value.as_str());
    let parts: Vec<String> = [("TCB status ", statuses.collect::<Vec<_>>()), ("", advisories.collect())]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| format!("{kind}{}", names.join(", ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

#[cfg(test)]
mod tests {
    use attestation::policy::Accepted;

    use super::*;

    #[test]
    fn a_state_that_is_not_good_is_named() {
        let rule = |statuses: &[TcbStatus], advisories: &[&str]| TcbRule {
            statuses: statuses.iter().copied().map(Accepted::always).collect(),
            advisories: advisories.iter().map(|&id| Accepted::always(id.to_owned())).collect(),
        };
        assert_eq!(state_to_mind(&rule(&[TcbStatus::UpToDate], &[])), None);
        let bad = rule(&[TcbStatus::OutOfDate], &["INTEL-SA-00615", "INTEL-SA-00657"]);
        let told = "TCB status OutOfDate and INTEL-SA-00615, INTEL-SA-00657";
        assert_eq!(state_to_mind(&bad).as_deref(), Some(told));
        let advised = rule(&[TcbStatus::UpToDate], &["INTEL-SA-00289"]);
        assert_eq!(state_to_mind(&advised).as_deref(), Some("INTEL-SA-00289"));
    }
}
