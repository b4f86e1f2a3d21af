//! The control thread: everything that changes which apps there are, one thing after another.
//!
//! Workers ask by [`Job`]s. A change becomes durable first, then visible in certificates and lists, then it
//! is answered; so what was answered survives, and what failed left everything as it was.

mod boot;
mod load;
mod mailbox;
mod quotes;
mod record;
mod registry;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use boundary_wire::client::{Access, AppInfo};
use enclave_access::Policy;
use enclave_platform::Platform;
use enclave_platform::clock::Monotonic;
use enclave_ratls::{AppIdentity, Change, Identities, IdentityError, Prepared, Quoting};
use enclave_runtime::{CallHost, Runtime};
use enclave_sealed_store::{Backend, Store};
use enclave_worker::Handle;

use crate::catalog::{Catalog, Entry, State};
use crate::gate::Closed;
use crate::refusal::Refusal;
use crate::{Info, limits};

pub use boot::BootError;
pub(crate) use mailbox::{Job, Mailbox};
pub(crate) use quotes::{QuoteDesk, QuoteFor, overloaded};
pub(crate) use registry::MAX_ARTIFACT;

use record::AppRecord;
use registry::Registry;
use upkeep::Upkeep;

/// The state of the control thread.
pub struct Control {
    handle: Handle,
    platform: Arc<dyn Platform>,
    backend: Arc<dyn Backend>,
    store: Store,
    registry: Registry,
    runtime: Arc<Runtime>,
    identities: Arc<Identities>,
    quoting: Arc<Quoting>,
    upkeep: Upkeep,
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
    pub(crate) audience: Arc<str>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) info: Arc<Info>,
    pub(crate) budget: crate::Budget,
    pub(crate) mailbox: Mailbox,
    pub(crate) quotes: QuoteDesk,
    pub(crate) buckets: Arc<crate::attest::Buckets>,
    pub(crate) refused: Arc<crate::attest::Refused>,
    pub(crate) store: Store,
}

