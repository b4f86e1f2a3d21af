//! Quotes for connections: tier `challenge` in the handshake, tier `channel` after it, and documents.

use attestation::collateral::Collateral;
use attestation::evidence::{EvidenceDocument, Interop};
use attestation::instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundary_wire::client::{Attest, Reply};
use enclave_access::{Operation, Wish};
use enclave_platform::clock::Monotonic;
use enclave_ratls::{Document, Generation, Identity, Offline, Quote, QuoteError, Status, claimed_now};
use enclave_worker::{Handle, LogLevel};
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::control::{QuoteFor, overloaded};
use crate::refusal::{Refusal, unknown_app};
use crate::session::Session;
use crate::{Services, limits};

/// How often quotes are made for clients, of the whole enclave: it cannot know who a peer is, so all it can share
/// by is the connection ([`own_bucket`]). Handshakes have a bucket of their own, so that those who only connect
/// cannot take the quotes of those who have.
pub(crate) struct Buckets {
    challenges: Bucket,
    requests: Bucket,
}

impl Default for Buckets {
    fn default() -> Self {
        let bucket = || Bucket::new(limits::QUOTE_INTERVAL, limits::QUOTE_BURST);
        Buckets { challenges: bucket(), requests: bucket() }
    }
}

impl Buckets {
    /// Takes one for a request on the connection that `own` is of. One that asks too often takes none from the
    /// others.
    fn take_for_request(&self, own: &Bucket, now: Monotonic) -> Result<(), Refusal> {
        if own.take(now) && self.requests.take(now) { Ok(()) } else { Err(overloaded()) }
    }
}

/// What one connection may take of the quotes for requests.
pub(crate) fn own_bucket() -> Bucket {
    Bucket::new(limits::CONNECTION_QUOTE_INTERVAL, limits::CONNECTION_QUOTE_BURST)
}

/// The identity for a client that offered a nonce.
pub(crate) async fn challenge(
    services: &Services,
    handle: &Handle,
    server_name: Option<&str>,
    nonce: [u8; 32],
) -> Result<Identity, Refusal> {
    let place = services.quotes.place(QuoteFor::Challenge)?;
    if !services.buckets.challenges.take(handle.monotonic()) {
        return Err(overloaded());
    }
    let failed = |error: enclave_ratls::IdentityError| Refusal::new(error.code(), error.to_string());
    let challenged = services.identities.challenged(server_name, nonce).map_err(failed)?;
    let quote = services.quotes.quote(handle, place, challenged.report_data()).await?;
    services.identities.answer(challenged, quote).map_err(failed)
}

/// A quote that binds this very connection to the client's nonce.
pub(crate) async fn attest(session: &Session, attest: &Attest, auth: Option<&str>) -> Result<Reply, Refusal> {
    let services = &session.services;
    session.decide(Wish::new(Operation::Evidence), auth)?;
    // What cannot be answered costs nobody a quote.
    let report_data = session.channel_report_data(&attest.nonce().ok_or_else(bad_nonce)?)?;
    let place = services.quotes.place(QuoteFor::Request)?;
    services.buckets.take_for_request(&session.quotes, session.handle.monotonic())?;
    let quote = services.quotes.quote(&session.handle, place, report_data).await?;
    let collateral = services.quotes.board().collateral();
    Ok(Reply::Attested {
        quote: STANDARD.encode(quote.as_bytes()),
        collateral: collateral.map(|known| serde_json::to_value(&*known)).transpose().map_err(internal)?,
        issued: instant::format(claimed_now(session.handle.clock())),
    })
}

fn bad_nonce() -> Refusal {
    Refusal::new("bad-request", "`nonce` is 32 bytes in base64url without padding, drawn for this request")
}

/// The evidence document of what the connection was made to (`docs/formats/evidence.md`), as JSON.
pub(crate) async fn evidence(
    session: &Session,
    interoperable: bool,
    auth: Option<&str>,
) -> Result<String, Refusal> {
    let services = &session.services;
    session.decide(Wish::new(Operation::Evidence), auth)?;
    let offline = services.identities.offline(&session.scope).map_err(internal)?;
    let offline = offline.ok_or_else(|| unknown_app(session.sni.as_deref().unwrap_or_default()))?;
    // The moment of what it tells: quotes may be long in coming.
    let issued = claimed_now(session.handle.clock());
    let interop = if interoperable { Some(interop(session, &offline).await?) } else { None };
    let generation = |told: Generation| attestation::evidence::Generation {
        generation: told.number,
        configuration_root: told.configuration_root,
        since: told.since,
        changed: told.changed,
    };
    let document = EvidenceDocument {
        format: attestation::evidence::FORMAT,
        certificate_chain: offline.chain().iter().map(|der| der.to_vec()).collect(),
        certificate_quote: offline.certificate_quote().map(bytes),
        evidence_quote: document_quote(session, &offline, Document::Evidence).await?.as_ref().map(bytes),
        collateral: services.quotes.board().collateral().map(|document| Collateral::clone(&document)),
        manifest: offline.manifest().clone(),
        ca_proof: offline.ca_proof().ok_or_else(|| internal("the configuration does not name the CA"))?,
        generations: offline.generations().into_iter().map(generation).collect(),
        issued,
        interop,
    };
    document.to_json().map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new("internal", error.to_string())
}

