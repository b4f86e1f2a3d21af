//! From nothing to an enclave that can serve.

use std::collections::BTreeMap;
use std::sync::Arc;

use enclave_access::{Policy, PolicyError, leaves};
use enclave_platform::Platform;
use enclave_ratls::{
    Authority, AuthorityError, Identities, IdentityError, Quoting, SealedAuthorityError, Settings,
};
use enclave_runtime::{ARTIFACT_TARGET, ENGINE, ENGINE_VERSION, Runtime, StartError};
use enclave_sealed_store::{Backend, OpenError, Store, StoreError};
use enclave_wasi::EgressTls;
use enclave_worker::{Handle, LogLevel};
use graviola::hashing::{Hash as _, Sha256};

use super::quotes::{HostQuoting, QuoteDesk};
use super::record::{AppRecord, DataKey};
use super::registry::{Registry, StoreFault};
use super::upkeep::Upkeep;
use super::{Booted, Control, Known, Mailbox, entries, identities, set_conflicts_apart};
use crate::catalog::{Catalog, State};
use crate::gate::Gate;
use crate::refusal::Refusal;
use crate::{Budget, Capacity, Info, hex, limits};

/// Why the enclave does not start. The text says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The measured policy is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store opened and then failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The sealed list of apps does not read back.
    #[error("the sealed registry: {0}")]
    Registry(String),
    /// The CA cannot be made.
    #[error("the enclave CA cannot be made: {0}")]
    Authority(#[from] AuthorityError),
    /// The CA does not read back.
    #[error(transparent)]
    SealedAuthority(#[from] SealedAuthorityError),
    /// No certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The enclave's own settings cannot be written into a manifest.
    #[error("the manifest: {0}")]
    Leaf(#[from] attestation::manifest::LeafError),
    /// No trust anchors for outgoing connections.
    #[error("outgoing connections: {0}")]
    Egress(String),
    /// The engine does not start.
    #[error(transparent)]
    Runtime(#[from] StartError),
    /// The apps that were sealed cannot be shown together.
    #[error("the sealed apps: {0}")]
    Apps(Refusal),
}

impl From<StoreFault> for BootError {
    fn from(fault: StoreFault) -> BootError {
        match fault {
            StoreFault::Store(error) => BootError::Store(error),
            other => BootError::Registry(other.to_string()),
        }
    }
}

impl Control {
    /// Opens the store, unseals or makes the CA, brings the sealed apps back. Runs on the control thread,
    /// which from then on also commits to the store.
    ///
    /// # Errors
    /// [`BootError`]. A damaged app is no reason: it alone does not answer.
    pub async fn boot(
        handle: Handle,
        backend: Arc<dyn Backend>,
        workers: u16,
        capacity: Capacity,
    ) -> Result<(Control, Booted), BootError> {
        let platform = handle.platform().clone();
        let policy = Arc::new(Policy::from_page(platform.policy_page())?);
        let (store, committer) = Store::open(platform.clone(), &*backend).await?;
        handle.spawn(committer.run(backend.clone())).detach();
        handle.clock().not_before(store.sealed_unix_ns());

        let registry = Registry::open(&store, &*backend).await?;
        let authority = authority(&*platform, &registry, &*backend).await?;
        let egress = EgressTls::new(policy.egress_ca_pem(), handle.clock().clone())
            .map_err(|error| BootError::Egress(error.to_string()))?;
        let runtime = Arc::new(Runtime::new(&*platform, egress, capacity.guests)?);
        let settings = Settings::new(
            &policy,
            leaves::platform(platform.kind(), runtime.code_pages())?,
            leaves::version(env!("CARGO_PKG_VERSION"), ENGINE)?,
        )?;
        let clock = handle.clock().clone();
        let service = Arc::new(HostQuoting(handle.clone()));
        let quoting = Arc::new(Quoting::new(platform.clone(), clock.clone(), service));
        let quotes = QuoteDesk::open(&handle, quoting.clone());
        let identities = Arc::new(Identities::new(platform.clone(), clock, settings, authority)?);

        let (mailbox, jobs) = Mailbox::new(limits::JOBS);
        let info = Info {
            version: env!("CARGO_PKG_VERSION"),
            platform: platform.kind(),
            mrenclave: hex::encode(&platform.identity().mrenclave),
            target: ARTIFACT_TARGET,
            engine: ENGINE,
            engine_version: ENGINE_VERSION,
            development: policy.development(),
            workers,
        };
        let catalog = Arc::new(Catalog::default());
        let mut control = Control {
            handle,
            platform,
            backend,
            store: store.clone(),
            registry,
            runtime,
            identities: identities.clone(),
            quoting,
            upkeep: Upkeep::default(),
            catalog: catalog.clone(),
            apps: BTreeMap::new(),
            jobs,
        };
        control.bring_back().await?;
        // So that the first certificate that is shown has a quote, if one can be had.
        control.keep_up().await;
        let booted = Booted {
            policy,
            audience: hex::encode(Sha256::hash(&identities.ca_spki_der()).as_ref()).into(),
            identities,
            catalog,
            info: Arc::new(info),
            budget: Budget::new(capacity.requests),
            mailbox,
            quotes,
            buckets: Arc::default(),
            refused: Arc::default(),
            store,
        };
        Ok((control, booted))
    }

    /// All sealed apps. What is wrong with one stops that one alone.
    async fn bring_back(&mut self) -> Result<(), BootError> {
        let mut apps = BTreeMap::new();
        for name in self.registry.names().clone() {
            let known = match self.registry.record(&*self.backend, &name).await {
                Ok(record) => {
                    self.bound(&record);
                    let state = self.state_of(&record).await;
                    Known { record: Some(record), state }
                }
                Err(why) => Known { record: None, state: State::Damaged(why) },
            };
            apps.insert(name, known);
        }
        set_conflicts_apart(&mut apps, |identities| self.identities.check(identities));
        for (name, known) in &apps {
            if let State::Damaged(why) = &known.state {
                let line = format!("app {name:?} was not brought back: {why}");
                self.handle.log(LogLevel::Error, "control", &line);
            }
        }
        // Answered before anybody is served, so no connection has to accept the change.
        let identities = identities(&apps).map_err(BootError::Apps)?;
        drop(self.identities.reconfigure(identities, &self.quoting).await?);
        self.catalog.publish(entries(&apps).map_err(BootError::Apps)?);
        self.apps = apps;
        Ok(())
    }

    async fn state_of(&self, record: &AppRecord) -> State {
        if let Err(error) = record.identity() {
            return State::Damaged(format!("its record does not read back: {error}"));
        }
        let DataKey::Generated(key) = &record.key else { return State::Locked };
        let artifact = match self.registry.artifact(&*self.backend, record).await {
            Ok(artifact) => artifact,
            Err(why) => return State::Damaged(why),
        };
        match self.prepare(artifact, record, key) {
            Ok(app) => {
                self.recall(&app).await;
                State::Ready(app, Gate::default())
            }
            Err(refusal) => State::Damaged(refusal.to_string()),
        }
    }
}

async fn authority(
    platform: &dyn Platform,
    registry: &Registry,
    backend: &dyn Backend,
) -> Result<Authority, BootError> {
    if let Some(sealed) = registry.ca(backend).await? {
        return Ok(Authority::from_sealed(&sealed)?);
    }
    let authority = Authority::generate(platform)?;
    registry.found(&authority.to_sealed()).await?;
    Ok(authority)
}