impl Control {
    /// Carries out jobs and keeps the certificates fresh until no worker is left to ask, then flushes the store
    /// and seals its last head.
    ///
    /// # Errors
    /// When the store could not be closed in order; what was acknowledged is safe all the same.
    pub async fn run(mut self) -> Result<(), String> {
        while let Some((job, _permit)) = self.next_job().await {
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

    /// The next job; looks after the certificates while there is none.
    async fn next_job(&mut self) -> Option<(Job, crate::budget::Permit)> {
        loop {
            let due = async {
                // At the end of the host's clock every moment has come: nothing is due again and again.
                if self.upkeep.at() == Monotonic::NEVER {
                    std::future::pending::<()>().await;
                }
                self.handle.deadline(self.upkeep.at()).await;
                None
            };
            let job = async { Some(self.jobs.next().await) };
            if let Some(job) = futures_lite::future::or(job, due).await {
                return job;
            }
            self.keep_up().await;
            // However fast the host's clock runs, the thread's other tasks have their turn.
            Handle::yield_now().await;
        }
    }

    async fn unload(&mut self, name: &str) -> Result<Option<Change>, Refusal> {
        let Some(known) = self.apps.get(name) else { return Ok(None) };
        let record = known.record.clone();
        let mut apps = self.apps.clone();
        apps.remove(name);
        let known = known.clone();
        let next = self.next(apps).await?;
        let closed = self.close_gate(&known, Data::Erased).await?;
        self.registry.remove(name, record.as_ref()).await?;
        self.store.set_quota(&registry::namespace_of(name), None);
        let change = self.publish(next);
        closed.into_iter().for_each(Closed::retire);
        Ok(Some(change))
    }

    async fn install_ca(&mut self, chain_pem: &str) -> Result<Change, Refusal> {
        let authority = self
            .identities
            .verify_ca(chain_pem)
            .map_err(|error| Refusal::new("bad-certificate", error.to_string()))?;
        let sealed = authority.to_sealed();
        let prepared = self
            .identities
            .prepare_authority(authority, &self.quoting)
            .await
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        self.registry.put_ca(&sealed).await.map_err(|error| registry::store_refusal(&error))?;
        Ok(self.identities.publish(prepared))
    }

    /// Waits until no call of the app runs and none stores anything any more, and keeps new ones waiting.
    async fn close_gate(&self, known: &Known, data: Data) -> Result<Option<Closed>, Refusal> {
        let State::Ready(app, gate) = &known.state else { return Ok(None) };
        let patience = self.handle.sleep(limits::DRAIN_TIME);
        let end = self.handle.sleep(limits::DRAIN_TIME + limits::CANCEL_TIME);
        let closed = gate.clear(patience, end).await;
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

    /// Certificates and lists that say that these are the apps, before anything is stored: what comes after
    /// storing cannot fail. A certificate for which no quote can be had is no failure.
    async fn next(&self, apps: BTreeMap<String, Known>) -> Result<Next, Refusal> {
        let entries = entries(&apps)?;
        let prepared = self
            .identities
            .prepare(identities(&apps)?, &self.quoting)
            .await
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        Ok(Next { apps, entries, prepared })
    }

    /// Makes them visible.
    fn publish(&mut self, next: Next) -> Change {
        let change = self.identities.publish(next.prepared);
        self.catalog.publish(next.entries);
        self.apps = next.apps;
        change
    }
}

/// The next configuration, complete but not visible.
struct Next {
    apps: BTreeMap<String, Known>,
    entries: BTreeMap<String, Entry>,
    prepared: Prepared,
}

/// Refuses a hostname or route prefix that a damaged app keeps: if it is brought back later, both have to fit.
fn names_of_damaged(apps: &BTreeMap<String, Known>, new: &AppRecord) -> Result<(), Refusal> {
    let is_damaged = |known: &&Known| matches!(known.state, State::Damaged(_));
    // What the app has already is not taken from anybody.
    let has = apps.get(&new.name).filter(|known| !is_damaged(known)).and_then(|known| known.record.as_ref());
    let others = apps.values().filter(is_damaged).filter_map(|known| known.record.as_ref());
    for other in others.filter(|other| other.name != new.name) {
        let fields = [
            ("hostname-taken", "hostname", AppRecord::hostname as fn(&AppRecord) -> &str),
            ("route-prefix-taken", "route prefix", AppRecord::route_prefix),
        ];
        for (code, what, of) in fields {
            let value = of(new);
            if of(other) == value && has.is_none_or(|has| of(has) != value) {
                let by = &other.name;
                let message = format!(
                    "{what} {value:?} is taken by the app {by:?}, which could not be brought back: choose another or \
                     unload that app first"
                );
                return Err(Refusal::new(code, message));
            }
        }
    }
    Ok(())
}

/// Makes apps that certificates cannot show beside the others [`State::Damaged`], in the order of names.
fn set_conflicts_apart(
    apps: &mut BTreeMap<String, Known>,
    check: impl Fn(Vec<AppIdentity>) -> Result<(), IdentityError>,
) {
    if identities(apps).is_ok_and(|all| check(all).is_ok()) {
        return;
    }
    let mut shown = Vec::new();
    for known in apps.values_mut() {
        let (State::Ready(..) | State::Locked, Some(record)) = (&known.state, &known.record) else {
            continue;
        };
        let why = match record.identity() {
            Ok(identity) => {
                shown.push(identity);
                check(shown.clone()).err().map(|error| {
                    shown.pop();
                    error.to_string()
                })
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            known.state = State::Damaged(why);
        }
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
                // A damaged app is in no certificate.
                let damaged = matches!(known.state, State::Damaged(_));
                let root = record
                    .identity()
                    .map_err(|error| error.to_string())
                    .and_then(|identity| identity.configuration_root().map_err(|error| error.to_string()));
                Entry {
                    info: record.info(),
                    route_prefix: record.route_prefix.clone(),
                    access: record.access,
                    configuration_root: match root {
                        Err(_) if damaged => [0; 32],
                        root => root.map_err(|error| Refusal::new("bad-configuration", error))?,
                    },
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
                    storage: None,
                },
                route_prefix: String::new(),
                access: Access::Token,
                configuration_root: [0; 32],
                state: known.state.clone(),
            },
        };
        Ok((name.clone(), entry))
    };
    apps.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::record::{Code, DataKey, Names};
    use super::*;
    use boundary_wire::client::Load;
    use enclave_access::names::{AppName, Hostname, RoutePrefix};

    fn record(name: &str, hostname: &str) -> AppRecord {
        let app = AppName::parse(name).unwrap();
        let route_prefix: RoutePrefix = app.route_prefix();
        let names = Names { app, hostname: Hostname::parse(hostname).unwrap(), route_prefix };
        let code = Code { hash: [1; 32], bytes: 1 };
        AppRecord::new(&Load::default(), names, code, DataKey::Byok([2; 32]), [[3; 32]; 2])
    }

    fn known(record: &AppRecord, state: State) -> (String, Known) {
        (record.name.clone(), Known { record: Some(record.clone()), state })
    }

    fn damaged() -> State {
        State::Damaged("lost".to_owned())
    }

    #[test]
    fn a_damaged_app_keeps_its_names() {
        let old = record("old", "shared.example");
        let mut apps = BTreeMap::from([known(&old, damaged())]);
        let refused = names_of_damaged(&apps, &record("new", "shared.example")).unwrap_err();
        assert_eq!(refused.code(), "hostname-taken");
        assert!(refused.message().contains("unload"), "{refused}");
        names_of_damaged(&apps, &record("new", "new.example")).unwrap();
        names_of_damaged(&apps, &old).unwrap();
        // Whoever has the name already is not stopped by it.
        let new = record("new", "shared.example");
        apps.extend([known(&new, State::Locked)]);
        names_of_damaged(&apps, &new).unwrap();
    }

    #[test]
    fn apps_that_conflict_after_a_restart_do_not_stop_the_others() {
        let unique = |apps: Vec<AppIdentity>| {
            let mut hostnames = std::collections::BTreeSet::new();
            for app in apps {
                if !hostnames.insert(app.hostname.to_string()) {
                    return Err(IdentityError::Reserved(app.hostname.to_string()));
                }
            }
            Ok(())
        };
        let names = [("a", "one.example"), ("b", "one.example"), ("c", "two.example")];
        let mut apps: BTreeMap<_, _> =
            names.into_iter().map(|(name, host)| known(&record(name, host), State::Locked)).collect();
        set_conflicts_apart(&mut apps, unique);
        let state = |name: &str| matches!(apps.get(name).unwrap().state, State::Damaged(_));
        assert_eq!([state("a"), state("b"), state("c")], [false, true, false]);
        unique(identities(&apps).unwrap()).unwrap();
        assert_eq!(entries(&apps).unwrap().len(), 3);
    }

    #[test]
    fn a_damaged_record_that_fits_no_certificate_is_listed_all_the_same() {
        let mut bad = record("a", "a.example");
        bad.hostname = "not a name".to_owned();
        let apps = BTreeMap::from([known(&bad, damaged())]);
        assert_eq!(entries(&apps).unwrap().len(), 1);
        assert!(entries(&BTreeMap::from([known(&bad, State::Locked)])).is_err());
    }
}
