//! What cases are gathered in, and the policies they are judged by.

use std::collections::BTreeMap;

use attestation::hex;
use attestation::vectors::{Expect, FORMAT, File, Input, Vector};
use serde_json::Value;

/// Cases as they are made.
pub(crate) struct Table {
    file: File,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table { file: File { format: FORMAT, collaterals: BTreeMap::new(), vectors: Vec::new() } }
    }

    /// Collateral that vectors name.
    pub(crate) fn collateral(&mut self, name: &str, collateral: Value) {
        self.file.collaterals.insert(name.to_owned(), collateral);
    }

    pub(crate) fn accepted(&mut self, name: &str, what: &str, input: Input) {
        self.refused(name, what, input, &[]);
    }

    /// `failed`: the checks that fail, in order.
    pub(crate) fn refused(&mut self, name: &str, what: &str, input: Input, failed: &[&str]) {
        let failed: Vec<String> = failed.iter().map(|&check| check.to_owned()).collect();
        let expect = Expect { accepted: failed.is_empty(), failed };
        self.file.vectors.push(Vector { name: name.to_owned(), what: what.to_owned(), input, expect });
    }

    pub(crate) fn finish(self) -> File {
        self.file
    }
}

/// A policy as text, in parts that cases replace.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) roots: String,
    pub(crate) enclave: String,
    pub(crate) rest: String,
}

impl Policy {
    pub(crate) fn text(&self) -> String {
        let Policy { roots, enclave, rest } = self;
        format!("format = 1\n[roots]\n{roots}\n[enclave]\n{enclave}\n{rest}")
    }

    pub(crate) fn with(&self, rest: &str) -> Self {
        Policy { rest: format!("{}{rest}\n", self.rest), ..self.clone() }
    }

    pub(crate) fn roots(&self, roots: &str) -> Self {
        Policy { roots: roots.to_owned(), ..self.clone() }
    }

    pub(crate) fn enclave(&self, enclave: &str) -> Self {
        Policy { enclave: enclave.to_owned(), ..self.clone() }
    }
}

/// A TOML list of one value in hexadecimal.
pub(crate) fn list(bytes: &[u8]) -> String {
    format!("[\"{}\"]", hex::encode(bytes))
}
