"""Tree hash and inclusion proofs (RFC 9162 §2.1) with SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


def leaf_hash(entry: bytes) -> bytes:
    """``SHA-256(0x00 ‖ entry)``."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 ‖ left ‖ right)``."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The tree hash over leaf hashes (RFC 9162 §2.1.1)."""
    if not leaf_hashes:
        return sha256().digest()
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = 1 << ((len(leaf_hashes) - 1).bit_length() - 1)
    return node_hash(root(leaf_hashes[:split]), root(leaf_hashes[split:]))


@dataclass(frozen=True)
class InclusionProof:
    """Shows that one leaf is in a tree (RFC 9162 §2.1.3)."""

    index: int
    """Position of the leaf, from 0."""
    tree_size: int
    """Number of leaves in the tree."""
    path: tuple[bytes, ...]
    """Sibling hashes, from the leaf upwards."""

    def root(self, leaf: bytes) -> bytes | None:
        """The root that follows from this leaf and this path (RFC 9162 §2.1.3.2).

        ``None`` when index, size and length of the path do not fit together. Compare it with a root
        that you trust.
        """
        if not 0 <= self.index < self.tree_size:
            return None
        at, last, node = self.index, self.tree_size - 1, leaf
        for sibling in self.path:
            if last == 0:
                return None
            if at & 1 or at == last:
                node = node_hash(sibling, node)
                while at and not at & 1:
                    at, last = at >> 1, last >> 1
            else:
                node = node_hash(node, sibling)
            at, last = at >> 1, last >> 1
        return node if last == 0 else None
