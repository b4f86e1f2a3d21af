//! What is said of interfaces and functions.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// `table.toml`: by interface, as WIT names it, with its version.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Table {
    pub(super) interfaces: BTreeMap<String, Said>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// Of the interface as a whole.
    #[serde(default)]
    pub(super) note: String,
    #[serde(default)]
    pub(super) status: Status,
    /// By function, as WIT names it.
    #[serde(default)]
    pub(super) functions: BTreeMap<String, Row>,
}

/// How much of it there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    #[default]
    Offered,
    /// It links, and each call says that it is denied.
    Denied,
    /// The app exports it.
    Exported,
    /// A component that imports it is refused when it is loaded.
    NotOffered,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Where it does not do all that the text says; empty: it does.
    #[serde(default)]
    pub(super) deviation: String,
    #[serde(default)]
    pub(super) tests: Vec<String>,
    /// Why there is no test.
    #[serde(default)]
    pub(super) reason: String,
}

impl Table {
    pub(super) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("the table does not parse")
    }
}

impl Status {
    pub(super) fn word(self, deviates: bool) -> &'static str {
        match self {
            Status::Offered if deviates => "deviates",
            Status::Offered => "complete",
            Status::Denied => "denied",
            Status::Exported => "called",
            Status::NotOffered => "not offered",
        }
    }
}
