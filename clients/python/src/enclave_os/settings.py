"""What a policy demands of the configuration, and what is shown of it: by a manifest, or leaf by leaf.

Neither needs trust: they count so far as they lead to the roots in the certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from .evidence import CA_LEAF, EvidenceDocument
from .leaf_certificate import LeafCertificate
from .manifest import Leaf, Manifest, Proof
from .policy import VerificationPolicy


def problems(
    wanted: VerificationPolicy, certificate: LeafCertificate, manifest: Manifest | None, proofs: Sequence[Proof]
) -> list[str]:
    """What does not hold, each as the sentence that a person needs."""
    root = certificate.configuration_root
    scope = _Scope.of(manifest, certificate)
    wrong = []
    if manifest is not None and scope is None:
        wrong.append(
            "the manifest does not lead to the root in the certificate: it is of another configuration. Ask the enclave "
            "for both anew"
        )
    if wanted.configuration_roots is not None and root not in wanted.configuration_roots:
        wrong.append(
            "the configuration root is not one of the policy's: something in the enclave is configured otherwise. "
            "`enclave-os proof` lists its settings; if they are what you want, put the root into `configuration.root`"
        )
    if wanted.app_roots is not None:
        own = certificate.app.configuration_root if certificate.app else None
        if own is None and scope is not None and wanted.app is not None:
            own = scope.manifest.of_app(wanted.app).root
        if own is None:
            wrong.append(
                "the app's configuration root is in its own certificate only: connect with its hostname, or get the "
                "manifest and name the app in [app]"
            )
        elif own not in wanted.app_roots:
            wrong.append(
                f"the app's configuration root is {own.hex()}: it is configured otherwise than the policy accepts; if that "
                "is what you want, put it into `configuration.app_root`"
            )
    for name, hashes in (wanted.leaves or {}).items():
        leaf = (scope and scope.leaf(name)) or _proven(name, proofs, root)
        if leaf is None:
            if any(proof.leaf.name == name for proof in proofs):
                wrong.append(
                    f"the proof of {name} does not lead to the root in the certificate: it is of another configuration. "
                    "Ask the enclave for both anew"
                )
            elif manifest is None:
                wrong.append(
                    f"{name} was not shown: it is mistyped, or neither its proof (/.enclave/v1/proofs/{name}) nor the "
                    "manifest was given"
                )
            elif scope is not None:
                wrong.append(
                    f"{name} is not in the manifest: it is mistyped, or a leaf of the core in the manifest of an app"
                )
        elif leaf.value_hash not in hashes:
            wrong.append(
                f"{name} has the value hash {leaf.value_hash.hex()}, which the policy does not accept; "
                f"`enclave-os proof {name}` shows the value. If it is what you want, put the hash into "
                "`configuration.leaves`"
            )
    return wrong


def ca_problems(certificate: LeafCertificate, document: EvidenceDocument) -> list[str]:
    """Whether the document's enclave CA is the enclave's: of its certificate the leaf's signature binds the key alone."""
    proof = document.ca_proof
    if proof.leaf.name != CA_LEAF or not proof.holds(certificate.configuration_root):
        return [
            f"`ca_proof` does not prove {CA_LEAF} under the root in the certificate: it is of another configuration, or was "
            "changed. Ask the enclave for another document"
        ]
    if [sha256(der).digest() for der in document.certificate_chain[1:2]] != [proof.leaf.value_hash]:
        return [
            f"the second certificate is not the one that the enclave has for its CA ({CA_LEAF}): it was changed on its way. "
            "Ask the enclave for another document"
        ]
    return []


def _proven(name: str, proofs: Sequence[Proof], root: bytes) -> Leaf | None:
    """The leaf of that name, if one of the proofs leads from it to the root."""
    return next((proof.leaf for proof in proofs if proof.leaf.name == name and proof.holds(root)), None)


@dataclass(frozen=True)
class _Scope:
    """A manifest that a certificate vouches for."""

    manifest: Manifest
    prefix: str
    """What the names of its leaves lack: ``app.<name>.`` in an app's own manifest (``.3.1``)."""

    @classmethod
    def of(cls, manifest: Manifest | None, leaf: LeafCertificate) -> _Scope | None:
        if manifest is None:
            return None
        if manifest.root == leaf.configuration_root:
            return cls(manifest, "")
        if leaf.app is not None and manifest.root == leaf.app.configuration_root:
            return cls(manifest, f"app.{leaf.apps[0].name}.")
        return None

    def leaf(self, name: str) -> Leaf | None:
        return self.manifest.leaf(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None
