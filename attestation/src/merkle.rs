//! Tree hash and inclusion proofs (RFC 9162 §2.1) with SHA-256.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node of the tree.
pub type Hash = [u8; 32];

/// Hash of an empty list (RFC 9162 §2.1.1): SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// `SHA-256(0x00 ‖ entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// The tree hash over leaf hashes (RFC 9162 §2.1.1).
pub fn root(leaf_hashes: &[Hash]) -> Hash {
    match leaf_hashes {
        [] => empty_root(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The largest power of two smaller than `n`, for `n >= 2`.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// Shows that one leaf is in a tree (RFC 9162 §2.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// Number of leaves in the tree.
    pub tree_size: u64,
    /// Sibling hashes, from the leaf upwards.
    #[serde(with = "crate::hex::list_32")]
    pub path: Vec<Hash>,
}

/// PATH(index, leaves) of RFC 9162 §2.1.3.1. `None` when there is no such leaf.
pub fn prove(leaf_hashes: &[Hash], index: usize) -> Option<InclusionProof> {
    if index >= leaf_hashes.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut leaves, mut at) = (leaf_hashes, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if at < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            at -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(InclusionProof { index: index as u64, tree_size: leaf_hashes.len() as u64, path })
}

impl InclusionProof {
    /// The root that follows from this leaf and this path (RFC 9162 §2.1.3.2); `None` when index, size
    /// and length of the path do not fit together. To verify, compare it with the root you trust.
    pub fn root(&self, leaf: &Hash) -> Option<Hash> {
        if self.index >= self.tree_size {
            return None;
        }
        let (mut at, mut last) = (self.index, self.tree_size - 1);
        let mut hash = *leaf;
        for sibling in &self.path {
            if last == 0 {
                return None;
            }
            if at & 1 == 1 || at == last {
                hash = node_hash(sibling, &hash);
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            at >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }

    /// Whether `leaf` is in the tree whose root is `expected`.
    pub fn holds(&self, leaf: &Hash, expected: &Hash) -> bool {
        self.root(leaf).is_some_and(|root| root == *expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(format!("leaf {i}").as_bytes())).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved() {
        for size in 1..=64 {
            let leaves = leaves(size);
            let root = root(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = prove(&leaves, index).unwrap();
                assert!(proof.holds(leaf, &root), "{index} of {size}");
                assert!(proof.path.len() <= 6);
            }
            assert_eq!(prove(&leaves, size), None);
        }
    }

    #[test]
    fn known_answers() {
        // The test vectors of the Certificate Transparency reference implementation.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|entry| leaf_hash(entry)).collect();
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, expected) in roots.iter().enumerate() {
            assert_eq!(crate::hex::encode(&root(&leaves[..size])), *expected, "{size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_tampered_proof_holds(size in 1usize..80, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), bit in 0usize..256) {
            let leaves = leaves(size);
            let root = root(&leaves);
            let index = at.index(size);
            let proof = prove(&leaves, index).unwrap();
            let leaf = leaves[index];
            let flip = |hash: &Hash| { let mut h = *hash; h[bit / 8] ^= 1 << (bit % 8); h };

            prop_assert!(!proof.holds(&flip(&leaf), &root));
            prop_assert!(!proof.holds(&leaf, &flip(&root)));
            for level in 0..proof.path.len() {
                let mut bad = proof.clone();
                bad.path[level] = flip(&bad.path[level]);
                prop_assert!(!bad.holds(&leaf, &root));
                let mut bad = proof.clone();
                bad.path.remove(level);
                prop_assert!(!bad.holds(&leaf, &root));
            }
            let mut bad = proof.clone();
            bad.path.push(leaf);
            prop_assert!(!bad.holds(&leaf, &root));
            let elsewhere = other.index(size);
            if elsewhere != index {
                prop_assert!(!proof.holds(&leaves[elsewhere], &root));
            }
            let mut bad = proof.clone();
            bad.index = proof.tree_size;
            prop_assert!(!bad.holds(&leaf, &root));
        }

        #[test]
        fn any_proof_is_answered(index in any::<u64>(), tree_size in any::<u64>(), path in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let _ = InclusionProof { index, tree_size, path }.root(&[0; 32]);
        }
    }
}
