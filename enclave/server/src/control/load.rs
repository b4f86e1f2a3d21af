//! Loading and replacing.

use std::sync::Arc;

use boundary_wire::client::{AppExport, AppInfo, DataPolicy, Load};
use boundary_wire::rpc::LogLevel;
use enclave_access::ApprovedArtifact;
use enclave_access::names::{AppName, Hostname, RoutePrefix};
use enclave_platform::RandomError;
use enclave_ratls::Change;
use enclave_runtime::{App, CallHost};
use enclave_sealed_store::{MAX_RECORDS, NamespaceKey, Quota};
use graviola::hashing::{Hash, Sha256};
use zeroize::Zeroizing;

use super::record::{AppRecord, Code, DataKey, Names};
use super::registry::{self, MAX_ARTIFACT};
use super::{Control, Data, Known, identities, names_of_damaged};
use crate::catalog::State;
use crate::gate::{Closed, Gate};
use crate::refusal::Refusal;
use crate::{hex, limits};

/// Environment variables and secrets, each.
const MAX_VARIABLES: usize = 256;

type DataKeyBytes = Zeroizing<[u8; 32]>;

impl Control {
    /// Loads an app or replaces it as a whole: an error leaves what was there.
    pub(super) async fn load(
        &mut self,
        load: &Load,
        artifact: ApprovedArtifact,
    ) -> Result<(AppInfo, Change), Refusal> {
        let names = names(load)?;
        check_options(load)?;
        let code = Code { hash: artifact.code_hash(), bytes: artifact.bytes().len() };
        if code.bytes > MAX_ARTIFACT {
            let message = format!("the component has {} bytes; at most {MAX_ARTIFACT} are taken", code.bytes);
            return Err(Refusal::new("too-large", message));
        }
        let name = names.app.to_string();
        let old = self.apps.get(&name).cloned();
        let (key, keep) = self.data_key(load, &code, old.as_ref())?;
        let salts = [self.random()?, self.random()?];
        let mut record = AppRecord::new(load, names, code, key.stored(), salts);
        self.check_identity(&record)?;

        // Everything that can be refused is refused before anything changes.
        let sealed_copy = artifact.bytes().to_vec();
        let app = self.prepare(artifact, &record, &key.bytes)?;
        record.exports = exports(&app);
        let known = Known { record: Some(record.clone()), state: State::Ready(app, Gate::default()) };
        let mut apps = self.apps.clone();
        apps.insert(name.clone(), known);
        let next = self.next(apps).await?;

        // The pieces of a damaged artifact are written again, although its code hash is the same.
        let rewrite =
            |old: &&Known| matches!(old.state, State::Damaged(_)) && old.has_code(&record.code_hash);
        let old_record = old.as_ref().filter(|old| !rewrite(old)).and_then(|old| old.record.as_ref());
        let closed = match &old {
            Some(old) => self.close_gate(old, if keep { Data::Kept } else { Data::Erased }).await?,
            None => None,
        };
        self.registry.put(&record, &sealed_copy, old_record, !keep).await?;
        self.bound(&record);
        if let Some(Known { state: State::Ready(app, _), .. }) = next.apps.get(&name) {
            self.recall(app).await;
        }
        let change = self.publish(next);
        closed.into_iter().for_each(Closed::retire);
        Ok((record.info(), change))
    }

    /// Holds the app to its share of the store from now on.
    pub(super) fn bound(&self, record: &AppRecord) {
        let quota = Quota { records: MAX_RECORDS, bytes: record.limits.store_bytes };
        self.store.set_quota(&registry::namespace_of(&record.name), Some(quota));
    }

    /// Finds out what lists say of what the app keeps. If that fails, they do not say it until a call has found out.
    pub(super) async fn recall(&self, app: &App) {
        let host = CallHost { handle: self.handle.clone(), backend: Arc::clone(&self.backend) };
        if let Err(error) = app.recall(&host).await {
            let name = &app.spec().name;
            let message = format!("what app {name:?} keeps in buckets is not known yet: {error}");
            self.handle.log(LogLevel::Warn, "control", &message);
        }
    }

