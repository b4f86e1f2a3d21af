//! The checks in their order, and where evaluation stops.

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::dcap::{self, PckChain, VerifiedQuote};
use super::freshness::Bound;
use super::{
    AppFacts, Check, CheckId, Disclosed, EnclaveFacts, Presented, TcbFacts, Tier, Verdict, Verifier, app,
    certificate, configuration, enclave, freshness, platform,
};
use crate::collateral::Collateral;
use crate::evidence::EvidenceDocument;
use crate::leaf_certificate::LeafCertificate;
use crate::policy::VerificationPolicy;
use crate::quote::{Quote, ReportBody};
use crate::report_data::{self, Binding};
use crate::{hex, instant};

/// What one check saw.
pub(super) struct Outcome {
    found: String,
    wanted: Option<String>,
    pub(super) failure: Option<String>,
}

impl Outcome {
    pub(super) fn pass(found: impl Into<String>) -> Self {
        Outcome { found: found.into(), wanted: None, failure: None }
    }

    pub(super) fn fail(found: impl Into<String>, message: impl Into<String>) -> Self {
        Outcome { found: found.into(), wanted: None, failure: Some(message.into()) }
    }

    pub(super) fn wanted(self, wanted: impl Into<String>) -> Self {
        Outcome { wanted: Some(wanted.into()), ..self }
    }
}

/// A structural check failed: what follows would be about nothing.
struct Stop;

pub(super) struct Judge<'a> {
    policy: &'a VerificationPolicy,
    now: OffsetDateTime,
    verdict: Verdict,
    #[cfg(test)]
    without: Option<CheckId>,
}

