//! The certificates of the moment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use attestation::manifest::{Leaf, Manifest};
use enclave_access::Policy;
use enclave_platform::Platform;
use enclave_platform::clock::Clock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use crate::issue::{Issued, Issuer, Snapshot, Upkeep};
use crate::leaf::Names;
use crate::quoting::{Quote, Quoting};
use crate::report::ReportData;
use crate::seen::{Change, Seen, State};
use crate::snapshot::{AppIdentity, Apps, IdentityError};
use crate::{Authority, InstallError, clock, tls};

/// What does not change while the enclave runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The enclave's own leaves, `core.*` and `egress.ca_bundle`, without those of the CA.
    pub core_leaves: Vec<Leaf>,
    /// DNS names of the enclave's own certificate.
    pub served_names: Vec<String>,
    /// Adds `localhost` and the loopback addresses to them.
    pub development: bool,
    /// Certificates also carry interoperable evidence (`2.23.133.5.4.9`), with a quote of its own.
    pub interoperable: bool,
}

impl Settings {
    /// From the measured policy, and the leaves that do not follow from it: `core.platform` and `core.version`.
    ///
    /// # Errors
    /// [`IdentityError::Manifest`].
    pub fn new(policy: &Policy, platform: Leaf, version: Leaf) -> Result<Settings, IdentityError> {
        use enclave_access::leaves;
        Ok(Settings {
            core_leaves: vec![
                platform,
                version,
                leaves::operator_policy(policy)?,
                leaves::code_policy(policy)?,
                leaves::egress_ca_bundle(policy)?,
            ],
            served_names: policy.served_names().to_vec(),
            development: policy.development(),
            interoperable: policy.interop(),
        })
    }

    /// Names no app may have as its hostname.
    pub(crate) fn reserved(&self) -> BTreeSet<String> {
        self.served_names.iter().cloned().chain(["localhost".to_owned()]).collect()
    }

    pub(crate) fn names(&self) -> Names {
        let mut dns = self.served_names.clone();
        if self.development && !dns.iter().any(|name| name == "localhost") {
            dns.push("localhost".to_owned());
        }
        Names { dns, loopback: self.development }
    }
}

/// Which part of the enclave a connection may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Enclave,
    /// That app and its evidence; no management, no other app.
    App(String),
}

/// What a connection gets.
#[derive(Clone)]
pub struct Identity {
    /// For the handshake.
    pub config: Arc<ServerConfig>,
    /// What the server name selected.
    pub scope: Scope,
    /// What the certificate says.
    pub seen: Seen,
    /// Leaf, enclave CA, and what is installed above it: what the handshake shows.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// What vouches for the leaf, if anything does.
    pub quote: Option<Quote>,
    /// The leaf's key.
    pub key: LeafKey,
    /// Since when the leaf is valid.
    pub not_before: OffsetDateTime,
}