    /// The app's code, ready to be called.
    pub(super) fn prepare(
        &self,
        artifact: ApprovedArtifact,
        record: &AppRecord,
        key: &[u8; 32],
    ) -> Result<Arc<App>, Refusal> {
        let namespace = registry::namespace_of(&record.name);
        let namespace = self.store.namespace(&namespace, NamespaceKey::from_bytes(*key));
        self.runtime
            .prepare(artifact, record.spec(namespace))
            .map_err(|error| Refusal::new(error.code(), error.to_string()))
    }

    /// The key of the app's data, and whether the data that is there stays (DESIGN §4, "Replacing an app").
    fn data_key(&self, load: &Load, code: &Code, old: Option<&Known>) -> Result<(Key, bool), Refusal> {
        let brought = load.encryption_key.as_ref().map(|text| byok(text.expose())).transpose()?;
        let Some(old) = old else { return Ok((self.new_key(brought)?, false)) };
        let Some(record) = &old.record else {
            return Err(Refusal::new(
                "app-damaged",
                format!(
                    "the sealed record of app {:?} does not read back, and loading it anew would give up its data: \
                     unload it first if that is meant",
                    load.name
                ),
            ));
        };
        let new_policy = load.data_policy.unwrap_or_default();
        let both_operator = (record.data_policy, new_policy) == (DataPolicy::Operator, DataPolicy::Operator);
        if record.code_hash != code.hash && !both_operator {
            return Ok((self.new_key(brought)?, false));
        }
        if !both_operator && new_policy == DataPolicy::Operator {
            return Err(policy_fixed(&load.name));
        }
        match (&record.key, brought) {
            (DataKey::Generated(key), None) => {
                Ok((Key { bytes: Zeroizing::new(*key), brought: false }, true))
            }
            (DataKey::Byok(hash), Some(key)) if sha256(&*key) == *hash => {
                Ok((Key { bytes: key, brought: true }, true))
            }
            (DataKey::Byok(_), Some(_)) => Err(key_mismatch(&load.name, "another `encryption_key`")),
            (DataKey::Byok(_), None) => Err(key_mismatch(&load.name, "an `encryption_key` of its owner")),
            (DataKey::Generated(_), Some(_)) => Err(key_mismatch(&load.name, "a key made in the enclave")),
        }
    }

    fn new_key(&self, brought: Option<DataKeyBytes>) -> Result<Key, Refusal> {
        match brought {
            Some(bytes) => Ok(Key { bytes, brought: true }),
            None => {
                let mut bytes = Zeroizing::new([0; 32]);
                self.platform.entropy(&mut bytes[..]).map_err(no_randomness)?;
                Ok(Key { bytes, brought: false })
            }
        }
    }

    /// Whether certificates can say what the app would be beside the others.
    fn check_identity(&self, record: &AppRecord) -> Result<(), Refusal> {
        let bad = |error: String| Refusal::new("bad-configuration", error);
        names_of_damaged(&self.apps, record)?;
        let mut identities = identities(&self.apps)?;
        identities.retain(|identity| identity.name.as_str() != record.name);
        identities.push(record.identity().map_err(|error| bad(error.to_string()))?);
        self.identities.check(identities).map_err(|error| {
            use enclave_ratls::IdentityError;
            let code = match &error {
                IdentityError::Taken { what: "hostname", .. } => "hostname-taken",
                IdentityError::Taken { what: "route prefix", .. } => "route-prefix-taken",
                error => error.code(),
            };
            Refusal::new(code, error.to_string())
        })
    }

    fn random(&self) -> Result<[u8; 32], Refusal> {
        let mut bytes = [0; 32];
        self.platform.random(&mut bytes).map_err(no_randomness)?;
        Ok(bytes)
    }
}

