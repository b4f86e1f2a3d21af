//! From what certificates say to certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use attestation::manifest::{Leaf, Manifest};
use enclave_platform::Platform;
use enclave_platform::clock::Clock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::history::History;
use crate::identities::Settings;
use crate::leaf::{Claims, Draft, Evidence, VALIDITY};
use crate::quoting::{Quote, Quoting};
use crate::seen::{AppState, State};
use crate::snapshot::{AppIdentity, Apps, IdentityError};
use crate::{Authority, clock, tls};

/// A leaf is replaced when this much of its validity is over.
const RENEW_AFTER: Duration = Duration::hours(VALIDITY.whole_hours() / 2);

/// One configuration. Replaced as a whole.
pub(crate) struct Snapshot {
    pub(crate) authority: Authority,
    pub(crate) apps: Apps,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) state: Arc<State>,
    pub(crate) history: History,
    pub(crate) enclave: Slot,
    pub(crate) by_hostname: BTreeMap<String, (String, Slot)>,
}

impl Snapshot {
    /// The certificate of that app.
    pub(crate) fn app(&self, name: &str) -> Option<&Slot> {
        self.by_hostname.values().find(|(app, _)| app == name).map(|(_, slot)| slot)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.enclave).chain(self.by_hostname.values().map(|(_, slot)| slot))
    }
}

/// One certificate: what it says, and its newest issue.
pub(crate) struct Slot {
    pub(crate) claims: Claims,
    issued: RwLock<Arc<Issued>>,
}

impl Slot {
    pub(crate) fn issued(&self) -> Arc<Issued> {
        Arc::clone(&self.issued.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, issued: Issued) {
        *self.issued.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(issued);
    }
}

/// One issue of a certificate.
pub(crate) struct Issued {
    pub(crate) draft: Arc<Draft>,
    pub(crate) evidence: Evidence,
    pub(crate) config: Arc<ServerConfig>,
    /// Leaf, enclave CA, and what is installed above it.
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
    /// Quotes for documents about this very leaf, made when somebody asks.
    pub(crate) documents: Mutex<Documents>,
}

#[derive(Default)]
pub(crate) struct Documents {
    pub(crate) evidence: Option<Quote>,
    pub(crate) interoperable: Option<Quote>,
}

impl Issued {
    fn is_due(&self, now: OffsetDateTime) -> bool {
        now - self.draft.not_before() >= RENEW_AFTER
    }

    fn is_over(&self, now: OffsetDateTime) -> bool {
        now - self.draft.not_before() >= self.draft.validity()
    }
}

/// What it takes to issue.
pub(crate) struct Issuer<'a> {
    pub(crate) platform: &'a dyn Platform,
    pub(crate) clock: &'a Arc<Clock>,
    pub(crate) provider: &'a Arc<CryptoProvider>,
    pub(crate) settings: &'a Settings,
}

/// How the certificates are after [`crate::Identities::maintain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// A certificate is without a quote, or could not be renewed for want of one.
    pub wants_quotes: bool,
}

