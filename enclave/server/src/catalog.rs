//! Which apps are there, and what is said of them?
//!
//! An entry carries the configuration root that its app's certificate shows. Whoever is about to run the app
//! compares that root with what the connection saw (DESIGN D15), so a change in between cannot slip through.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use boundary_wire::client::{Access, AppInfo, AppState, Storage};
use enclave_runtime::App;

use crate::gate::Gate;
use crate::refusal::{Refusal, unknown_app};

/// What one name stands for.
#[derive(Clone)]
pub struct Entry {
    /// As lists show it.
    pub info: AppInfo,
    /// Where its HTTP routes begin.
    pub route_prefix: String,
    /// Who may call it.
    pub access: Access,
    /// Extension `.3.1` of its certificate.
    pub configuration_root: [u8; 32],
    /// What can be done with it.
    pub state: State,
}

/// Whether an app can answer.
#[derive(Clone)]
pub enum State {
    /// It runs; calls pass the gate.
    Ready(Arc<App>, Gate),
    /// Its owner's key is not here since the enclave restarted.
    Locked,
    /// Its sealed record cannot be used, for this reason.
    Damaged(String),
}

/// All apps. Shared by every thread.
#[derive(Default)]
pub struct Catalog(RwLock<Arc<BTreeMap<String, Entry>>>);

impl Catalog {
    /// The apps as they are now.
    pub fn snapshot(&self) -> Arc<BTreeMap<String, Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The app of that name.
    ///
    /// # Errors
    /// `unknown-app`.
    pub fn entry(&self, name: &str) -> Result<Entry, Refusal> {
        self.snapshot().get(name).cloned().ok_or_else(|| unknown_app(name))
    }

    /// Replaces all apps.
    pub(crate) fn publish(&self, apps: BTreeMap<String, Entry>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(apps);
    }
}

impl Entry {
    /// As lists show it now.
    pub fn listed(&self) -> AppInfo {
        let state = matches!(self.state, State::Locked).then_some(AppState::Locked);
        AppInfo { state, storage: self.storage(), ..self.info.clone() }
    }

    /// What it keeps in the store and may keep, if it can answer.
    pub fn storage(&self) -> Option<Storage> {
        match &self.state {
            State::Ready(app, _) => Some(app.storage()),
            State::Locked | State::Damaged(_) => None,
        }
    }

    /// The app and its gate, if it can answer.
    ///
    /// # Errors
    /// `app-locked`, `app-damaged`.
    pub fn ready(&self) -> Result<(&Arc<App>, &Gate), Refusal> {
        match &self.state {
            State::Ready(app, gate) => Ok((app, gate)),
            State::Locked => Err(locked(&self.info.name)),
            State::Damaged(why) => Err(damaged(&self.info.name, why)),
        }
    }
}

fn locked(name: &str) -> Refusal {
    Refusal::new(
        "app-locked",
        format!(
            "app {name:?} has been locked since the enclave restarted: its data is under its owner's own key, which is \
             never stored. Load the same component again with the same `encryption_key`; its data is then there"
        ),
    )
}

fn damaged(name: &str, why: &str) -> Refusal {
    Refusal::new(
        "app-damaged",
        format!(
            "app {name:?} could not be brought back after the restart: {why}. Load it again, or unload it"
        ),
    )
}
