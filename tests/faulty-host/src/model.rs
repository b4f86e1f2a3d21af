//! What a client may be answered: a model of what it was told is kept.

use std::collections::BTreeMap;

/// One value, as far as its writer knows.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Acknowledged. `None`: nothing was.
    sure: Option<String>,
    /// Written without an answer: it, or the beginning of it, may be there.
    maybe: Vec<String>,
    /// Acknowledged once.
    before: Vec<String>,
}

/// Values under keys.
#[derive(Clone, Debug, Default)]
pub struct Model {
    kept: BTreeMap<String, Kept>,
}

impl Model {
    /// A write has begun.
    pub fn write(&mut self, key: &str, value: &str) {
        self.kept.entry(key.to_owned()).or_default().maybe.push(value.to_owned());
    }

    /// A write was acknowledged. Others of the same key that were not may come behind it.
    pub fn acknowledged(&mut self, key: &str, value: &str) {
        let kept = self.kept.entry(key.to_owned()).or_default();
        kept.maybe.retain(|maybe| maybe != value);
        kept.before.extend(kept.sure.replace(value.to_owned()));
    }

    /// Whether this may be read: `None` is that there is no such key. `rolled_back`: from the past as well.
    pub fn allows(&self, key: &str, read: Option<&str>, rolled_back: bool) -> bool {
        let Some(kept) = self.kept.get(key) else { return read.is_none() };
        let Some(read) = read else { return kept.sure.is_none() || rolled_back };
        kept.sure.as_deref() == Some(read)
            || kept.maybe.iter().any(|maybe| maybe.starts_with(read))
            || rolled_back && kept.before.iter().any(|before| before == read)
    }

    /// The enclave was away: what was read behind that is what there is, for no earlier write is under way.
    pub fn settled(&mut self, key: &str, read: Option<&str>) {
        let kept = self.kept.entry(key.to_owned()).or_default();
        kept.maybe.clear();
        kept.sure = read.map(str::to_owned);
    }

    /// The keys that were written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_there_and_what_was_not_may_be() {
        let mut model = Model::default();
        assert!(model.allows("k", None, false) && !model.allows("k", Some("x"), false));
        model.write("k", "one");
        assert!(model.allows("k", None, false) && model.allows("k", Some("on"), false));
        model.acknowledged("k", "one");
        assert!(model.allows("k", Some("one"), false));
        assert!(!model.allows("k", None, false) && !model.allows("k", Some("on"), false));
        model.write("k", "two");
        assert!(model.allows("k", Some("one"), false) && model.allows("k", Some(""), false));
        model.acknowledged("k", "two");
        assert!(!model.allows("k", Some("one"), false) && model.allows("k", Some("one"), true));
        assert!(!model.allows("k", Some("three"), true));
        model.write("k", "three");
        model.settled("k", Some("thr"));
        assert!(model.allows("k", Some("thr"), false) && !model.allows("k", Some("three"), false));
    }
}
