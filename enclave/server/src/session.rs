//! What the server knows of one connection.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use enclave_access::{Circumstances, Grant, Nonces, Operation, Wish, decide};
use enclave_ratls::{Change, Identity, LeafKey, ReportData, Scope, Seen};
use enclave_worker::Handle;

use crate::bucket::Bucket;
use crate::budget::Share;
use crate::catalog::Entry;
use crate::places::Place;
use crate::refusal::{Refusal, unknown_app};
use crate::shared::Channel;
use crate::{Services, attest};
use boundary_wire::client::Access;

/// One connection after its handshake.
pub(crate) struct Session {
    pub(crate) services: Arc<Services>,
    pub(crate) handle: Handle,
    pub(crate) scope: Scope,
    /// The server name of the handshake, in lower case.
    pub(crate) sni: Option<String>,
    /// Where it stands among the connections of its worker.
    pub(crate) place: Arc<Place>,
    /// What it may have quoted.
    pub(crate) quotes: Bucket,
    seen: Mutex<Seen>,
    /// The key of the certificate it was shown.
    key: LeafKey,
    /// The connection itself.
    channel: Channel,
    /// Handed out on it and not used yet.
    nonces: Nonces,
    closing: AtomicBool,
}

impl Session {
    pub(crate) fn new(
        services: Arc<Services>,
        handle: Handle,
        sni: Option<String>,
        identity: Identity,
        channel: Channel,
        place: Arc<Place>,
    ) -> Session {
        let Identity { scope, seen, key, .. } = identity;
        let (seen, nonces, closing) = (Mutex::new(seen), Nonces::default(), AtomicBool::new(false));
        let quotes = attest::own_bucket();
        Session { services, handle, scope, sni, place, quotes, seen, key, channel, nonces, closing }
    }

    /// A share of the budget, with `allowance` bytes outside of it.
    pub(crate) fn share(&self, allowance: usize) -> Share {
        let mut share = self.services.budget.share(allowance);
        if self.services.policy.development() {
            share.trust();
        }
        share
    }

    /// Resolves when the client has ended the connection or is gone. For while nobody reads from it.
    pub(crate) async fn client_gone(&self) {
        poll_fn(|cx| self.channel.poll_client_gone(cx)).await;
    }

    /// What a quote for this connection is made over. The exporter is computed here, from the connection that
    /// the request came on, so a request that was passed on to another one gets nothing that fits.
    pub(crate) fn channel_report_data(&self, nonce: &[u8; 32]) -> Result<ReportData, Refusal> {
        let exporter = self.channel.exporter(nonce);
        let exporter = exporter.ok_or_else(|| Refusal::new("internal", "the connection has ended"))?;
        Ok(self.key.channel(nonce, &exporter))
    }

    /// Refuses what only exists on the enclave's own name, and what was attested before the enclave's core
    /// changed.
    pub(crate) fn enclave_only(&self) -> Result<(), Refusal> {
        match &self.scope {
            Scope::Enclave if self.seen().is_stale(&self.services.identities, None) => {
                Err(self.stale("the enclave"))
            }
            Scope::Enclave => Ok(()),
            Scope::App(app) => Err(Refusal::new(
                "not-here",
                format!(
                    "this connection was made to the hostname of app {app:?}, where only that app exists; connect to the \
                     enclave's own name for the rest"
                ),
            )),
        }
    }

    /// Refuses to tell of what is not what the handshake attested: an app that is gone, or that has changed as the
    /// enclave's core may have. Asked after what is told was read, so that no change slips in between.
    pub(crate) fn still_attested(&self) -> Result<(), Refusal> {
        let Scope::App(app) = &self.scope else { return self.enclave_only() };
        self.services.catalog.entry(app)?;
        if self.seen().is_stale(&self.services.identities, Some(app)) {
            return Err(self.stale(&format!("app {app:?} or the enclave itself")));
        }
        Ok(())
    }

    /// Refuses another app than the one this connection was made to.
    pub(crate) fn in_scope(&self, name: &str) -> Result<(), Refusal> {
        match &self.scope {
            Scope::App(app) if app != name => Err(unknown_app(name)),
            Scope::App(_) | Scope::Enclave => Ok(()),
        }
    }

    /// Refuses when `entry` is not what the handshake attested, or the enclave's core has changed since, and
    /// lets the connection end (DESIGN D15).
    pub(crate) fn check_fresh(&self, entry: &Entry) -> Result<(), Refusal> {
        let name = entry.info.name.as_str();
        let fresh = {
            let seen = self.seen();
            seen.covers(name, &entry.configuration_root)
                && !seen.is_stale(&self.services.identities, Some(name))
        };
        if fresh {
            return Ok(());
        }
        Err(self.stale(&format!("app {name:?} or the enclave itself")))
    }

    fn stale(&self, what: &str) -> Refusal {
        self.close();
        Refusal::new(
            "attestation-stale",
            format!(
                "{what} has changed since this connection was attested; connect again, verify the new certificate and \
                 repeat the request"
            ),
        )
    }

    /// This connection made the change itself and knows of it.
    pub(crate) fn accept_own_change(&self, change: &Change) {
        self.seen().accept_own_change(change);
    }

    /// Whether whoever shows this credential on this connection may do that. A one-time nonce in it is used up.
    pub(crate) fn decide(&self, wish: Wish<'_>, auth: Option<&str>) -> Result<Grant, Refusal> {
        let services = &self.services;
        let at = Circumstances {
            audience: &services.audience,
            now: self.handle.clock().unix(),
            nonces: &self.nonces,
        };
        Ok(decide(&services.policy, wish, auth, at)?)
    }

    /// The same for an app and what it demands.
    pub(crate) fn decide_on(
        &self,
        operation: Operation,
        app: &Entry,
        auth: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let by_token = app.access == Access::Token;
        self.decide(Wish::on(operation, &app.info.name).by_token(by_token), auth)
    }

    /// A new one-time nonce.
    pub(crate) fn challenge(&self) -> Result<String, Refusal> {
        let mut nonce = [0; 32];
        self.handle
            .platform()
            .random(&mut nonce)
            .map_err(|error| Refusal::new("no-randomness", error.to_string()))?;
        self.nonces.add(nonce);
        Ok(URL_SAFE_NO_PAD.encode(nonce))
    }

    /// After the current answer the connection ends.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