impl Issuer<'_> {
    /// The certificates of a configuration. An identity that was there before keeps its key, its validity and
    /// the quote over both: what it says of the configuration is signed anew by the CA.
    pub(crate) fn snapshot(
        &self,
        authority: Authority,
        apps: Vec<AppIdentity>,
        before: Option<&Snapshot>,
        generation: &mut u64,
    ) -> Result<Snapshot, IdentityError> {
        let apps = Apps::new(apps, &self.settings.reserved())?;
        let core = self.core_leaves(&authority)?;
        let manifest = apps.manifest(&core)?;
        let root = manifest.root();
        let mut state = State { core: Manifest::new(core)?.root(), apps: BTreeMap::new() };
        for (app, own) in apps.iter() {
            let before = before.and_then(|before| before.state.apps.get(app.name.as_str()));
            let before = before.filter(|before| before.root == own.root());
            let next = || {
                *generation += 1;
                AppState { generation: *generation, root: own.root() }
            };
            state.apps.insert(app.name.to_string(), before.copied().unwrap_or_else(next));
        }
        let claims = apps.enclave_claims(root, self.settings.names());
        let enclave = self.slot(&authority, claims, before.map(|before| &before.enclave))?;
        let mut by_hostname = BTreeMap::new();
        for (app, own) in apps.iter() {
            let before = before.and_then(|before| before.app(app.name.as_str()));
            let slot = self.slot(&authority, apps.app_claims(root, app, own), before)?;
            by_hostname.insert(app.hostname.to_string(), (app.name.to_string(), slot));
        }
        Ok(Snapshot {
            authority,
            manifest: Arc::new(manifest),
            state: Arc::new(state),
            history: History::default(),
            enclave,
            by_hostname,
            apps,
        })
    }

    fn core_leaves(&self, authority: &Authority) -> Result<Vec<Leaf>, IdentityError> {
        let mut leaves = self.settings.core_leaves.clone();
        let own = authority.certificates().first().map(|der| der.to_vec()).unwrap_or_default();
        leaves.push(Leaf::raw(attestation::evidence::CA_LEAF, own)?);
        leaves.push(Leaf::raw("core.ca_key", authority.spki_der())?);
        Ok(leaves)
    }

    fn slot(
        &self,
        authority: &Authority,
        claims: Claims,
        before: Option<&Slot>,
    ) -> Result<Slot, IdentityError> {
        let now = clock::now(self.clock)?;
        let before = before.map(Slot::issued).filter(|issued| !issued.is_over(now));
        let (draft, evidence) = match before {
            Some(issued) => (Arc::clone(&issued.draft), issued.evidence.clone()),
            None => (self.draft(now)?, Evidence::default()),
        };
        let issued = RwLock::new(Arc::new(self.issue(authority, &claims, draft, evidence)?));
        Ok(Slot { claims, issued })
    }

    fn draft(&self, now: OffsetDateTime) -> Result<Arc<Draft>, IdentityError> {
        Ok(Arc::new(Draft::new(self.platform, now, VALIDITY)?))
    }

    pub(crate) fn issue(
        &self,
        authority: &Authority,
        claims: &Claims,
        draft: Arc<Draft>,
        evidence: Evidence,
    ) -> Result<Issued, IdentityError> {
        let leaf = draft.certify(self.platform, authority, claims, &evidence)?;
        let chain: Vec<_> = std::iter::once(leaf).chain(authority.certificates().iter().cloned()).collect();
        let config = tls::server_config(self.provider, self.clock, chain.clone(), draft.key())?;
        Ok(Issued {
            draft,
            evidence,
            config: Arc::new(config),
            chain: chain.into(),
            documents: Mutex::default(),
        })
    }

    /// Has quotes made for certificates that lack one and renews what is due. A certificate that is valid stays
    /// when its successor would have fewer quotes, and is signed anew only when a quote is gained; one without is
    /// renewed without, for clients that look at names only.
    pub(crate) async fn maintain(
        &self,
        snapshot: &Snapshot,
        quoting: &Quoting,
    ) -> Result<Upkeep, IdentityError> {
        let mut refused = RefusedQuotes::default();
        for slot in snapshot.slots() {
            let (issued, now) = (slot.issued(), clock::now(self.clock)?);
            let due = issued.is_due(now);
            if !due && !self.lacks(&issued.evidence) {
                continue;
            }
            let draft = if due { self.draft(now)? } else { Arc::clone(&issued.draft) };
            let mut evidence = if due { Evidence::default() } else { issued.evidence.clone() };
            self.vouch(&draft, &mut evidence, quoting, &mut refused).await;
            let (has, had) = (evidence.quotes(), issued.evidence.quotes());
            let is_better = if due { has >= had || issued.is_over(now) } else { has > had };
            if is_better {
                slot.put(self.issue(&snapshot.authority, &slot.claims, draft, evidence)?);
            }
        }
        Ok(Upkeep { wants_quotes: refused.first || refused.interoperable })
    }

    fn lacks(&self, evidence: &Evidence) -> bool {
        evidence.quote.is_none() || (self.settings.interoperable && evidence.interoperable.is_none())
    }

    /// Asks for the quotes that the evidence lacks, as far as the host gave such ones before.
    async fn vouch(
        &self,
        draft: &Draft,
        evidence: &mut Evidence,
        quoting: &Quoting,
        refused: &mut RefusedQuotes,
    ) {
        if evidence.quote.is_none() && !refused.first {
            evidence.quote = quoting.quote(draft.report_data()).await.ok();
            refused.first = evidence.quote.is_none();
        }
        // Beside no quote there is no other.
        let wants_interoperable = self.settings.interoperable && evidence.quote.is_some();
        if wants_interoperable && evidence.interoperable.is_none() && !refused.interoperable && !refused.first
        {
            evidence.interoperable = quoting.quote(draft.interoperable()).await.ok();
            refused.interoperable = evidence.interoperable.is_none();
        }
    }
}

/// Quotes that the host did not give in one round: who has none for one certificate has none for the next.
#[derive(Default)]
struct RefusedQuotes {
    first: bool,
    interoperable: bool,
}