impl Identity {
    pub(crate) fn new(issued: &Issued, scope: Scope, snapshot: &Snapshot) -> Identity {
        Identity {
            config: Arc::clone(&issued.config),
            scope,
            seen: Seen::new(Arc::clone(&snapshot.state)),
            chain: Arc::clone(&issued.chain),
            quote: issued.evidence.quote.clone(),
            key: LeafKey(issued.draft.spki_der().into()),
            not_before: issued.draft.not_before(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The public key of the leaf that a connection was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafKey(Arc<[u8]>);

impl LeafKey {
    /// What a quote for this connection is made over (tier `channel`): the client's nonce, and the exporter of
    /// the connection that showed this key, with that nonce as context.
    pub fn channel(&self, nonce: &[u8; 32], exporter: &[u8; 32]) -> ReportData {
        ReportData::channel(&self.0, nonce, exporter)
    }
}

/// All identities of one enclave. Shared by its threads.
pub struct Identities {
    platform: Arc<dyn Platform>,
    clock: Arc<Clock>,
    provider: Arc<CryptoProvider>,
    settings: Settings,
    /// One change at a time, and the last generation of an app that was given.
    changing: Mutex<u64>,
    current: RwLock<Arc<Snapshot>>,
}

/// A configuration with its certificates that [`Identities::publish`] makes visible.
#[must_use = "nothing changes until it is published"]
pub struct Prepared(Snapshot);

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("state", &self.0.state).finish_non_exhaustive()
    }
}

impl Identities {
    /// Identities of an enclave without apps. Their certificates have no quotes until
    /// [`Identities::maintain`] has asked for them.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        platform: Arc<dyn Platform>,
        clock: Arc<Clock>,
        settings: Settings,
        authority: Authority,
    ) -> Result<Identities, IdentityError> {
        let issuer =
            Issuer { platform: &*platform, clock: &clock, provider: &tls::provider(), settings: &settings };
        let mut snapshot = issuer.snapshot(authority, Vec::new(), None, &mut 0)?;
        let first = Change::between(&State::default(), &snapshot.state);
        snapshot.history = snapshot.history.then(snapshot.manifest.root(), clock::now(&clock)?, &first);
        Ok(Identities {
            provider: Arc::clone(issuer.provider),
            changing: Mutex::new(0),
            current: RwLock::new(Arc::new(snapshot)),
            platform,
            clock,
            settings,
        })
    }

    /// Makes certificates and manifest say that these are the apps. An identity that stays keeps its key and
    /// quote; a new one gets its own, with a quote if one can be had.
    ///
    /// # Errors
    /// [`IdentityError`]; everything stays as it was.
    pub async fn reconfigure(
        &self,
        apps: Vec<AppIdentity>,
        quoting: &Quoting,
    ) -> Result<Change, IdentityError> {
        self.prepare(apps, quoting).await.map(|prepared| self.publish(prepared))
    }

    /// [`Identities::reconfigure`] in two steps: all that can fail, and nothing that is visible.
    /// One change at a time: what is published between this and [`Identities::publish`] is lost.
    ///
    /// # Errors
    /// [`IdentityError`]. That no quote can be had is none: [`Identities::maintain`] asks again.
    pub async fn prepare(
        &self,
        apps: Vec<AppIdentity>,
        quoting: &Quoting,
    ) -> Result<Prepared, IdentityError> {
        self.next(|current| (current.authority.clone(), apps), quoting).await
    }

    /// As [`Identities::prepare`], for [`Identities::use_authority`].
    ///
    /// # Errors
    /// [`IdentityError`].
    pub async fn prepare_authority(
        &self,
        authority: Authority,
        quoting: &Quoting,
    ) -> Result<Prepared, IdentityError> {
        let apps = |current: &Snapshot| current.apps.iter().map(|(app, _)| app.clone()).collect();
        self.next(|current| (authority, apps(current)), quoting).await
    }

    /// Makes certificates and manifest say what was prepared.
    pub fn publish(&self, prepared: Prepared) -> Change {
        let Prepared(mut snapshot) = prepared;
        let now = clock::claimed_now(&self.clock);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let change = Change::between(&current.state, &snapshot.state);
        snapshot.history = current.history.clone();
        if !change.is_empty() {
            snapshot.history = snapshot.history.then(snapshot.manifest.root(), now, &change);
        }
        *current = Arc::new(snapshot);
        change
    }

    /// Has quotes made for certificates that carry none, and renews what is due. To be called now and then,
    /// on the control thread: nothing that serves a handshake issues or asks.
    ///
    /// # Errors
    /// [`IdentityError`] when a certificate cannot be issued; the one that was there stays.
    pub async fn maintain(&self, quoting: &Quoting) -> Result<Upkeep, IdentityError> {
        self.issuer().maintain(&self.snapshot(), quoting).await
    }

    /// Whether [`Identities::reconfigure`] would take these apps: to be asked before anything is stored.
    ///
    /// # Errors
    /// What `reconfigure` would say of them.
    pub fn check(&self, apps: Vec<AppIdentity>) -> Result<(), IdentityError> {
        Apps::new(apps, &self.settings.reserved()).map(|_| ())
    }

    /// The enclave's CA under the certificates an operator made for it, verified but not in use:
    /// seal it first, then [`Identities::use_authority`].
    ///
    /// # Errors
    /// [`InstallError`], with the rule that was broken.
    pub fn verify_ca(&self, chain_pem: &str) -> Result<Authority, InstallError> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.clock.unix().as_secs()));
        self.snapshot().authority.install(chain_pem, now)
    }

    /// Issues everything under this authority from now on. A leaf of the enclave changes with it.
    ///
    /// # Errors
    /// [`IdentityError`]; everything stays as it was.
    pub async fn use_authority(
        &self,
        authority: Authority,
        quoting: &Quoting,
    ) -> Result<Change, IdentityError> {
        self.prepare_authority(authority, quoting).await.map(|prepared| self.publish(prepared))
    }

    /// See [`Authority::to_sealed`].
    pub fn sealed_authority(&self) -> zeroize::Zeroizing<Vec<u8>> {
        self.snapshot().authority.to_sealed()
    }

    /// See [`Authority::csr_pem`].
    ///
    /// # Errors
    /// [`crate::AuthorityError`].
    pub fn csr_pem(&self) -> Result<String, crate::AuthorityError> {
        self.snapshot().authority.csr_pem()
    }

    /// See [`Authority::certificates_pem`].
    pub fn ca_pem(&self) -> String {
        self.snapshot().authority.certificates_pem()
    }

    /// See [`Authority::spki_der`].
    pub fn ca_spki_der(&self) -> Vec<u8> {
        self.snapshot().authority.spki_der()
    }

    /// The configuration that certificates commit to.
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.snapshot().manifest)
    }

    /// The identity for a handshake: of the app whose hostname the client asked for, else of the enclave.
    pub fn select(&self, server_name: Option<&str>) -> Identity {
        let (snapshot, scope) = self.addressed(server_name);
        let slot = match &scope {
            Scope::Enclave => &snapshot.enclave,
            Scope::App(app) => snapshot.app(app).unwrap_or(&snapshot.enclave),
        };
        Identity::new(&slot.issued(), scope, &snapshot)
    }

    /// Whom a server name means at this moment.
    pub(crate) fn addressed(&self, server_name: Option<&str>) -> (Arc<Snapshot>, Scope) {
        let snapshot = self.snapshot();
        let asked = server_name.map(str::to_ascii_lowercase);
        let app = asked.and_then(|name| snapshot.by_hostname.get(&name));
        let scope = app.map_or(Scope::Enclave, |(app, _)| Scope::App(app.clone()));
        (snapshot, scope)
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.snapshot().state)
    }

    async fn next(
        &self,
        next: impl FnOnce(&Snapshot) -> (Authority, Vec<AppIdentity>),
        quoting: &Quoting,
    ) -> Result<Prepared, IdentityError> {
        let snapshot = self.next_snapshot(next)?;
        self.issuer().maintain(&snapshot, quoting).await?;
        Ok(Prepared(snapshot))
    }

    fn next_snapshot(
        &self,
        next: impl FnOnce(&Snapshot) -> (Authority, Vec<AppIdentity>),
    ) -> Result<Snapshot, IdentityError> {
        // A thread that panicked holds nothing half done here: the enclave ends on a panic anyway.
        let mut last_generation = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        let (authority, apps) = next(&current);
        let mut generation = *last_generation;
        let snapshot = self.issuer().snapshot(authority, apps, Some(&current), &mut generation)?;
        // Given once, whether it is published or not.
        *last_generation = generation;
        Ok(snapshot)
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn platform(&self) -> &dyn Platform {
        &*self.platform
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn issuer(&self) -> Issuer<'_> {
        Issuer {
            platform: &*self.platform,
            clock: &self.clock,
            provider: &self.provider,
            settings: &self.settings,
        }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("state", &self.state()).finish_non_exhaustive()
    }
}
