"""The configuration of an enclave as named leaves of a Merkle tree, and proofs of single leaves.

A leaf is ``u16 BE name length ‖ name ‖ SHA-256(value)``; ``docs/formats/certificates.md`` has the format.
What is read here is consistent in itself. It is true if its root is the one of a verified certificate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any

from . import canonical_json, merkle
from .encoding import Members, base64_bytes, hex_bytes

_NAME = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Leaf:
    """One setting."""

    name: str
    value_hash: bytes
    """SHA-256 of the value (of a salt and the value if it is withheld)."""
    raw: bytes | None = None
    """A value that is raw bytes."""
    json: Any = None
    """A value that is JSON; ``None`` is also JSON's ``null``."""
    withheld: bool = False
    """Only the hash is told."""

    @property
    def entry(self) -> bytes:
        """The tree's entry."""
        return len(self.name).to_bytes(2, "big") + self.name.encode() + self.value_hash

    @classmethod
    def from_json(cls, value: object) -> Leaf:
        """Reads a leaf; ``ValueError`` if its value does not have the hash beside it."""
        members = Members(value, "a leaf")
        name, value_hash = members.text("name"), hex_bytes(members.text("value_hash"), 32)
        if not _NAME.fullmatch(name):
            raise ValueError(f"a leaf name is 1 to 255 printable ASCII characters, not {name[:255]!r}")
        if "bytes" in members and "json" in members:
            raise ValueError("a leaf has either bytes or json")
        if "bytes" in members:
            raw = base64_bytes(members.text("bytes"))
            leaf, hashed = cls(name, value_hash, raw=raw), sha256(raw).digest()
        elif "json" in members:
            json = members.take("json")
            leaf, hashed = cls(name, value_hash, json=json), sha256(canonical_json.encode(json)).digest()
        else:
            leaf, hashed = cls(name, value_hash, withheld=True), value_hash
        members.end()
        if hashed != value_hash:
            raise ValueError(f"the value of leaf {name!r} does not have the hash that stands beside it")
        return leaf


@dataclass(frozen=True)
class Manifest:
    """All leaves, ordered by name, each name once."""

    leaves: tuple[Leaf, ...]
    root: bytes = field(init=False)
    """Root of the tree: extension ``.1.1``, or ``.3.1`` for an app's own manifest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", merkle.root([merkle.leaf_hash(leaf.entry) for leaf in self.leaves]))

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Reads a manifest (parsed JSON); ``ValueError`` on anything the format does not allow."""
        members = Members(value, "the manifest")
        members.integer("version", 1, 1)
        stated = hex_bytes(members.text("root"), 32)
        leaves = tuple(Leaf.from_json(leaf) for leaf in members.items("leaves"))
        members.end()
        for before, after in pairwise(leaves):
            if before.name == after.name:
                raise ValueError(f"two leaves are called {after.name!r}")
            if before.name > after.name:
                raise ValueError(f"leaf {after.name!r} is out of order; leaves are ordered by name")
        manifest = cls(leaves)
        if manifest.root != stated:
            raise ValueError("the stated root is not the root of the leaves")
        return manifest

    def leaf(self, name: str) -> Leaf | None:
        """The leaf of that name."""
        return next((leaf for leaf in self.leaves if leaf.name == name), None)

    def of_app(self, app: str) -> Manifest:
        """The app's own manifest, whose root is extension ``.3.1``: its leaves without ``app.<name>.``."""
        return Manifest(_renamed(self.leaves, f"app.{app}."))


def _renamed(leaves: Sequence[Leaf], prefix: str) -> tuple[Leaf, ...]:
    own = [leaf for leaf in leaves if leaf.name.startswith(prefix) and leaf.name != prefix]
    return tuple(Leaf(leaf.name[len(prefix) :], leaf.value_hash, leaf.raw, leaf.json, leaf.withheld) for leaf in own)


def salted_hash(salt: bytes, value: Any) -> bytes:
    """The hash of a withheld value that was disclosed: ``SHA-256(salt ‖ canonical JSON)``."""
    return sha256(salt + canonical_json.encode(value)).digest()


@dataclass(frozen=True)
class Proof:
    """One leaf and the path from it to the root."""

    leaf: Leaf
    inclusion: merkle.InclusionProof

    @classmethod
    def from_json(cls, value: object) -> Proof:
        """Reads a proof (parsed JSON); ``ValueError`` on anything the format does not allow."""
        members = Members(value, "the proof")
        most = (1 << 64) - 1
        leaf = Leaf.from_json(members.take("leaf"))
        index, tree_size = members.integer("index", 0, most), members.integer("tree_size", 0, most)
        path = tuple(hex_bytes(text, 32) for text in members.strings("path"))
        # What the prover says of the root is worth nothing; `holds` takes the one that is trusted.
        hex_bytes(members.text("root"), 32)
        members.end()
        return cls(leaf, merkle.InclusionProof(index, tree_size, path))

    def holds(self, root: bytes) -> bool:
        """Whether the leaf is part of the configuration with this root, taken from a verified certificate."""
        return self.inclusion.root(merkle.leaf_hash(self.leaf.entry)) == root
