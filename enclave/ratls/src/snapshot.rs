//! Everything certificates say at one moment.

use std::collections::{BTreeMap, BTreeSet};

use attestation::manifest::{Leaf, LeafError, Manifest, ManifestError};
use attestation::workloads;
use enclave_access::names::{AppName, Hostname, RoutePrefix};
use enclave_platform::RandomError;

use crate::leaf::{AppClaims, AppLists, Claims, Names};

/// Names, prefixes and hashes of all apps in the enclave's own certificate, in bytes at most: common TLS
/// stacks read handshake messages of up to 64 KiB.
const MAX_APP_LISTS: usize = 32 * 1024;

/// What certificates and manifest say of one app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppIdentity {
    /// Its name.
    pub name: AppName,
    /// The server name that selects its certificate.
    pub hostname: Hostname,
    /// Where its routes begin.
    pub route_prefix: RoutePrefix,
    /// SHA-256 of the bytes that were loaded.
    pub code_hash: [u8; 32],
    /// `generated`, or `byok:` and 16 hexadecimal digits.
    pub key_source: String,
    /// Its other leaves, without `app.<name>.` in front. `code_hash`, `hostname`, `key_source` and
    /// `route_prefix` follow from the fields above.
    pub leaves: Vec<Leaf>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Two apps would have one name, hostname or route prefix.
    #[error("{what} {value:?} is taken by the app {by:?}: choose another or unload that app first")]
    Taken {
        /// `name`, `hostname` or `route prefix`.
        what: &'static str,
        /// What both want.
        value: String,
        /// Who has it.
        by: String,
    },
    /// An app would take a name that is the enclave's own.
    #[error("hostname {0:?} is the enclave's own and no app may have it: choose another with `hostname`")]
    Reserved(String),
    /// Too many apps for one certificate.
    #[error(
        "names, route prefixes and hashes of all apps take {0} bytes; the enclave's certificate holds {MAX_APP_LISTS}: unload an app or choose shorter names"
    )]
    TooManyApps(usize),
    /// The leaves of an app contradict its identity or each other.
    #[error("the configuration of the app cannot be written down: {0}")]
    Manifest(#[from] ManifestError),
    /// A leaf is given with another value than the identity has.
    #[error("leaf {leaf:?} of app {app:?} contradicts the app's identity")]
    Contradiction {
        /// Which app.
        app: String,
        /// Which leaf.
        leaf: String,
    },
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The certificate writer refused.
    #[error("the certificate cannot be written: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused.
    #[error("the certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
    /// The enclave's clock is beyond what a certificate can say.
    #[error("the enclave's clock, which the host sets, is out of range")]
    Clock,
    /// The quote is not for this certificate.
    #[error("the quote was made over other report data than this certificate needs")]
    OtherQuote,
}

impl IdentityError {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            IdentityError::Taken { .. } => "name-taken",
            IdentityError::Reserved(_) => "hostname-reserved",
            IdentityError::TooManyApps(_) => "too-many-apps",
            IdentityError::Manifest(_) | IdentityError::Contradiction { .. } => "bad-configuration",
            IdentityError::Random(_)
            | IdentityError::Certificate(_)
            | IdentityError::Tls(_)
            | IdentityError::Clock
            | IdentityError::OtherQuote => "certificate-failed",
        }
    }
}

impl From<LeafError> for IdentityError {
    fn from(error: LeafError) -> Self {
        IdentityError::Manifest(error.into())
    }
}

impl AppIdentity {
    /// The app's own manifest: all its leaves without the prefix.
    ///
    /// # Errors
    /// [`IdentityError`] when leaves contradict the identity or each other.
    pub fn manifest(&self) -> Result<Manifest, IdentityError> {
        let mut leaves = self.leaves.clone();
        for own in [
            Leaf::raw("code_hash", self.code_hash)?,
            Leaf::json("hostname", &self.hostname.as_str())?,
            Leaf::json("key_source", &self.key_source)?,
            Leaf::json("route_prefix", &self.route_prefix.as_str())?,
        ] {
            match leaves.iter().find(|leaf| leaf.name() == own.name()) {
                None => leaves.push(own),
                Some(given) if *given == own => {}
                Some(_) => {
                    let (app, leaf) = (self.name.to_string(), own.name().to_owned());
                    return Err(IdentityError::Contradiction { app, leaf });
                }
            }
        }
        Ok(Manifest::new(leaves)?)
    }

