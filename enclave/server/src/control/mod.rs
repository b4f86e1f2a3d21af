//! The control thread: everything that changes which apps there are, one thing after another.
//!
//! Workers ask by [`Job`]s. A change becomes durable first, then visible in certificates and lists, then it
//! is answered; so what was answered survives, and what failed left everything as it was.

mod boot;
mod load;
mod mailbox;
mod record;
mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;

use boundary_wire::client::AppInfo;
use enclave_access::Policy;
use enclave_platform::Platform;
use enclave_ratls::{AppIdentity, Change, Identities};
use enclave_runtime::{CallHost, Runtime};
use enclave_sealed_store::{Backend, Store};
use enclave_worker::Handle;

use crate::catalog::{Catalog, Entry, State};
use crate::gate::Closed;
use crate::refusal::Refusal;
use crate::{Info, limits};

pub use boot::BootError;
pub(crate) use mailbox::{Job, Mailbox};
pub(crate) use registry::MAX_ARTIFACT;

use record::AppRecord;
use registry::Registry;

/// The state of the control thread.
pub struct Control {
    handle: Handle,
    platform: Arc<dyn Platform>,
    backend: Arc<dyn Backend>,
    store: Store,
    registry: Registry,
    runtime: Arc<Runtime>,
    identities: Arc<Identities>,
    catalog: Arc<Catalog>,
    apps: BTreeMap<String, Known>,
    jobs: mailbox::Jobs,
}

/// An app, as the control thread knows it.
#[derive(Clone)]
struct Known {
    /// `None`: it does not read back.
    record: Option<AppRecord>,
    state: State,
}

impl Known {
    fn has_code(&self, code_hash: &[u8; 32]) -> bool {
        self.record.as_ref().is_some_and(|record| record.code_hash == *code_hash)
    }
}

/// What becomes of an app's data when the app goes.
#[derive(Clone, Copy)]
enum Data {
    Kept,
    Erased,
}

/// What the workers need of a booted enclave. The services of each worker are made of it.
#[derive(Clone)]
pub struct Booted {
    pub(crate) policy: Arc<Policy>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) info: Arc<Info>,
    pub(crate) budget: crate::Budget,
    pub(crate) mailbox: Mailbox,
}

impl Control {
    /// Carries out jobs until no worker is left to ask, then flushes the store and seals its last head.
    ///
    /// # Errors
    /// When the store could not be closed in order; what was acknowledged is safe all the same.
    pub async fn run(mut self) -> Result<(), String> {
        while let Some((job, _permit)) = self.jobs.next().await {
            // Who no longer waits for the answer gets none.
            match job {
                Job::Load { load, artifact, share: _share, done } => {
                    let result = self.load(&load, artifact).await;
                    drop(done.send(result));
                }
                Job::Unload { name, done } => drop(done.send(self.unload(&name).await)),
                Job::InstallCa { chain_pem, done } => drop(done.send(self.install_ca(&chain_pem).await)),
            }
        }
        self.store.close().await.map_err(|error| error.to_string())
    }

    async fn unload(&mut self, name: &str) -> Result<Option<Change>, Refusal> {
        let Some(known) = self.apps.get(name) else { return Ok(None) };
        let closed = self.close_gate(known, Data::Erased).await?;
        let record = known.record.clone();
        let mut apps = self.apps.clone();
        apps.remove(name);
        let identities = identities(&apps)?;
        self.registry.remove(name, record.as_ref()).await?;
        let change = self.publish(apps, identities)?;
        closed.into_iter().for_each(Closed::retire);
        Ok(Some(change))
    }

    async fn install_ca(&mut self, chain_pem: &str) -> Result<Change, Refusal> {
        let authority = self
            .identities
            .verify_ca(chain_pem)
            .map_err(|error| Refusal::new("bad-certificate", error.to_string()))?;
        self.registry
            .put_ca(&authority.to_sealed())
            .await
            .map_err(|error| registry::store_refusal(&error))?;
        self.identities
            .use_authority(authority)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))
    }

    /// Waits until no call of the app runs and none stores anything any more, and keeps new ones waiting.
    async fn close_gate(&self, known: &Known, data: Data) -> Result<Option<Closed>, Refusal> {
        let State::Ready(app, gate) = &known.state else { return Ok(None) };
        let closed = crate::timeout::within(&self.handle, limits::DRAIN_TIME, gate.close()).await;
        let closed = closed.ok_or_else(|| {
            let name = &app.spec().name;
            Refusal::new(
                "app-busy",
                format!("calls of app {name:?} are still running; try again when they have ended"),
            )
        })?;
        match data {
            // What cannot be stored must not stand in the way.
            Data::Erased => app.abandon().await,
            Data::Kept => {
                let host = CallHost { handle: self.handle.clone(), backend: Arc::clone(&self.backend) };
                app.settle(&host).await.map_err(|error| Refusal::new(error.code(), error.to_string()))?;
            }
        }
        Ok(Some(closed))
    }

    /// Makes certificates and lists say that these are the apps.
    fn publish(
        &mut self,
        apps: BTreeMap<String, Known>,
        identities: Vec<AppIdentity>,
    ) -> Result<Change, Refusal> {
        let entries = entries(&apps)?;
        let change = self
            .identities
            .reconfigure(identities)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        self.catalog.publish(entries);
        self.apps = apps;
        Ok(change)
    }
}

/// What certificates say of the apps that can answer now or once they have their key.
fn identities(apps: &BTreeMap<String, Known>) -> Result<Vec<AppIdentity>, Refusal> {
    apps.values()
        .filter(|known| !matches!(known.state, State::Damaged(_)))
        .filter_map(|known| known.record.as_ref())
        .map(|record| record.identity().map_err(|error| Refusal::new("bad-configuration", error.to_string())))
        .collect()
}

/// What lists say of all apps.
fn entries(apps: &BTreeMap<String, Known>) -> Result<BTreeMap<String, Entry>, Refusal> {
    let entry = |(name, known): (&String, &Known)| {
        let entry = match &known.record {
            Some(record) => {
                let root = record
                    .identity()
                    .map_err(|error| error.to_string())
                    .and_then(|identity| identity.configuration_root().map_err(|error| error.to_string()));
                Entry {
                    info: record.info(),
                    route_prefix: record.route_prefix.clone(),
                    configuration_root: root.map_err(|error| Refusal::new("bad-configuration", error))?,
                    state: known.state.clone(),
                }
            }
            None => Entry {
                info: AppInfo {
                    name: name.clone(),
                    hostname: String::new(),
                    code_hash: String::new(),
                    key_source: String::new(),
                    exports: Vec::new(),
                    state: None,
                },
                route_prefix: String::new(),
                configuration_root: [0; 32],
                state: known.state.clone(),
            },
        };
        Ok((name.clone(), entry))
    };
    apps.iter().map(entry).collect()
}
