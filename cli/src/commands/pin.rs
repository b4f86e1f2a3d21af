//! A policy of what a server shows now.

use attestation::policy::{Accepted, AppRule, INTEL_ROOT, Roots, TcbStatus, VerificationPolicy};
use attestation::quote::Quote;
use enclave_os_client::{Http, pem};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::session::Session;

/// The policy that accepts this server's enclave, and the app if one is named: the root and the measurement of its
/// quote, the state of its platform, the code of the app.
pub(crate) fn policy(session: &Session, app: Option<&str>) -> Result<VerificationPolicy, Failure> {
    let http: Http = session.unverified().http()?;
    let leaf = http.peer().claims().map_err(Failure::from)?;
    let unusable = |why: String| Failure::verification("no-quote", why);
    let quote = leaf.quote.as_deref().ok_or_else(|| {
        unusable(format!("the certificate of {} has no quote: there is nothing to pin", session.server()))
            .hint("`enclave-os status` says why the server has none")
    })?;
    let quote = Quote::parse(quote).map_err(|e| unusable(format!("the quote in the certificate: {e}")))?;
    let report = quote.sgx().ok_or_else(|| unusable("the quote is not of an SGX enclave".to_owned()))?;
    let mut policy =
        VerificationPolicy::for_measurement(root_of(&quote).map_err(unusable)?, report.mrenclave);
    if report.is_debug() {
        return Err(unusable("it is a DEBUG enclave: its memory can be read from outside".to_owned())
            .hint("a policy with `allow_debug = true` accepts one; it has to be written by hand"));
    }
    if let Some(name) = app {
        let claim = leaf.apps.iter().find(|claim| claim.name == name).ok_or_else(|| {
            unusable(format!("no app `{name}` is in the certificate"))
                .hint("`enclave-os list` shows what is loaded")
        })?;
        policy.app = Some(AppRule {
            name: name.to_owned(),
            code_hashes: Some(vec![claim.code_hash]),
            key_source: None,
        });
    }
    drop(http);
    // The platform's state is known only after the quote was verified; so look with every state accepted.
    let mut open = policy.clone();
    open.tcb.statuses = TcbStatus::ALL.map(Accepted::always).to_vec();
    if let Some(tcb) = session.verdict(open)?.tcb() {
        policy.tcb.advisories = tcb.advisories.iter().cloned().map(Accepted::always).collect();
        if let Some(status) = TcbStatus::from_name(&tcb.status) {
            policy.tcb.statuses = vec![Accepted::always(status)];
        }
    }
    Ok(policy)
}

/// The root that the quote's platform certificate leads to.
fn root_of(quote: &Quote<'_>) -> Result<Roots, String> {
    let chain = pem::certificates(quote.signature.pck_chain_pem)
        .map_err(|e| format!("the certificates in the quote: {e}"))?;
    let root = chain.last().ok_or("the quote holds no certificates")?;
    let fingerprint: [u8; 32] = Sha256::digest(root).into();
    Ok(if fingerprint == INTEL_ROOT { Roots::Intel } else { Roots::Development(vec![fingerprint]) })
}
