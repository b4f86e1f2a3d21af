// Package configuration reads what an enclave says about its settings: named leaves of a Merkle
// tree, whose root stands in its certificate, as a whole manifest or as a proof for one leaf.
package configuration

import (
	"crypto/sha256"
	"math/bits"
)

// Hash is a node of the tree.
type Hash = [sha256.Size]byte

// leafHash is SHA-256(0x00 ‖ entry) (RFC 9162 §2.1.1).
func leafHash(entry []byte) Hash {
	return sha256.Sum256(append([]byte{0x00}, entry...))
}

// nodeHash is SHA-256(0x01 ‖ left ‖ right) (RFC 9162 §2.1.1).
func nodeHash(left, right Hash) Hash {
	node := append([]byte{0x01}, left[:]...)
	return sha256.Sum256(append(node, right[:]...))
}

// rootOf is the tree hash over leaf hashes (RFC 9162 §2.1.1).
func rootOf(leaves []Hash) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		// The largest power of two smaller than n.
		split := 1 << (bits.Len(uint(n-1)) - 1)
		return nodeHash(rootOf(leaves[:split]), rootOf(leaves[split:]))
	}
}

// rootFromPath is the root that follows from a leaf and its path (RFC 9162 §2.1.3.2); false when
// index, size and length of the path do not fit together.
func rootFromPath(leaf Hash, index, size uint64, path []Hash) (Hash, bool) {
	if index >= size {
		return Hash{}, false
	}
	at, last, node := index, size-1, leaf
	for _, sibling := range path {
		if last == 0 {
			return Hash{}, false
		}
		if at&1 == 1 || at == last {
			node = nodeHash(sibling, node)
			for at&1 == 0 && at != 0 {
				at >>= 1
				last >>= 1
			}
		} else {
			node = nodeHash(node, sibling)
		}
		at >>= 1
		last >>= 1
	}
	return node, last == 0
}
