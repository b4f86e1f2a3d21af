//! The file as it is written, and the way from it to a policy and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Accepted, AppRule, ConfigurationRule, EnclaveRule, FORMAT, FreshnessRule, KeySource, PolicyError, Roots,
    SignerRule, TcbRule, TcbStatus, Tier, VerificationPolicy,
};
use crate::{hex, instant};

/// The file. Absent and empty are different: an absent table asks for nothing or for the default.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    roots: RootsTable,
    enclave: EnclaveTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb: Option<TcbTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<FreshnessTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<AppTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<ConfigurationTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<AuthorityTable>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    intel: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    development: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnclaveTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    mrenclave: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mrsigner: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isv_prod_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_isv_svn: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_debug: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TcbTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    statuses: Option<Vec<StatusEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advisories: Option<Vec<AdvisoryEntry>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StatusEntry {
    Always(String),
    Until(StatusUntil),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusUntil {
    status: String,
    until: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AdvisoryEntry {
    Always(String),
    Until(AdvisoryUntil),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvisoryUntil {
    advisory: String,
    until: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreshnessTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tier: Option<Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age_seconds: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppTable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_hashes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_source: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_root: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaves: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformTable {
    ppids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityTable {
    operator_ca: Vec<String>,
}

pub(super) fn read(text: &str) -> Result<VerificationPolicy, PolicyError> {
    let file: File = toml::from_str(text).map_err(|error| PolicyError::Toml(error.to_string()))?;
    if file.format != FORMAT {
        return Err(PolicyError::Format(file.format));
    }
    Ok(VerificationPolicy {
        roots: file.roots.read()?,
        enclave: file.enclave.read()?,
        tcb: file.tcb.map(TcbTable::read).transpose()?.unwrap_or_default(),
        freshness: file.freshness.map(FreshnessTable::read).unwrap_or_default(),
        app: file.app.map(AppTable::read).transpose()?,
        configuration: file.configuration.map(ConfigurationTable::read).transpose()?,
        ppids: file.platform.map(|table| hashes("platform.ppids", table.ppids)).transpose()?,
        operator_ca: file
            .authority
            .map(|table| hashes("authority.operator_ca", table.operator_ca))
            .transpose()?,
    })
}

pub(super) fn write(policy: &VerificationPolicy) -> Result<String, PolicyError> {
    let signer = policy.enclave.signer.as_ref();
    let file = File {
        format: FORMAT,
        roots: match &policy.roots {
            Roots::Intel => RootsTable { intel: Some(true), development: None },
            Roots::Development(roots) => RootsTable { intel: None, development: Some(texts(roots)) },
        },
        enclave: EnclaveTable {
            mrenclave: policy.enclave.mrenclave.as_deref().map(texts),
            mrsigner: signer.map(|signer| texts(&signer.mrsigner)),
            isv_prod_id: signer.map(|signer| signer.isv_prod_id),
            min_isv_svn: signer.map(|signer| signer.min_isv_svn),
            allow_debug: policy.enclave.allow_debug.then_some(true),
        },
        tcb: Some(TcbTable::write(&policy.tcb)),
        freshness: Some(FreshnessTable {
            min_tier: Some(policy.freshness.min_tier),
            max_age_seconds: Some(policy.freshness.max_age_seconds),
        }),
        app: policy.app.as_ref().map(|app| AppTable {
            name: app.name.clone(),
            code_hashes: app.code_hashes.as_deref().map(texts),
            key_source: app.key_source.as_ref().map(ToString::to_string),
        }),
        configuration: policy.configuration.as_ref().map(|rule| ConfigurationTable {
            root: rule.root.as_deref().map(texts),
            app_root: rule.app_root.as_deref().map(texts),
            leaves: (!rule.leaves.is_empty())
                .then(|| rule.leaves.iter().map(|(name, hashes)| (name.clone(), texts(hashes))).collect()),
        }),
        platform: policy.ppids.as_deref().map(|ppids| PlatformTable { ppids: texts(ppids) }),
        authority: policy
            .operator_ca
            .as_deref()
            .map(|certificates| AuthorityTable { operator_ca: texts(certificates) }),
    };
    let text = toml::to_string(&file).map_err(|error| PolicyError::Toml(error.to_string()))?;
    read(&text)?;
    Ok(text)
}

impl RootsTable {
    fn read(self) -> Result<Roots, PolicyError> {
        match (self.intel, self.development) {
            (Some(true), None) => Ok(Roots::Intel),
            (None | Some(false), Some(roots)) => Ok(Roots::Development(hashes("roots.development", roots)?)),
            _ => Err(PolicyError::Roots),
        }
    }
}

impl EnclaveTable {
    fn read(self) -> Result<EnclaveRule, PolicyError> {
        let signer = match (self.mrsigner, self.isv_prod_id, self.min_isv_svn) {
            (None, None, None) => None,
            (Some(mrsigner), Some(isv_prod_id), Some(min_isv_svn)) => {
                Some(SignerRule { mrsigner: hashes("enclave.mrsigner", mrsigner)?, isv_prod_id, min_isv_svn })
            }
            _ => return Err(PolicyError::Enclave),
        };
        let mrenclave = self.mrenclave.map(|list| hashes("enclave.mrenclave", list)).transpose()?;
        if mrenclave.is_none() && signer.is_none() {
            return Err(PolicyError::Enclave);
        }
        Ok(EnclaveRule { mrenclave, signer, allow_debug: self.allow_debug.unwrap_or(false) })
    }
}

impl TcbTable {
    fn read(self) -> Result<TcbRule, PolicyError> {
        let default = TcbRule::default();
        let statuses = match self.statuses {
            None => default.statuses,
            Some(list) if list.is_empty() => return Err(PolicyError::Empty("tcb.statuses".to_owned())),
            Some(list) => list.into_iter().map(StatusEntry::read).collect::<Result<_, _>>()?,
        };
        let advisories = self.advisories.unwrap_or_default();
        Ok(TcbRule {
            statuses,
            advisories: advisories.into_iter().map(AdvisoryEntry::read).collect::<Result<_, _>>()?,
        })
    }

    fn write(rule: &TcbRule) -> Self {
        let status = |accepted: &Accepted<TcbStatus>| match accepted.until {
            None => StatusEntry::Always(accepted.value.name().to_owned()),
            Some(until) => StatusEntry::Until(StatusUntil {
                status: accepted.value.name().to_owned(),
                until: instant::format(until),
            }),
        };
        let advisory = |accepted: &Accepted<String>| match accepted.until {
            None => AdvisoryEntry::Always(accepted.value.clone()),
            Some(until) => AdvisoryEntry::Until(AdvisoryUntil {
                advisory: accepted.value.clone(),
                until: instant::format(until),
            }),
        };
        TcbTable {
            statuses: Some(rule.statuses.iter().map(status).collect()),
            advisories: (!rule.advisories.is_empty()).then(|| rule.advisories.iter().map(advisory).collect()),
        }
    }
}

impl StatusEntry {
    fn read(self) -> Result<Accepted<TcbStatus>, PolicyError> {
        let (name, until) = match self {
            StatusEntry::Always(status) => (status, None),
            StatusEntry::Until(entry) => (entry.status, Some(moment(entry.until)?)),
        };
        let value = TcbStatus::from_name(&name).ok_or(PolicyError::Status(name))?;
        Ok(Accepted { value, until })
    }
}

impl AdvisoryEntry {
    fn read(self) -> Result<Accepted<String>, PolicyError> {
        Ok(match self {
            AdvisoryEntry::Always(value) => Accepted { value, until: None },
            AdvisoryEntry::Until(entry) => {
                Accepted { value: entry.advisory, until: Some(moment(entry.until)?) }
            }
        })
    }
}

impl FreshnessTable {
    fn read(self) -> FreshnessRule {
        let default = FreshnessRule::default();
        FreshnessRule {
            min_tier: self.min_tier.unwrap_or(default.min_tier),
            max_age_seconds: self.max_age_seconds.unwrap_or(default.max_age_seconds),
        }
    }
}

impl AppTable {
    fn read(self) -> Result<AppRule, PolicyError> {
        let source = |text: String| KeySource::parse(&text).ok_or(PolicyError::KeySource(text));
        Ok(AppRule {
            name: self.name,
            code_hashes: self.code_hashes.map(|list| hashes("app.code_hashes", list)).transpose()?,
            key_source: self.key_source.map(source).transpose()?,
        })
    }
}

impl ConfigurationTable {
    fn read(self) -> Result<ConfigurationRule, PolicyError> {
        let leaf = |(name, list): (String, Vec<String>)| {
            let hashes = hashes(&format!("configuration.leaves.\"{name}\""), list)?;
            Ok((name, hashes))
        };
        let rule = ConfigurationRule {
            root: self.root.map(|list| hashes("configuration.root", list)).transpose()?,
            app_root: self.app_root.map(|list| hashes("configuration.app_root", list)).transpose()?,
            leaves: self.leaves.unwrap_or_default().into_iter().map(leaf).collect::<Result<_, _>>()?,
        };
        if rule == ConfigurationRule::default() {
            return Err(PolicyError::Nothing("configuration"));
        }
        Ok(rule)
    }
}

fn hashes<const N: usize>(key: &str, list: Vec<String>) -> Result<Vec<[u8; N]>, PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::Empty(key.to_owned()));
    }
    let one = |value: String| {
        hex::decode_array(&value).ok_or(PolicyError::Hex { key: key.to_owned(), value, digits: N * 2 })
    };
    list.into_iter().map(one).collect()
}

fn texts<const N: usize>(list: &[[u8; N]]) -> Vec<String> {
    list.iter().map(|bytes| hex::encode(bytes)).collect()
}

fn moment(text: String) -> Result<time::OffsetDateTime, PolicyError> {
    instant::parse(&text).ok_or(PolicyError::Until(text))
}
