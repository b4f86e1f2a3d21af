//! Which apps there are, and which one a request means.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::app::App;
use crate::spec::{KeySource, SealedApp};

/// An app the registry knows.
#[derive(Clone)]
pub enum Entry {
    /// It can be called.
    Ready(Arc<App>),
    /// The enclave restarted and does not have the caller's own key to its data.
    Locked(Arc<Locked>),
}

/// An app that waits for its key.
pub struct Locked {
    /// What was sealed of it.
    pub sealed: SealedApp,
}

/// Another app has that name already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The server name.
    #[error("the hostname `{hostname}` belongs to the app `{app}`: choose another")]
    Hostname {
        /// What was asked for.
        hostname: String,
        /// Whose it is.
        app: String,
    },
    /// The route prefix.
    #[error("the route prefix `{route_prefix}` belongs to the app `{app}`: choose another")]
    RoutePrefix {
        /// What was asked for.
        route_prefix: String,
        /// Whose it is.
        app: String,
    },
}

impl Conflict {
    /// Stable, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Conflict::Hostname { .. } => "hostname-taken",
            Conflict::RoutePrefix { .. } => "route-prefix-taken",
        }
    }
}

/// The app of a request path, and where the rest of the path begins.
pub struct Route {
    /// The app.
    pub entry: Entry,
    /// Length of its prefix: the path behind it is the app's, `/` if nothing is left.
    pub prefix_len: usize,
}

impl Entry {
    /// Unique name.
    pub fn name(&self) -> &str {
        match self {
            Entry::Ready(app) => &app.spec().name,
            Entry::Locked(locked) => &locked.sealed.name,
        }
    }

    /// Unique server name.
    pub fn hostname(&self) -> &str {
        match self {
            Entry::Ready(app) => &app.spec().hostname,
            Entry::Locked(locked) => &locked.sealed.hostname,
        }
    }

    /// Unique route prefix.
    pub fn route_prefix(&self) -> &str {
        match self {
            Entry::Ready(app) => &app.spec().route_prefix,
            Entry::Locked(locked) => &locked.sealed.route_prefix,
        }
    }

    /// SHA-256 of its artifact.
    pub fn code_hash(&self) -> [u8; 32] {
        match self {
            Entry::Ready(app) => app.code_hash(),
            Entry::Locked(locked) => locked.sealed.code_hash,
        }
    }

    /// Where the key of its data comes from.
    pub fn key_source(&self) -> KeySource {
        match self {
            Entry::Ready(app) => app.spec().key_source,
            Entry::Locked(locked) => locked.sealed.key_source,
        }
    }

    /// The app, if it can be called.
    pub fn ready(&self) -> Option<&Arc<App>> {
        match self {
            Entry::Ready(app) => Some(app),
            Entry::Locked(_) => None,
        }
    }
}

/// All apps, by name. Readers share a snapshot that changes replace.
#[derive(Default)]
pub struct Registry {
    apps: RwLock<Arc<BTreeMap<String, Entry>>>,
}

impl Registry {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an app may have these names: an app of the same name is the one it would replace.
    ///
    /// # Errors
    /// [`Conflict`] names the app that has one of them.
    pub fn check(&self, name: &str, hostname: &str, route_prefix: &str) -> Result<(), Conflict> {
        conflict(&self.snapshot(), name, hostname, route_prefix)
    }

    /// Takes an app in, and gives back the one it replaces.
    ///
    /// # Errors
    /// [`Conflict`], and nothing changes.
    pub fn insert(&self, entry: Entry) -> Result<Option<Entry>, Conflict> {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        conflict(&apps, entry.name(), entry.hostname(), entry.route_prefix())?;
        let mut next = BTreeMap::clone(&apps);
        let replaced = next.insert(entry.name().to_owned(), entry);
        *apps = Arc::new(next);
        Ok(replaced)
    }

    /// Takes an app out. Calls that are running end on their own.
    pub fn remove(&self, name: &str) -> Option<Entry> {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::clone(&apps);
        let removed = next.remove(name);
        *apps = Arc::new(next);
        removed
    }

    /// The app of that name.
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.snapshot().get(name).cloned()
    }

    /// The app with that server name, in any case.
    pub fn by_hostname(&self, hostname: &str) -> Option<Entry> {
        self.snapshot().values().find(|entry| entry.hostname().eq_ignore_ascii_case(hostname)).cloned()
    }

    /// The app whose prefix is the longest that `path` lies under, on the borders of its segments. `path`
    /// is undecoded and without its query.
    pub fn route(&self, path: &str) -> Option<Route> {
        let apps = self.snapshot();
        let entry = apps
            .values()
            .filter(|entry| under(path, entry.route_prefix()))
            .max_by_key(|entry| entry.route_prefix().len())?;
        let prefix_len = entry.route_prefix().trim_end_matches('/').len();
        Some(Route { entry: entry.clone(), prefix_len })
    }

    /// All apps in name order.
    pub fn all(&self) -> Vec<Entry> {
        self.snapshot().values().cloned().collect()
    }

    fn snapshot(&self) -> Arc<BTreeMap<String, Entry>> {
        Arc::clone(&self.apps.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn conflict(
    apps: &BTreeMap<String, Entry>,
    name: &str,
    hostname: &str,
    route_prefix: &str,
) -> Result<(), Conflict> {
    for other in apps.values().filter(|other| other.name() != name) {
        let app = other.name().to_owned();
        if other.hostname().eq_ignore_ascii_case(hostname) {
            return Err(Conflict::Hostname { hostname: hostname.to_owned(), app });
        }
        if other.route_prefix() == route_prefix {
            return Err(Conflict::RoutePrefix { route_prefix: route_prefix.to_owned(), app });
        }
    }
    Ok(())
}

fn under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::under;

    #[test]
    fn prefixes_end_at_segments() {
        assert!(under("/shop", "/shop") && under("/shop/", "/shop") && under("/shop/cart", "/shop"));
        assert!(!under("/shopping", "/shop") && !under("/", "/shop") && !under("/sho", "/shop"));
        assert!(under("/anything", "/"));
    }
}