fn bytes(quote: &Quote) -> Vec<u8> {
    quote.as_bytes().to_vec()
}

async fn interop(session: &Session, offline: &Offline) -> Result<Interop, Refusal> {
    let quote = document_quote(session, offline, Document::Interoperable).await?;
    let quote = quote.ok_or_else(|| {
        let message =
            "the host gives no quote for the interoperable evidence that was asked for; `ready` says why";
        Refusal::new("no-quote", message)
    })?;
    Ok(Interop { quote: bytes(&quote), claims: offline.interoperable_claims() })
}

/// The quote of a document: made once for each leaf. `None`: the host gives none.
async fn document_quote(
    session: &Session,
    offline: &Offline,
    document: Document,
) -> Result<Option<Quote>, Refusal> {
    if let Some(quote) = offline.quote(document) {
        return Ok(Some(quote));
    }
    let services = &session.services;
    let place = services.quotes.place(QuoteFor::Request)?;
    services.buckets.take_for_request(&session.quotes, session.handle.monotonic())?;
    match services.quotes.quote(&session.handle, place, offline.report_data(document)).await {
        Ok(quote) => {
            offline.keep(document, &quote);
            Ok(Some(quote))
        }
        Err(refusal) if refusal.code() == "no-quote" => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// What `ready` says of quotes.
pub(crate) fn readiness(session: &Session) -> Value {
    let board = session.services.quotes.board();
    let mut said = match board.status() {
        None => json!({ "state": "none", "reason": "none was asked for yet" }),
        Some(Status::Missing { since, why }) => json!({
            "state": "none",
            "reason": why.to_string(),
            "host_misbehaved": matches!(why, QuoteError::HostMisbehaved(_)),
            "since": instant::format(since),
        }),
        Some(Status::Available { since, last }) => json!({
            "state": "available",
            "since": instant::format(since),
            "last": instant::format(last),
        }),
    };
    if let Some(members) = said.as_object_mut() {
        let identity = session.services.identities.select(session.sni.as_deref());
        let root = identity.quote.as_ref().and_then(Quote::root_fingerprint);
        members.insert("kind".into(), "dcap-ecdsa-v3".into());
        members.insert("root".into(), root.map(|root| crate::hex::encode(&root)).into());
        members.insert("certificate".into(), identity.quote.is_some().into());
        members.insert("certificate_since".into(), instant::format(identity.not_before).into());
        members.insert("collateral".into(), board.collateral().is_some().into());
        members.insert("challenges_refused".into(), session.services.refused.count().into());
    }
    said
}

/// Handshakes that were refused although their nonce was right.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    count: std::sync::atomic::AtomicU64,
    quiet_until: std::sync::Mutex<enclave_platform::clock::Monotonic>,
}

impl Refused {
    fn count(&self) -> u64 {
        self.count.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Counts one, and says why in the log: at most once in a while, because anybody can cause it.
    pub(crate) fn add(&self, handle: &Handle, refusal: &Refusal) {
        let count = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let now = handle.monotonic();
        let mut quiet = self.quiet_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now < *quiet {
            return;
        }
        *quiet = now.after(limits::LOG_INTERVAL);
        drop(quiet);
        let line = format!("{count} challenged handshakes refused so far, the last one for: {refusal}");
        handle.log(LogLevel::Warn, "quotes", &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_asks_too_often_takes_no_quotes_from_the_others() {
        let (buckets, now) = (Buckets::default(), Monotonic::from_nanos(1));
        let taken = |own: &Bucket, now| match buckets.take_for_request(own, now) {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal.code(), "overloaded");
                false
            }
        };
        let greedy = own_bucket();
        let got = (0..10_000).filter(|_| taken(&greedy, now)).count();
        assert_eq!(got, 4);
        // All that is left of the whole enclave's are there for the others, and no more than those.
        let got = (0..1000).filter(|_| taken(&own_bucket(), now)).count();
        assert_eq!(got, limits::QUOTE_BURST as usize - 4);
        let later = now.after(std::time::Duration::from_secs(1));
        assert_eq!((taken(&greedy, later), taken(&greedy, later)), (true, false));
    }
}
