//! What the sealed registry keeps of one app.

use std::collections::BTreeMap;

use attestation::manifest::{Leaf, LeafError};
use boundary_wire::client::{Access, AppExport, AppInfo, DataPolicy, Load, LogPolicy, Secret};
use enclave_access::names::{AppName, Hostname, NameError, RoutePrefix};
use enclave_ratls::AppIdentity;
use enclave_runtime::{AppSpec, HttpLimits, KeySource, Limits};
use enclave_sealed_store::{MAX_VALUE, Namespace};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use crate::hex;

/// Written as JSON. The next field that is added gets a default, or the format a new number.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppRecord {
    format: u32,
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) route_prefix: String,
    #[serde(with = "hex::array")]
    pub(crate) code_hash: [u8; 32],
    pub(crate) artifact_bytes: usize,
    pub(crate) key: DataKey,
    pub(crate) limits: Limits,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) egress: Option<Vec<String>>,
    pub(crate) version: Option<String>,
    pub(crate) data_policy: DataPolicy,
    pub(crate) log_policy: LogPolicy,
    #[serde(default)]
    pub(crate) access: Access,
    #[serde(with = "hex::array")]
    pub(crate) env_salt: [u8; 32],
    #[serde(with = "hex::array")]
    pub(crate) secrets_salt: [u8; 32],
    pub(crate) exports: Vec<AppExport>,
}

const FORMAT: u32 = 1;

/// The key of an app's data, or what is known of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DataKey {
    /// Made inside; sealed here and nowhere else.
    Generated(#[serde(with = "hex::array")] [u8; 32]),
    /// Brought by the owner and never stored: SHA-256 of it, to recognise it.
    Byok(#[serde(with = "hex::array")] [u8; 32]),
}

impl Drop for DataKey {
    fn drop(&mut self) {
        if let DataKey::Generated(key) = self {
            key.zeroize();
        }
    }
}

impl DataKey {
    /// As replies and certificates say it.
    pub(crate) fn source(&self) -> KeySource {
        match self {
            DataKey::Generated(_) => KeySource::Generated,
            DataKey::Byok([a, b, c, d, e, f, g, h, ..]) => KeySource::Byok([*a, *b, *c, *d, *e, *f, *g, *h]),
        }
    }
}

impl Drop for AppRecord {
    fn drop(&mut self) {
        self.secrets.values_mut().for_each(Zeroize::zeroize);
    }
}

/// What an app is called.
pub(crate) struct Names {
    pub(crate) app: AppName,
    pub(crate) hostname: Hostname,
    pub(crate) route_prefix: RoutePrefix,
}

/// Which artifact an app is.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    pub(crate) hash: [u8; 32],
    pub(crate) bytes: usize,
}

/// A record that cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("names, environment, secrets and exports of the app take more than {MAX_VALUE} bytes together")]
pub(crate) struct RecordTooLarge;

impl AppRecord {
    /// The record of a load.
    pub(crate) fn new(
        load: &Load,
        names: Names,
        code: Code,
        key: DataKey,
        salts: [[u8; 32]; 2],
    ) -> AppRecord {
        let defaults = Limits::default();
        let [env_salt, secrets_salt] = salts;
        AppRecord {
            format: FORMAT,
            name: names.app.into(),
            hostname: names.hostname.into(),
            route_prefix: names.route_prefix.into(),
            code_hash: code.hash,
            artifact_bytes: code.bytes,
            key,
            limits: Limits {
                fuel: load.max_fuel.unwrap_or(defaults.fuel),
                memory_bytes: load.max_memory_bytes.unwrap_or(defaults.memory_bytes),
                timeout_ms: load.timeout_ms.unwrap_or(defaults.timeout_ms),
                store_bytes: load.max_store_bytes.unwrap_or(defaults.store_bytes),
                store_keys: load.max_store_keys.unwrap_or(defaults.store_keys),
                http: http_limits(load),
                ..defaults
            },
            env: load.env.clone(),
            secrets: load
                .secrets
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
            egress: load.egress.clone(),
            version: load.version.clone(),
            data_policy: load.data_policy.unwrap_or_default(),
            log_policy: load.log_policy.unwrap_or_default(),
            access: load.access.unwrap_or_default(),
            env_salt,
            secrets_salt,
            exports: Vec::new(),
        }
    }

