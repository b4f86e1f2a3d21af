//! What a connection's certificate said (DESIGN D15).
//!
//! A connection may only reach what its client could verify. What is compared is the configuration root of
//! the very app that is about to run, not a counter that is read at another moment, so that a replacement
//! in between cannot slip through.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Identities;

/// What is current: the root over the enclave's own leaves, and each app's configuration root with a number
/// that a new load of the same name never has again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) core: [u8; 32],
    pub(crate) apps: BTreeMap<String, AppState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppState {
    pub(crate) generation: u64,
    pub(crate) root: [u8; 32],
}

/// What was current at the handshake, plus what this connection itself has changed since.
#[derive(Clone, Debug)]
pub struct Seen(Arc<State>);

/// What one change changed. Whoever made it over a connection passes it to [`Seen::accept_own_change`].
#[derive(Clone, Debug)]
#[must_use = "the connection that made the change has to accept it, or it is stale"]
pub struct Change {
    pub(crate) core: Option<[u8; 32]>,
    /// The new state of each app that changed; `None` for one that is gone.
    pub(crate) apps: Vec<(String, Option<AppState>)>,
}

impl Change {
    pub(crate) fn between(before: &State, after: &State) -> Change {
        let names: std::collections::BTreeSet<_> = before.apps.keys().chain(after.apps.keys()).collect();
        let changed = |name: &&&String| before.apps.get(**name) != after.apps.get(**name);
        let apps = names.iter().filter(changed).map(|name| ((*name).clone(), after.apps.get(*name).copied()));
        Change { core: (before.core != after.core).then_some(after.core), apps: apps.collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.core.is_none() && self.apps.is_empty()
    }
}

impl Seen {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Seen(state)
    }

    /// Whether the enclave's own leaves, or `app`, have changed since the client could verify them. An app
    /// that was loaded, replaced or unloaded meanwhile has changed.
    ///
    /// Quick, and right for requests that reach no app. Before an app sees a byte, ask [`Seen::covers`] too.
    pub fn is_stale(&self, identities: &Identities, app: Option<&str>) -> bool {
        let now = identities.state();
        if Arc::ptr_eq(&now, &self.0) {
            return false;
        }
        now.core != self.0.core || app.is_some_and(|app| now.apps.get(app) != self.0.apps.get(app))
    }

    /// Whether the client could verify exactly this: the app of that name with this configuration root
    /// ([`crate::AppIdentity::configuration_root`]). Ask it about the app object that is about to run.
    pub fn covers(&self, app: &str, configuration_root: &[u8; 32]) -> bool {
        self.0.apps.get(app).is_some_and(|seen| seen.root == *configuration_root)
    }

    /// A change this connection made does not make it stale, and only that change: what others changed
    /// before or after stays unseen.
    pub fn accept_own_change(&mut self, change: &Change) {
        let state = Arc::make_mut(&mut self.0);
        if let Some(core) = change.core {
            state.core = core;
        }
        for (name, app) in &change.apps {
            match app {
                Some(app) => state.apps.insert(name.clone(), *app),
                None => state.apps.remove(name),
            };
        }
    }
}