fn no_randomness(error: RandomError) -> Refusal {
    Refusal::new("no-randomness", error.to_string())
}

/// A key, and whether its owner brought it.
struct Key {
    bytes: DataKeyBytes,
    brought: bool,
}

impl Key {
    /// What the sealed record keeps of it.
    fn stored(&self) -> DataKey {
        if self.brought { DataKey::Byok(sha256(&*self.bytes)) } else { DataKey::Generated(*self.bytes) }
    }
}

fn byok(text: &str) -> Result<DataKeyBytes, Refusal> {
    hex::decode(text).ok_or_else(|| {
        Refusal::new(
            "bad-key",
            "`encryption_key` is 32 bytes as exactly 64 hex digits, such as `openssl rand -hex 32` prints",
        )
    })
}

fn key_mismatch(name: &str, what: &str) -> Refusal {
    Refusal::new(
        "key-mismatch",
        format!(
            "the data of app {name:?} is under {what}: load it with that, or unload the app first, which erases its data \
             for good"
        ),
    )
}

/// Data that was promised to one code is never opened to its successors.
fn policy_fixed(name: &str) -> Refusal {
    Refusal::new(
        "data-policy-fixed",
        format!(
            "the data of app {name:?} was written under data_policy \"code-hash\", which no later load can loosen to \
             \"operator\": load it with \"code-hash\", or unload the app first, which erases its data for good"
        ),
    )
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(Sha256::hash(bytes).as_ref()) {
        *to = *from;
    }
    out
}

fn names(load: &Load) -> Result<Names, Refusal> {
    let app = AppName::parse(&load.name)?;
    let hostname = match &load.hostname {
        Some(hostname) => Hostname::parse(&hostname.to_ascii_lowercase())?,
        None => app.hostname()?,
    };
    let route_prefix = match &load.route_prefix {
        Some(prefix) => RoutePrefix::parse(prefix)?,
        None => app.route_prefix(),
    };
    Ok(Names { app, hostname, route_prefix })
}

fn check_options(load: &Load) -> Result<(), Refusal> {
    if load.timeout_ms.is_some_and(|timeout| timeout > limits::MAX_TIMEOUT_MS) {
        let message = format!("timeout_ms is at most {}", limits::MAX_TIMEOUT_MS);
        return Err(Refusal::new("bad-limits", message));
    }
    if load.http_timeout_ms.is_some_and(|timeout| timeout > limits::MAX_HTTP_TIMEOUT_MS) {
        let message = format!("http_timeout_ms is at most {}", limits::MAX_HTTP_TIMEOUT_MS);
        return Err(Refusal::new("bad-limits", message));
    }
    if load.env.len() > MAX_VARIABLES || load.secrets.len() > MAX_VARIABLES {
        return Err(bad_env(format!("at most {MAX_VARIABLES} variables and as many secrets")));
    }
    let env = load.env.iter().map(|(name, value)| (name, value.as_str()));
    let secrets = load.secrets.iter().map(|(name, value)| (name, value.expose()));
    for (name, value) in env.chain(secrets) {
        let shown: String = name.chars().take(40).collect();
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(bad_env(format!(
                "{shown:?}: a variable has a name without '=', and no NUL anywhere"
            )));
        }
        if name.starts_with("ENCLAVE_OS_") {
            return Err(bad_env(format!(
                "{shown:?}: names that begin with ENCLAVE_OS_ are the enclave's own"
            )));
        }
        if load.env.contains_key(name) && load.secrets.contains_key(name) {
            return Err(bad_env(format!("{shown:?} is given both in `env` and in `secrets`")));
        }
    }
    Ok(())
}

fn bad_env(message: String) -> Refusal {
    Refusal::new("bad-env", message)
}

fn exports(app: &App) -> Vec<AppExport> {
    let export = |export: &enclave_runtime::Export| AppExport {
        name: export.name.clone(),
        param_count: export.param_count,
        result_count: export.result_count,
    };
    app.exports().iter().map(export).collect()
}
