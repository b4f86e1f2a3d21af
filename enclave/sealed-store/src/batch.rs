//! What a caller wants changed, all or nothing.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Changes to one namespace that become durable together or not at all.
///
/// Namespaces that are erased are erased first; then, per key, the last change counts.
#[derive(Default)]
pub struct Batch {
    pub(crate) changes: BTreeMap<Vec<u8>, Option<Zeroizing<Vec<u8>>>>,
    pub(crate) expectations: BTreeMap<Vec<u8>, Option<u64>>,
    pub(crate) erased: Vec<String>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes or replaces a record.
    pub fn put(&mut self, key: &[u8], value: impl Into<Vec<u8>>) {
        self.changes.insert(key.to_vec(), Some(Zeroizing::new(value.into())));
    }

    /// Removes a record, if it is there.
    pub fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }

    /// The batch fails with a conflict unless the record has this version when it is applied.
    pub fn expect_version(&mut self, key: &[u8], version: u64) {
        self.expectations.insert(key.to_vec(), Some(version));
    }

    /// The batch fails with a conflict unless there is no such record when it is applied.
    pub fn expect_absent(&mut self, key: &[u8]) {
        self.expectations.insert(key.to_vec(), None);
    }

    /// Removes every record of another namespace (or of this one) with the same batch. Needs no key of it.
    pub fn erase(&mut self, namespace: &str) {
        if !self.erased.iter().any(|name| name == namespace) {
            self.erased.push(namespace.to_owned());
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.expectations.is_empty() && self.erased.is_empty()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("changes", &self.changes.len())
            .field("expectations", &self.expectations.len())
            .field("erased", &self.erased)
            .finish()
    }
}
