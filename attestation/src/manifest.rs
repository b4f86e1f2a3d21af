//! The configuration as named leaves of a Merkle tree.
//!
//! A leaf is `u16 BE name length ‖ name ‖ SHA-256(value)`. A value is raw bytes where it is a hash, a
//! certificate or a key, otherwise canonical JSON (RFC 8785). A value that could be guessed is hashed
//! with 32 random bytes in front and is not part of the manifest.

mod json;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::merkle::{self, Hash, InclusionProof};

/// Longest name of a leaf in bytes.
pub const MAX_NAME: usize = 255;

/// Largest whole number that every JSON reader reads exactly (RFC 8785 §3.2.2.3, RFC 7493 §2.2).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// One setting: its name, the hash of its value and, unless withheld, the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    name: String,
    value_hash: Hash,
    value: LeafValue,
}

/// What a manifest says of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum LeafValue {
    /// Raw bytes; the hash is over them.
    Raw(Vec<u8>),
    /// JSON; the hash is over its canonical form.
    Json(Value),
    /// Only the hash is told: SHA-256(salt ‖ canonical JSON).
    Withheld,
}

/// Why a value cannot be a leaf.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// Name empty, longer than [`MAX_NAME`] or with control characters.
    #[error("a leaf name has 1 to {MAX_NAME} printable ASCII characters without spaces, not {0:?}")]
    Name(String),
    /// Canonical JSON would round it, and two values would have one hash.
    #[error("the number {0} in a leaf is beyond 2^53 and not exact in canonical JSON; write it as a string")]
    InexactNumber(serde_json::Number),
    /// Not representable as JSON.
    #[error("a leaf value is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Leaf {
    /// A leaf over raw bytes: a hash, a certificate, a key.
    ///
    /// # Errors
    /// [`LeafError::Name`].
    pub fn raw(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Result<Self, LeafError> {
        let (name, bytes) = (check_name(name.into())?, bytes.into());
        Ok(Leaf { name, value_hash: Sha256::digest(&bytes).into(), value: LeafValue::Raw(bytes) })
    }

    /// A leaf over canonical JSON.
    ///
    /// # Errors
    /// [`LeafError`]; whole numbers beyond 2^53 are refused.
    pub fn json(name: impl Into<String>, value: &impl Serialize) -> Result<Self, LeafError> {
        let (name, value) = (check_name(name.into())?, serde_json::to_value(value)?);
        let value_hash = Sha256::digest(canonical(&value)?).into();
        Ok(Leaf { name, value_hash, value: LeafValue::Json(value) })
    }

    /// A leaf whose value could be guessed from a plain hash: only the salted hash is kept.
    /// Whoever is to check it needs `salt` and the value.
    ///
    /// # Errors
    /// As [`Leaf::json`].
    pub fn salted(
        name: impl Into<String>,
        salt: &[u8; 32],
        value: &impl Serialize,
    ) -> Result<Self, LeafError> {
        let name = check_name(name.into())?;
        let value_hash = salted_hash(salt, value)?;
        Ok(Leaf { name, value_hash, value: LeafValue::Withheld })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the value (of salt ‖ value if withheld).
    pub fn value_hash(&self) -> &Hash {
        &self.value_hash
    }

    /// What may be told of the value.
    pub fn value(&self) -> &LeafValue {
        &self.value
    }

    /// The same leaf under another name.
    ///
    /// # Errors
    /// [`LeafError::Name`].
    pub fn renamed(&self, name: impl Into<String>) -> Result<Self, LeafError> {
        Ok(Leaf { name: check_name(name.into())?, ..self.clone() })
    }

    /// The tree's entry: `u16 BE name length ‖ name ‖ value hash`.
    pub fn entry(&self) -> Vec<u8> {
        entry(&self.name, &self.value_hash)
    }

    fn hash(&self) -> Hash {
        merkle::leaf_hash(&self.entry())
    }
}

/// The hash of a withheld value: SHA-256(salt ‖ canonical JSON).
///
/// # Errors
/// As [`Leaf::json`].
pub fn salted_hash(salt: &[u8; 32], value: &impl Serialize) -> Result<Hash, LeafError> {
    let value = canonical(&serde_json::to_value(value)?)?;
    Ok(Sha256::new().chain_update(salt).chain_update(value).finalize().into())
}

/// Canonical JSON (RFC 8785) of a value whose numbers it keeps exactly.
///
/// # Errors
/// [`LeafError::InexactNumber`].
pub fn canonical(value: &Value) -> Result<Vec<u8>, LeafError> {
    exact_numbers(value)?;
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

fn exact_numbers(value: &Value) -> Result<(), LeafError> {
    match value {
        Value::Number(number) => {
            let exact = match (number.as_u64(), number.as_i64()) {
                (Some(positive), _) => positive <= MAX_EXACT,
                (None, Some(negative)) => negative.unsigned_abs() <= MAX_EXACT,
                (None, None) => true,
            };
            exact.then_some(()).ok_or_else(|| LeafError::InexactNumber(number.clone()))
        }
        Value::Array(items) => items.iter().try_for_each(exact_numbers),
        Value::Object(members) => members.values().try_for_each(exact_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn check_name(name: String) -> Result<String, LeafError> {
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(name)
    } else {
        Err(LeafError::Name(name.chars().take(MAX_NAME).collect()))
    }
}

fn entry(name: &str, value_hash: &Hash) -> Vec<u8> {
    // Names are at most MAX_NAME bytes long, so the two length bytes hold them.
    let length = (name.len() as u16).to_be_bytes();
    [&length[..], name.as_bytes(), value_hash].concat()
}

/// All leaves, ordered by name, each name once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "json::ManifestJson", try_from = "json::ManifestJson")]
pub struct Manifest {
    leaves: Vec<Leaf>,
    hashes: Vec<Hash>,
    root: Hash,
}

/// Why leaves are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Two settings with one name.
    #[error("two leaves are called {0:?}")]
    Duplicate(String),
    /// Of a manifest that was read: not in the order of names.
    #[error("leaf {0:?} is out of order; leaves are ordered by name")]
    Order(String),
    /// Of a manifest that was read: format version unknown.
    #[error("manifest format {0} is unknown; this reader knows format 1")]
    Version(u32),
    /// Of a manifest that was read: a value and its hash differ.
    #[error("the value of leaf {0:?} does not have the hash that stands beside it")]
    ValueHash(String),
    /// Of a manifest that was read: the stated root is not the root of the leaves.
    #[error("the stated root is not the root of the leaves")]
    Root,
    /// A leaf is malformed.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

impl Manifest {
    /// Orders the leaves by the bytes of their names.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`].
    pub fn new(mut leaves: Vec<Leaf>) -> Result<Self, ManifestError> {
        leaves.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in leaves.windows(2) {
            if let [a, b] = pair
                && a.name == b.name
            {
                return Err(ManifestError::Duplicate(a.name.clone()));
            }
        }
        let hashes: Vec<Hash> = leaves.iter().map(Leaf::hash).collect();
        let root = merkle::root(&hashes);
        Ok(Manifest { leaves, hashes, root })
    }

    /// Root of the tree: extension `.1.1`, or `.3.1` for an app's own manifest.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The leaves in order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The leaf of that name.
    pub fn leaf(&self, name: &str) -> Option<&Leaf> {
        self.position(name).and_then(|at| self.leaves.get(at))
    }

    /// Shows that the leaf of that name is part of the configuration.
    pub fn proof(&self, name: &str) -> Option<Proof> {
        let at = self.position(name)?;
        let leaf = self.leaves.get(at)?.clone();
        Some(Proof { leaf, inclusion: merkle::prove(&self.hashes, at)?, root: self.root })
    }

    /// The app's own manifest, whose root is extension `.3.1`: its leaves without `app.<name>.`.
    ///
    /// # Errors
    /// [`LeafError::Name`] for a leaf that is named like the prefix alone.
    pub fn of_app(&self, app: &str) -> Result<Manifest, ManifestError> {
        let prefix = format!("app.{app}.");
        let leaves = self.leaves.iter().filter_map(|leaf| Some((leaf, leaf.name.strip_prefix(&prefix)?)));
        let leaves = leaves.map(|(leaf, name)| leaf.renamed(name)).collect::<Result<_, _>>()?;
        Manifest::new(leaves)
    }

    /// Names and value hashes, for a comparison of two manifests.
    pub fn value_hashes(&self) -> BTreeMap<&str, &Hash> {
        self.leaves.iter().map(|leaf| (leaf.name.as_str(), &leaf.value_hash)).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.leaves.binary_search_by(|leaf| leaf.name.as_str().cmp(name)).ok()
    }
}

/// One leaf and the path from it to the root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "json::ProofJson", try_from = "json::ProofJson")]
pub struct Proof {
    leaf: Leaf,
    inclusion: InclusionProof,
    root: Hash,
}

/// The proof does not lead to the root that is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to this root: the leaf is not part of that configuration")]
pub struct ProofError;

impl Proof {
    /// The leaf that is proved. A value it discloses has the hash that is proved.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Position and path.
    pub fn inclusion(&self) -> &InclusionProof {
        &self.inclusion
    }

    /// The root the prover says it leads to. Trust the one in a verified certificate.
    pub fn claimed_root(&self) -> Hash {
        self.root
    }

    /// Checks the path against a root the caller trusts.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, root: &Hash) -> Result<(), ProofError> {
        let holds = self.inclusion.holds(&self.leaf.hash(), root);
        holds.then_some(()).ok_or(ProofError)
    }
}