    /// What is sealed.
    pub(crate) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, RecordTooLarge> {
        // Never grows, so no copy of a key is left behind.
        let mut bytes = Zeroizing::new(vec![0; MAX_VALUE]);
        let mut rest = bytes.as_mut_slice();
        serde_json::to_writer(&mut rest, self).map_err(|_| RecordTooLarge)?;
        let left = rest.len();
        bytes.truncate(MAX_VALUE - left);
        Ok(bytes)
    }

    /// Reads what was sealed under `name`.
    pub(crate) fn from_bytes(name: &str, bytes: &[u8]) -> Result<AppRecord, String> {
        let record: AppRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.format != FORMAT || record.name != name {
            return Err("it has another format or another app's name".to_owned());
        }
        Ok(record)
    }

    /// What certificates and manifest say of the app.
    pub(crate) fn identity(&self) -> Result<AppIdentity, IdentityFault> {
        let hosts = self.egress.as_ref().map_or_else(|| json!("any"), |hosts| json!(hosts));
        let leaves = vec![
            Leaf::json("access", &self.access)?,
            Leaf::json("data_policy", &self.data_policy)?,
            Leaf::json("egress", &hosts)?,
            Leaf::salted("env", &self.env_salt, &self.env)?,
            Leaf::json("limits", &self.limits_leaf())?,
            Leaf::json("log_policy", &self.log_policy)?,
            Leaf::salted("secrets", &self.secrets_salt, &self.secrets)?,
            Leaf::json("version", &self.version)?,
        ];
        Ok(AppIdentity {
            name: AppName::parse(&self.name)?,
            hostname: Hostname::parse(&self.hostname)?,
            route_prefix: RoutePrefix::parse(&self.route_prefix)?,
            code_hash: self.code_hash,
            key_source: self.key.source().to_string(),
            leaves,
        })
    }

    pub(crate) fn hostname(&self) -> &str {
        &self.hostname
    }

    pub(crate) fn route_prefix(&self) -> &str {
        &self.route_prefix
    }

    /// Every limit; as text where canonical JSON would round it.
    fn limits_leaf(&self) -> serde_json::Value {
        let mut limits = self.limits.to_json();
        exact(&mut limits);
        limits
    }

    /// What the runtime is told of the app.
    pub(crate) fn spec(&self, namespace: Namespace) -> AppSpec {
        let secret = |(name, value): (&String, &String)| (name.clone(), Secret::new(value.clone()));
        AppSpec {
            name: self.name.clone(),
            hostname: self.hostname.clone(),
            route_prefix: self.route_prefix.clone(),
            limits: self.limits,
            env: self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            secrets: self.secrets.iter().map(secret).collect(),
            egress: self.egress.clone(),
            version: self.version.clone(),
            data_policy: self.data_policy,
            log_policy: self.log_policy,
            access: self.access,
            key_source: self.key.source(),
            namespace,
        }
    }

    /// As replies show the app.
    pub(crate) fn info(&self) -> AppInfo {
        AppInfo {
            name: self.name.clone(),
            hostname: self.hostname.clone(),
            code_hash: hex::encode(&self.code_hash),
            key_source: self.key.source().word().to_owned(),
            exports: self.exports.clone(),
            state: None,
            storage: None,
        }
    }
}

fn http_limits(load: &Load) -> HttpLimits {
    let defaults = HttpLimits::default();
    HttpLimits {
        fuel: load.http_max_fuel.unwrap_or(defaults.fuel),
        idle_timeout_ms: load.http_idle_timeout_ms.unwrap_or(defaults.idle_timeout_ms),
        timeout_ms: load.http_timeout_ms.unwrap_or(defaults.timeout_ms),
        request_bytes: load.http_max_request_bytes.unwrap_or(defaults.request_bytes),
        response_bytes: load.http_max_response_bytes.unwrap_or(defaults.response_bytes),
    }
}

/// As text what canonical JSON would round.
fn exact(value: &mut serde_json::Value) {
    if let Some(members) = value.as_object_mut() {
        members.values_mut().for_each(exact);
    } else if value.as_u64().is_some_and(|number| number >= 1 << 53) {
        *value = value.to_string().into();
    }
}

/// What an app is cannot be written into a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityFault {
    #[error(transparent)]
    Leaf(#[from] LeafError),
    #[error(transparent)]
    Name(#[from] NameError),
}
