//! How manifests and proofs are written: hashes in hexadecimal, raw values in base64.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Leaf, LeafError, LeafValue, Manifest, ManifestError, Proof, canonical, check_name};
use crate::merkle::{Hash, InclusionProof};

const VERSION: u32 = 1;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestJson {
    version: u32,
    #[serde(with = "crate::hex::bytes_32")]
    root: Hash,
    leaves: Vec<LeafJson>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofJson {
    leaf: LeafJson,
    index: u64,
    tree_size: u64,
    #[serde(with = "crate::hex::list_32")]
    path: Vec<Hash>,
    #[serde(with = "crate::hex::bytes_32")]
    root: Hash,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafJson {
    name: String,
    #[serde(with = "crate::hex::bytes_32")]
    value_hash: Hash,
    /// Raw value.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_option")]
    bytes: Option<Vec<u8>>,
    /// JSON value; `null` is a value, absence is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    json: Option<Value>,
}

impl From<Leaf> for LeafJson {
    fn from(leaf: Leaf) -> Self {
        let (bytes, json) = match leaf.value {
            LeafValue::Raw(bytes) => (Some(bytes), None),
            LeafValue::Json(value) => (None, Some(value)),
            LeafValue::Withheld => (None, None),
        };
        LeafJson { name: leaf.name, value_hash: leaf.value_hash, bytes, json }
    }
}

impl TryFrom<LeafJson> for Leaf {
    type Error = ManifestError;

    fn try_from(json: LeafJson) -> Result<Self, ManifestError> {
        let name = check_name(json.name)?;
        let (value, hash): (_, Hash) = match (json.bytes, json.json) {
            (Some(bytes), None) => {
                let hash = Sha256::digest(&bytes).into();
                (LeafValue::Raw(bytes), hash)
            }
            (None, Some(value)) => {
                let hash = Sha256::digest(canonical(&value)?).into();
                (LeafValue::Json(value), hash)
            }
            (None, None) => (LeafValue::Withheld, json.value_hash),
            (Some(_), Some(_)) => {
                let both = serde::de::Error::custom("a leaf has either bytes or json");
                return Err(LeafError::Json(both).into());
            }
        };
        if hash != json.value_hash {
            return Err(ManifestError::ValueHash(name));
        }
        Ok(Leaf { name, value_hash: hash, value })
    }
}

impl From<Manifest> for ManifestJson {
    fn from(manifest: Manifest) -> Self {
        let leaves = manifest.leaves.into_iter().map(LeafJson::from).collect();
        ManifestJson { version: VERSION, root: manifest.root, leaves }
    }
}

impl TryFrom<ManifestJson> for Manifest {
    type Error = ManifestError;

    fn try_from(json: ManifestJson) -> Result<Self, ManifestError> {
        if json.version != VERSION {
            return Err(ManifestError::Version(json.version));
        }
        let leaves = json.leaves.into_iter().map(Leaf::try_from).collect::<Result<Vec<_>, _>>()?;
        for pair in leaves.windows(2) {
            if let [a, b] = pair
                && a.name > b.name
            {
                return Err(ManifestError::Order(b.name.clone()));
            }
        }
        let manifest = Manifest::new(leaves)?;
        if manifest.root != json.root {
            return Err(ManifestError::Root);
        }
        Ok(manifest)
    }
}

impl From<Proof> for ProofJson {
    fn from(proof: Proof) -> Self {
        let InclusionProof { index, tree_size, path } = proof.inclusion;
        ProofJson { leaf: proof.leaf.into(), index, tree_size, path, root: proof.root }
    }
}

impl TryFrom<ProofJson> for Proof {
    type Error = ManifestError;

    fn try_from(json: ProofJson) -> Result<Self, ManifestError> {
        let ProofJson { leaf, index, tree_size, path, root } = json;
        Ok(Proof { leaf: leaf.try_into()?, inclusion: InclusionProof { index, tree_size, path }, root })
    }
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

mod base64_option {
    use super::{BASE64, Deserialize, Deserializer, Engine};
    use serde::{Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => s.serialize_str(&BASE64.encode(bytes)),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        BASE64.decode(String::deserialize(d)?).map(Some).map_err(D::Error::custom)
    }
}