    /// Root of [`AppIdentity::manifest`]: extension `.3.1`, and what [`crate::Seen::covers`] compares.
    ///
    /// # Errors
    /// As [`AppIdentity::manifest`].
    pub fn configuration_root(&self) -> Result<[u8; 32], IdentityError> {
        Ok(self.manifest()?.root())
    }
}

/// The apps in name order with their own manifests; names, hostnames and prefixes are unique.
pub(crate) struct Apps(Vec<(AppIdentity, Manifest)>);

impl Apps {
    pub(crate) fn new(
        mut apps: Vec<AppIdentity>,
        reserved: &BTreeSet<String>,
    ) -> Result<Apps, IdentityError> {
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        let mut owners: BTreeMap<(&'static str, &str), &AppName> = BTreeMap::new();
        for app in &apps {
            if reserved.contains(app.hostname.as_str()) {
                return Err(IdentityError::Reserved(app.hostname.to_string()));
            }
            for (what, value) in [
                ("name", app.name.as_str()),
                ("hostname", app.hostname.as_str()),
                ("route prefix", app.route_prefix.as_str()),
            ] {
                if let Some(by) = owners.insert((what, value), &app.name) {
                    return Err(IdentityError::Taken { what, value: value.to_owned(), by: by.to_string() });
                }
            }
        }
        let size =
            apps.iter().map(|app| app.name.as_str().len() + app.route_prefix.as_str().len() + 34).sum();
        if size > MAX_APP_LISTS {
            return Err(IdentityError::TooManyApps(size));
        }
        let with_manifest = |app: AppIdentity| app.manifest().map(|manifest| (app, manifest));
        apps.into_iter().map(with_manifest).collect::<Result<_, _>>().map(Apps)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(AppIdentity, Manifest)> {
        self.0.iter()
    }

    /// The manifest of the enclave: `core` and all apps.
    pub(crate) fn manifest(&self, core: &[Leaf]) -> Result<Manifest, IdentityError> {
        let mut leaves = core.to_vec();
        for (app, manifest) in &self.0 {
            for leaf in manifest.leaves() {
                leaves.push(leaf.renamed(format!("app.{}.{}", app.name, leaf.name()))?);
            }
        }
        Ok(Manifest::new(leaves)?)
    }

    pub(crate) fn workloads_hash(&self) -> [u8; 32] {
        let apps = self.0.iter().map(|(app, _)| (app.name.as_str(), app.code_hash));
        // Names are at most 63 bytes long, so their length always fits.
        workloads::hash(apps).unwrap_or_default()
    }

    /// What the enclave's own certificate says.
    pub(crate) fn enclave_claims(&self, root: [u8; 32], names: Names) -> Claims {
        let join = |part: fn(&AppIdentity) -> &str| {
            self.0.iter().map(|(app, _)| part(app)).collect::<Vec<_>>().join("\n")
        };
        let lists = AppLists {
            names: join(|app| app.name.as_str()),
            route_prefixes: join(|app| app.route_prefix.as_str()),
            code_hashes: self.0.iter().flat_map(|(app, _)| app.code_hash).collect(),
        };
        Claims {
            subject: "Enclave OS".to_owned(),
            names,
            configuration_root: root,
            workloads_hash: self.workloads_hash(),
            apps: (!self.0.is_empty()).then_some(lists),
            app: None,
        }
    }

    /// What the certificate of one app says.
    pub(crate) fn app_claims(&self, root: [u8; 32], app: &AppIdentity, own: &Manifest) -> Claims {
        Claims {
            subject: app.name.to_string(),
            names: Names { dns: vec![app.hostname.to_string()], loopback: false },
            configuration_root: root,
            workloads_hash: self.workloads_hash(),
            apps: Some(AppLists {
                names: app.name.to_string(),
                route_prefixes: app.route_prefix.to_string(),
                code_hashes: app.code_hash.to_vec(),
            }),
            app: Some(AppClaims {
                configuration_root: own.root(),
                code_hash: app.code_hash,
                key_source: app.key_source.clone(),
            }),
        }
    }
}
