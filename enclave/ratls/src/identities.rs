//! The certificates of the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use attestation::manifest::{Leaf, Manifest};
use enclave_access::Policy;
use enclave_platform::Platform;
use enclave_platform::clock::Clock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};

use crate::leaf::{Claims, Draft, Evidence, Names, VALIDITY};
use crate::seen::{AppState, Change, Seen, State};
use crate::snapshot::{AppIdentity, Apps, IdentityError};
use crate::{Authority, InstallError, tls};

/// A leaf is replaced when this much of its validity is over.
const RENEW_AFTER: Duration = Duration::hours(VALIDITY.whole_hours() / 2);

/// What does not change while the enclave runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The enclave's own leaves, `core.*` and `egress.ca_bundle`, without those of the CA.
    pub core_leaves: Vec<Leaf>,
    /// DNS names of the enclave's own certificate.
    pub served_names: Vec<String>,
    /// Adds `localhost` and the loopback addresses to them.
    pub development: bool,
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
        })
    }

    /// Names no app may have as its hostname.
    fn reserved(&self) -> BTreeSet<String> {
        self.served_names.iter().cloned().chain(["localhost".to_owned()]).collect()
    }

    fn names(&self) -> Names {
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
    /// What a quote for this leaf is made over (tier `certificate`).
    pub report_data: [u8; 64],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// All identities of one enclave. Shared by its threads.
pub struct Identities {
    platform: Arc<dyn Platform>,
    clock: Arc<Clock>,
    provider: Arc<CryptoProvider>,
    settings: Settings,
    /// One change at a time, and the last generation that was given.
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

/// One configuration. Replaced as a whole.
struct Snapshot {
    authority: Authority,
    apps: Apps,
    manifest: Arc<Manifest>,
    state: Arc<State>,
    enclave: Slot,
    by_hostname: BTreeMap<String, (String, Slot)>,
}

/// One certificate: what it says, and its newest issue.
struct Slot {
    claims: Claims,
    issued: RwLock<Arc<Issued>>,
}

struct Issued {
    config: Arc<ServerConfig>,
    chain: Arc<[CertificateDer<'static>]>,
    not_before: OffsetDateTime,
    report_data: [u8; 64],
}

impl Identities {
    /// Identities of an enclave without apps.
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
        let snapshot = issuer.snapshot(authority, Vec::new(), &State::default(), &mut 0)?;
        Ok(Identities {
            provider: Arc::clone(issuer.provider),
            changing: Mutex::new(0),
            current: RwLock::new(Arc::new(snapshot)),
            platform,
            clock,
            settings,
        })
    }

    /// Makes certificates and manifest say that these are the apps. Each identity gets a new key.
    ///
    /// # Errors
    /// [`IdentityError`]; everything stays as it was.
    pub fn reconfigure(&self, apps: Vec<AppIdentity>) -> Result<Change, IdentityError> {
        self.prepare(apps).map(|prepared| self.publish(prepared))
    }

    /// [`Identities::reconfigure`] in two steps: all that can fail, and nothing that is visible.
    /// One change at a time: what is published between this and [`Identities::publish`] is lost.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn prepare(&self, apps: Vec<AppIdentity>) -> Result<Prepared, IdentityError> {
        self.next(|current| (current.authority.clone(), apps))
    }

    /// As [`Identities::prepare`], for [`Identities::use_authority`].
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn prepare_authority(&self, authority: Authority) -> Result<Prepared, IdentityError> {
        self.next(|current| (authority, current.apps.iter().map(|(app, _)| app.clone()).collect()))
    }

    /// Makes certificates and manifest say what was prepared.
    pub fn publish(&self, prepared: Prepared) -> Change {
        let Prepared(snapshot) = prepared;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let change = Change::between(&current.state, &snapshot.state);
        *current = Arc::new(snapshot);
        change
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
    pub fn use_authority(&self, authority: Authority) -> Result<Change, IdentityError> {
        self.prepare_authority(authority).map(|prepared| self.publish(prepared))
    }

    /// [`Identities::verify_ca`] and [`Identities::use_authority`] at once; what has to be sealed is
    /// [`Identities::sealed_authority`].
    ///
    /// # Errors
    /// As the two.
    pub fn install_ca(&self, chain_pem: &str) -> Result<Result<Change, IdentityError>, InstallError> {
        Ok(self.use_authority(self.verify_ca(chain_pem)?))
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
    /// A certificate that is due is issued anew.
    ///
    /// # Errors
    /// [`IdentityError`] when a certificate is due and cannot be issued.
    pub fn select(&self, server_name: Option<&str>) -> Result<Identity, IdentityError> {
        let snapshot = self.snapshot();
        let asked = server_name.map(str::to_ascii_lowercase);
        let app = asked.and_then(|name| snapshot.by_hostname.get(&name));
        let (scope, slot) = match app {
            Some((app, slot)) => (Scope::App(app.clone()), slot),
            None => (Scope::Enclave, &snapshot.enclave),
        };
        let issued = self.fresh(&snapshot.authority, slot)?;
        Ok(Identity {
            config: Arc::clone(&issued.config),
            scope,
            seen: Seen::new(Arc::clone(&snapshot.state)),
            chain: Arc::clone(&issued.chain),
            report_data: issued.report_data,
        })
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.snapshot().state)
    }

    fn next(
        &self,
        next: impl FnOnce(&Snapshot) -> (Authority, Vec<AppIdentity>),
    ) -> Result<Prepared, IdentityError> {
        // A thread that panicked holds nothing half done here: the enclave ends on a panic anyway.
        let mut last_generation = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot();
        let (authority, apps) = next(&current);
        let mut generation = *last_generation;
        let snapshot = self.issuer().snapshot(authority, apps, &current.state, &mut generation)?;
        // Given once, whether it is published or not.
        *last_generation = generation;
        Ok(Prepared(snapshot))
    }

    fn fresh(&self, authority: &Authority, slot: &Slot) -> Result<Arc<Issued>, IdentityError> {
        let now = now(&self.clock)?;
        let due = |issued: &Issued| now - issued.not_before >= RENEW_AFTER;
        let issued = Arc::clone(&slot.issued.read().unwrap_or_else(PoisonError::into_inner));
        if !due(&issued) {
            return Ok(issued);
        }
        let mut newest = slot.issued.write().unwrap_or_else(PoisonError::into_inner);
        if due(&newest) {
            *newest = Arc::new(self.issuer().issue(authority, &slot.claims)?);
        }
        Ok(Arc::clone(&newest))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn issuer(&self) -> Issuer<'_> {
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

/// What it takes to issue.
struct Issuer<'a> {
    platform: &'a dyn Platform,
    clock: &'a Arc<Clock>,
    provider: &'a Arc<CryptoProvider>,
    settings: &'a Settings,
}

impl Issuer<'_> {
    fn snapshot(
        &self,
        authority: Authority,
        apps: Vec<AppIdentity>,
        before: &State,
        generation: &mut u64,
    ) -> Result<Snapshot, IdentityError> {
        let apps = Apps::new(apps, &self.settings.reserved())?;
        let core = self.core_leaves(&authority)?;
        let manifest = apps.manifest(&core)?;
        let root = manifest.root();
        let mut state = State { core: Manifest::new(core)?.root(), apps: BTreeMap::new() };
        for (app, own) in apps.iter() {
            let before = before.apps.get(app.name.as_str()).filter(|before| before.root == own.root());
            let next = || {
                *generation += 1;
                AppState { generation: *generation, root: own.root() }
            };
            state.apps.insert(app.name.to_string(), before.copied().unwrap_or_else(next));
        }
        let enclave = self.slot(&authority, apps.enclave_claims(root, self.settings.names()))?;
        let mut by_hostname = BTreeMap::new();
        for (app, own) in apps.iter() {
            let slot = self.slot(&authority, apps.app_claims(root, app, own))?;
            by_hostname.insert(app.hostname.to_string(), (app.name.to_string(), slot));
        }
        Ok(Snapshot {
            authority,
            manifest: Arc::new(manifest),
            state: Arc::new(state),
            enclave,
            by_hostname,
            apps,
        })
    }

    fn core_leaves(&self, authority: &Authority) -> Result<Vec<Leaf>, IdentityError> {
        let mut leaves = self.settings.core_leaves.clone();
        let own = authority.certificates().first().map(|der| der.to_vec()).unwrap_or_default();
        leaves.push(Leaf::raw("core.ca_cert", own)?);
        leaves.push(Leaf::raw("core.ca_key", authority.spki_der())?);
        Ok(leaves)
    }

    fn slot(&self, authority: &Authority, claims: Claims) -> Result<Slot, IdentityError> {
        let issued = RwLock::new(Arc::new(self.issue(authority, &claims)?));
        Ok(Slot { claims, issued })
    }

    fn issue(&self, authority: &Authority, claims: &Claims) -> Result<Issued, IdentityError> {
        let draft = Draft::new(self.platform, now(self.clock)?)?;
        let leaf = draft.certify(self.platform, authority, claims, &Evidence::None)?;
        let chain: Vec<_> = std::iter::once(leaf).chain(authority.certificates().iter().cloned()).collect();
        let (not_before, report_data) = (draft.not_before(), draft.report_data());
        let config = tls::server_config(self.provider, self.clock, chain.clone(), draft.into_key())?;
        Ok(Issued { config: Arc::new(config), chain: chain.into(), not_before, report_data })
    }
}

fn now(clock: &Clock) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(clock.unix().as_secs()).map_err(|_| IdentityError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Clock)
}