/// What is presented, with the parts that all kinds have.
struct Case<'a> {
    chain: &'a [CertificateDer<'a>],
    server_name: Option<&'a str>,
    evidence: Option<&'a EvidenceDocument>,
    collateral: Option<&'a Collateral>,
    disclosed: Disclosed<'a>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(verifier: &'a Verifier, now: OffsetDateTime) -> Self {
        Judge {
            policy: &verifier.policy,
            now,
            verdict: Verdict::new(None),
            #[cfg(test)]
            without: verifier.without,
        }
    }

    pub(super) fn judge(
        mut self,
        presented: &Presented<'_>,
        collateral: Option<&Collateral>,
        disclosed: Disclosed<'_>,
    ) -> Verdict {
        self.verdict.tier = match presented {
            Presented::Certificate { .. } | Presented::Evidence(_) => Some(Tier::Certificate),
            Presented::Challenge { .. } => Some(Tier::Challenge),
            Presented::Channel { .. } => Some(Tier::Channel),
            Presented::Quote(_) => None,
        };
        let completed = self.evaluate(presented, collateral, disclosed).is_ok();
        self.verdict.accepted = completed && self.verdict.checks.iter().all(|check| check.passed);
        self.verdict
    }

    fn evaluate(
        &mut self,
        presented: &Presented<'_>,
        collateral: Option<&Collateral>,
        disclosed: Disclosed<'_>,
    ) -> Result<(), Stop> {
        self.record(CheckId::Policy, Outcome::pass("format 1"));
        let document = match presented {
            Presented::Evidence(document) => Some(*document),
            _ => None,
        };
        let from_document: Vec<CertificateDer<'_>> = document
            .map(|document| document.certificate_chain.iter().map(|der| der.as_slice().into()).collect())
            .unwrap_or_default();
        let (chain, server_name) = match presented {
            Presented::Certificate { chain, server_name }
            | Presented::Challenge { chain, server_name, .. }
            | Presented::Channel { chain, server_name, .. } => (*chain, *server_name),
            Presented::Evidence(_) => (from_document.as_slice(), None),
            Presented::Quote(_) => (&[][..], None),
        };
        let case = Case {
            chain,
            server_name,
            evidence: document,
            collateral: collateral.or(document.and_then(|document| document.collateral.as_ref())),
            disclosed: Disclosed {
                manifest: document.map(|document| &document.manifest).or(disclosed.manifest),
                ..disclosed
            },
        };
        if document.is_some() {
            self.record(CheckId::EvidenceFormat, Outcome::pass("format 1"));
        }
        let leaf = match presented {
            Presented::Quote(_) => None,
            _ => self.certificates(&case)?,
        };
        let bytes = match presented {
            Presented::Certificate { .. } | Presented::Challenge { .. } => {
                leaf.as_ref().and_then(|leaf| leaf.quote.as_deref())
            }
            Presented::Channel { quote, .. } | Presented::Quote(quote) => Some(*quote),
            Presented::Evidence(document) => document.evidence_quote.as_deref(),
        };
        let parsed = self.quote_format(bytes)?;
        let verified = match (&parsed, bytes) {
            (Some((_, chain)), Some(bytes)) => {
                self.structural(
                    CheckId::Root,
                    platform::root(&self.policy.roots, &chain.root_fingerprint(), chain.root()),
                )?;
                self.quote(bytes, chain, case.collateral)?
            }
            _ => None,
        };
        let report = parsed.as_ref().map(|(report, _)| report);
        if let (Some(report), Some(verified)) = (report, &verified) {
            self.tell_quote(report, verified);
        }
        if let (Some(leaf), Some(report)) = (&leaf, report) {
            self.report_data(presented, leaf, report, &case);
        }
        if let Some(report) = report {
            self.record(CheckId::Debug, enclave::debug(&self.policy.enclave, report));
            self.record(CheckId::Measurement, enclave::measurement(&self.policy.enclave, report));
        }
        if let Some(verified) = &verified {
            self.record(CheckId::TcbStatus, platform::tcb_status(&self.policy.tcb, verified, self.now));
            self.record(CheckId::Advisories, platform::advisories(&self.policy.tcb, verified, self.now));
        }
        if let Some(tier) = self.verdict.tier {
            let offline = document.is_some();
            self.record(CheckId::Tier, freshness::tier(&self.policy.freshness, tier, offline));
        }
        if let Some(leaf) = &leaf {
            if self.verdict.tier == Some(Tier::Certificate) {
                self.record(CheckId::Age, freshness::age(&self.policy.freshness, leaf, self.now));
            }
            self.claims(leaf, &case);
        }
        if let (Some(ppids), Some(verified)) = (&self.policy.ppids, &verified) {
            self.record(CheckId::Platform, platform::instance(ppids, verified));
        }
        if let (Some(accepted), Some(_)) = (&self.policy.operator_ca, &leaf) {
            self.record(CheckId::OperatorCa, configuration::operator_ca(accepted, case.chain));
        }
        Ok(())
    }

    /// Checks 2 to 5.
    fn certificates(&mut self, case: &Case<'_>) -> Result<Option<LeafCertificate>, Stop> {
        let leaf = match case.chain.first().map(|der| LeafCertificate::from_der(der)) {
            None => Err("no certificate was sent: this is not the TLS port of an enclave".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            // What stands in the document beside the certificate must not say anything else.
            Some(Ok(leaf))
                if case.evidence.is_some_and(|document| document.certificate_quote != leaf.quote) =>
            {
                Err("`certificate_quote` of the document is not the quote in its certificate: it was changed; ask the enclave for another (`/.enclave/v1/evidence`)".to_owned())
            }
            Some(Ok(leaf)) => Ok(leaf),
        };
        let outcome = match &leaf {
            Ok(leaf) => Outcome::pass(format!("a leaf with {} apps", leaf.apps.len())),
            Err(message) => Outcome::fail("not a leaf of an enclave", message),
        };
        self.structural(CheckId::CertificateFormat, outcome)?;
        let leaf = leaf.ok();
        self.structural(CheckId::CertificateChain, certificate::chain(case.chain, leaf.as_ref(), self.now))?;
        if let Some(leaf) = &leaf {
            self.tell_leaf(leaf);
            self.record(CheckId::CertificateTime, certificate::time(leaf, self.now));
        }
        if let (Some(name), Some(der)) = (case.server_name, case.chain.first()) {
            self.record(CheckId::ServerName, certificate::server_name(der, name));
        }
        Ok(leaf)
    }

    /// Check 6: an SGX quote and its PCK certificate chain.
    fn quote_format(&mut self, bytes: Option<&[u8]>) -> Result<Option<(ReportBody, PckChain)>, Stop> {
        let parsed = match bytes {
            None => Err("there is no quote: the enclave's host could not have one made, and `ready` of the enclave says why".to_owned()),
            Some(bytes) => parse_sgx(bytes),
        };
        let outcome = match &parsed {
            Ok(_) => Outcome::pass("an SGX quote of version 3"),
            Err(message) => Outcome::fail(
                bytes.map_or_else(|| "no quote".to_owned(), |bytes| format!("{} bytes", bytes.len())),
                message,
            ),
        };
        self.structural(CheckId::QuoteFormat, outcome.wanted("an SGX quote of version 3"))?;
        Ok(parsed.ok())
    }

    /// Check 8.
    fn quote(
        &mut self,
        bytes: &[u8],
        chain: &PckChain,
        collateral: Option<&Collateral>,
    ) -> Result<Option<VerifiedQuote>, Stop> {
        let verified = match collateral {
            None => Err("there is no collateral to verify the quote with: give it to the verifier, or let the enclave's host fetch it (`--pccs-url`)".to_owned()),
            Some(collateral) => dcap::verify_quote(bytes, chain.root(), collateral, self.now)
                .map_err(|error| format!("the quote does not verify: {error}")),
        };
        let outcome = match &verified {
            Ok(verified) => Outcome::pass(format!("verified, platform {}", hex::encode(&verified.fmspc))),
            Err(message) => Outcome::fail("not verified", message),
        };
        self.structural(CheckId::Quote, outcome)?;
        Ok(verified.ok())
    }

    /// Check 9: the verifier computes what the quote has to bind.
    fn report_data(
        &mut self,
        presented: &Presented<'_>,
        leaf: &LeafCertificate,
        report: &ReportBody,
        case: &Case<'_>,
    ) {
        let key = &leaf.spki_der;
        let (wanted, bound) = match presented {
            Presented::Certificate { .. } => {
                (report_data::compute(key, Binding::NotBefore(leaf.not_before)), Bound::NotBefore)
            }
            Presented::Challenge { nonce, .. } => {
                (report_data::compute(key, Binding::Nonce(nonce)), Bound::Nonce)
            }
            Presented::Channel { nonce, exporter, .. } => {
                (report_data::compute(key, Binding::Channel { nonce, exporter }), Bound::Channel)
            }
            Presented::Evidence(document) => {
                let leaf = case.chain.first().map(|der| &der[..]).unwrap_or_default();
                (report_data::evidence(leaf, &document.manifest.root()), Bound::Evidence)
            }
            Presented::Quote(_) => return,
        };
        self.record(CheckId::ReportData, freshness::report_data(&report.report_data, &wanted, bound));
    }

    /// Checks 16 to 19: what the leaf claims, where the policy asks.
    fn claims(&mut self, leaf: &LeafCertificate, case: &Case<'_>) {
        let policy = self.policy;
        if let Some(rule) = &policy.app {
            self.record(CheckId::App, app::app(rule, leaf));
            if let Some(claim) = app::named(rule, leaf) {
                if let Some(accepted) = &rule.code_hashes {
                    self.record(CheckId::CodeHash, app::code_hash(accepted, claim));
                }
                if let Some(outcome) = app::key_source(rule, leaf) {
                    self.record(CheckId::KeySource, outcome);
                }
            }
        }
        if policy.configuration.is_some() || case.evidence.is_some() {
            let outcome = configuration::configuration(
                policy.configuration.as_ref(),
                policy.app.as_ref(),
                leaf,
                case.disclosed,
                case.evidence.map(|document| (&document.ca_proof, case.chain.get(1))),
            );
            self.record(CheckId::Configuration, outcome);
        }
    }

    fn tell_leaf(&mut self, leaf: &LeafCertificate) {
        let fact = |claim: &crate::leaf_certificate::AppClaim| AppFacts {
            name: claim.name.clone(),
            route_prefix: claim.route_prefix.clone(),
            code_hash: claim.code_hash,
            configuration_root: leaf.app.as_ref().map(|own| own.configuration_root),
            key_source: leaf.app.as_ref().map(|own| own.key_source.clone()),
        };
        self.verdict.apps = leaf.apps.iter().map(fact).collect();
        self.verdict.configuration_root = Some(leaf.configuration_root);
        self.verdict.not_before = Some(instant::format(leaf.not_before));
        self.verdict.not_after = Some(instant::format(leaf.not_after));
    }

    fn tell_quote(&mut self, report: &ReportBody, verified: &VerifiedQuote) {
        self.verdict.enclave = Some(EnclaveFacts {
            mrenclave: report.mrenclave,
            mrsigner: report.mrsigner,
            isv_prod_id: report.isv_prod_id,
            isv_svn: report.isv_svn,
            debug: report.is_debug(),
            cpu_svn: report.cpu_svn,
        });
        self.verdict.tcb = Some(TcbFacts {
            status: verified.status.clone(),
            advisories: verified.advisories.clone(),
            fmspc: verified.fmspc.to_vec(),
            ppid: verified.ppid.clone(),
            root: verified.root,
        });
    }

    fn structural(&mut self, check: CheckId, outcome: Outcome) -> Result<(), Stop> {
        if self.record(check, outcome) { Ok(()) } else { Err(Stop) }
    }

    /// Notes a check. True if it holds.
    fn record(&mut self, check: CheckId, outcome: Outcome) -> bool {
        #[cfg(test)]
        if self.without == Some(check) {
            return true;
        }
        let Outcome { found, wanted, failure } = outcome;
        let passed = failure.is_none();
        self.verdict.checks.push(Check { check, passed, found, wanted, message: failure });
        passed
    }
}

fn parse_sgx(bytes: &[u8]) -> Result<(ReportBody, PckChain), String> {
    let quote = Quote::parse(bytes).map_err(|error| error.to_string())?;
    let version = quote.header.version;
    let Some(report) = quote.sgx() else {
        return Err(format!(
            "this is a TDX quote (version {version}) of a virtual machine; an enclave of this system has an SGX quote of version 3"
        ));
    };
    if version != 3 {
        return Err(format!("this SGX quote has version {version}; SGX quotes are verified in version 3"));
    }
    let chain = PckChain::of(&quote).map_err(|error| error.to_string())?;
    Ok((report.clone(), chain))
}
