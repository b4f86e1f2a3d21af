"""A verified enclave, and the apps in it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote as percent_encoded

from . import values
from .collateral import Collateral
from .connection import CollateralCache, Opener, VerifiedOpener
from .errors import ConnectionError as EnclaveConnectionError
from .errors import EnclaveOsError, ProtocolError, StaleError
from .evidence import EvidenceDocument
from .framing import Framed
from .http import Http, Response
from .leaf_certificate import LeafCertificate
from .manifest import Manifest, Proof
from .policy import Tier, VerificationPolicy
from .transport import has_exporter
from .verdict import Verdict

DEFAULT_PORT = 8443

_SHARED_CACHE = CollateralCache()


def strongest_tier() -> Tier:
    """The strongest tier this installation can verify: ``channel`` with pyOpenSSL, otherwise ``challenge``."""
    return Tier.CHANNEL if has_exporter() else Tier.CHALLENGE


def connect(
    address: str,
    policy: VerificationPolicy | str | Path,
    *,
    server_name: str | None = None,
    tier: Tier | None = None,
    collateral: Collateral | None = None,
    cache: CollateralCache | None = None,
    timeout: float = 30.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Client:
    """Connects to ``host:port`` and verifies it.

    ``policy`` is a policy or the path of its file. ``server_name`` is the name the certificate has to be for,
    such as the hostname of one app; without it whoever answers at the address is judged by the rest of the
    policy. ``tier`` is the strongest there is unless given. ``collateral`` is used in place of what the server
    sends; ``cache`` keeps what was sent (default: one per process). ``now`` is for tests and for clocks that
    are known to be wrong. ``timeout`` is for connecting and verifying together, then for each wait, in seconds.

    :class:`VerificationError` if the policy does not hold: it has the verdict, and nothing was sent.
    """
    host, port = parse_address(address)
    if not isinstance(policy, VerificationPolicy):
        policy = VerificationPolicy.from_file(policy)
    opener = VerifiedOpener(
        address=(host, port),
        policy=policy,
        tier=strongest_tier() if tier is None else tier,
        server_name=server_name or host,
        demand_name=server_name is not None,
        given=collateral,
        cache=_SHARED_CACHE if cache is None else cache,
        timeout=timeout,
        now=now,
    )
    client = Client(opener)
    client.reconnect()
    return client


def parse_address(address: str) -> tuple[str, int]:
    """``host``, ``host:port`` or ``[address]:port``."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]") or (":" in host and not host.startswith("[")):
        return address.strip("[]"), DEFAULT_PORT
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


class Client:
    """Connections to one enclave, opened when they are needed, each verified when it is opened.

    Made by :func:`connect`. Use it in a ``with`` statement, or :meth:`close` it. Threads may share it; their
    requests go one after the other.
    """

    def __init__(self, opener: Opener, *, unverified: bool = False) -> None:
        """``unverified`` is for ``danger`` alone: there is no verdict then, and nothing is compared with one."""
        self._opener = opener
        self._unverified = unverified
        self._framed: Framed | None = None
        self._http: Http | None = None
        self._verdict: Verdict | None = None
        self._schemas: dict[str, list[values.Function]] = {}
        self._lock = RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        with self._lock:
            if self._framed:
                self._framed.close()
            if self._http:
                self._http.close()
            self._framed = self._http = None
            self._schemas.clear()

    def reconnect(self) -> None:
        """Connects anew and verifies anew: what follows a :class:`StaleError`."""
        with self._lock:
            self.close()
            self._open_framed()

    @property
    def verdict(self) -> Verdict | None:
        """What the latest verification found; ``None`` only of an unverified client (``danger``)."""
        return self._verdict

    # Apps.

    def app(self, name: str) -> App:
        """The app of that name."""
        return App(self, name)

    def call(self, app: str, function: str, *arguments: Any, **named: Any) -> Any:
        """Calls a function of an app with native values and gives its native result.

        Arguments stand in the order of the signature, or are named: in Python's spelling (``max_items``) or
        the signature's. :mod:`enclave_os.values` has the types. Gives ``None`` for a function without a
        result, and a tuple for several.
        """
        if arguments and named:
            raise TypeError("a call takes its arguments by position or by name, not both")
        signature = _find(self.schema(app), function)
        params: Any = list(arguments) if signature is None else _arguments(signature, arguments, named)
        reply = self.command({"wasm_call": {"app": app, "function": function, "params": params}})
        results = _results(reply, signature)
        return results[0] if len(results) == 1 else tuple(results) or None

    def schema(self, app: str) -> list[values.Function]:
        """The exports of an app with their types."""
        with self._lock:
            if app not in self._schemas:
                reply = self.command({"wasm_schema": {"app": app}})
                self._schemas[app] = values.functions(reply.get("schema", {}))
            return self._schemas[app]

    # Management.

    def apps(self) -> list[dict[str, Any]]:
        """The apps that are loaded."""
        apps: list[dict[str, Any]] = self.command({"wasm_list": {}}).get("apps", [])
        return apps

    def load(self, name: str, artifact: bytes, **options: Any) -> dict[str, Any]:
        """Loads or replaces an app from a compiled artifact.

        ``options`` are the fields of ``wasm_load`` (``docs/formats/framed-json.md``). Artifacts of more than
        about 45 MB go by :meth:`request`: ``PUT /.enclave/v1/apps/<name>``.
        """
        fields = {"name": name, "bytes_base64": base64.b64encode(artifact).decode()} | options
        loaded: dict[str, Any] = self._manage({"wasm_load": fields}, name).get("app", {})
        return loaded

    def unload(self, name: str) -> bool:
        """Unloads an app and erases its data for good. False if there is none of that name."""
        return self._manage({"wasm_unload": {"name": name}}, name).get("status") == "unloaded"

    def _manage(self, envelope: dict[str, Any], name: str) -> dict[str, Any]:
        with self._lock:
            reply = self.command(envelope)
            self._schemas.pop(name, None)
            # The other connection was verified before the change.
            if self._http:
                self._http.close()
                self._http = None
            return reply

    # The two protocols.

    def command(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """Sends one envelope of framed JSON as it is and gives the reply.

        :class:`RefusedError` if the enclave refuses it.
        """
        with self._lock:
            framed = self._framed or self._open_framed()
            try:
                return framed.ask(envelope)
            except (StaleError, EnclaveConnectionError):
                # It has ended; the next request opens a new one.
                framed.close()
                self._framed = None
                self._schemas.clear()
                raise

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """An HTTP request to any path of the server; an answer of any status is returned."""
        with self._lock:
            http = self._http
            if http is None or http.closed:
                http, verdict = self._opener.http()
                self._http, self._verdict = http, verdict
            try:
                response = http.request(method, path, body, headers)
            except EnclaveConnectionError:
                http.close()
                raise
            if response.status == 421:
                http.close()
            return response

    # Evidence.

    def manifest(self) -> Manifest:
        """The configuration, checked against the root in the verified certificate.

        At an app's hostname it is the app's own, with the root of its own tree.
        """
        with self._lock:
            manifest = _parsed(Manifest.from_json, self.request("GET", "/.enclave/v1/manifest"))
            leaf = self._vouching()
        if leaf is not None and manifest.root != (leaf.app or leaf).configuration_root:
            raise ProtocolError("the manifest is not the one whose root is in the certificate: it has changed")
        return manifest

    def proof(self, leaf: str) -> Proof:
        """One leaf with its inclusion proof, checked against the root in the verified certificate."""
        path = f"/.enclave/v1/proofs/{percent_encoded(leaf, safe='')}"
        with self._lock:
            proof = _parsed(Proof.from_json, self.request("GET", path))
            certificate = self._vouching()
        if proof.leaf.name != leaf:
            raise ProtocolError(f"the server proved the leaf {proof.leaf.name}, not {leaf}")
        if certificate is not None and not proof.holds(certificate.configuration_root):
            raise ProtocolError("the proof does not lead to the root in the certificate: it has changed")
        return proof

    def _vouching(self) -> LeafCertificate | None:
        """The verified certificate; ``None`` only of an unverified client, whose name says so."""
        leaf = self._verdict.leaf if self._verdict else None
        if leaf is None and not self._unverified:
            raise EnclaveOsError(
                "no certificate was verified that could vouch for the answer: connect with enclave_os.connect, "
                "or, to look at what nobody vouches for, with enclave_os.danger"
            )
        return leaf

    def evidence(self) -> EvidenceDocument:
        """The evidence document, to be kept and judged offline (:func:`enclave_os.judge_evidence`)."""
        return _parsed(EvidenceDocument.from_json, self.request("GET", "/.enclave/v1/evidence"))

    def _open_framed(self) -> Framed:
        self._framed, self._verdict = self._opener.framed()
        return self._framed


class App:
    """One app of an enclave."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def call(self, function: str, *arguments: Any, **named: Any) -> Any:
        """As :meth:`Client.call`."""
        return self._client.call(self.name, function, *arguments, **named)

    def schema(self) -> list[values.Function]:
        """The exports with their types."""
        return self._client.schema(self.name)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """An HTTP request to the app's own routes: ``path`` begins after its route prefix."""
        verdict = self._client.verdict
        claim = verdict.leaf.claim(self.name) if verdict and verdict.leaf else None
        if claim is None:
            raise EnclaveOsError(f"the certificate does not speak of an app {self.name}: connect again after a load")
        return self._client.request(method, claim.route_prefix.rstrip("/") + path, body, headers)


_Document = TypeVar("_Document")


def _parsed(read: Callable[[object], _Document], response: Response) -> _Document:
    value = response.or_refusal().json()
    try:
        return read(value)
    except ValueError as error:
        raise ProtocolError(f"the answer is malformed: {error}") from None


def _find(exports: list[values.Function], function: str) -> values.Function | None:
    """The export that a name, full or short, stands for; ``None`` leaves the refusal to the enclave."""
    exact = [export for export in exports if export.name == function]
    fitting = exact or [export for export in exports if function in _short_forms(export.name)]
    return fitting[0] if len(fitting) == 1 else None


def _short_forms(name: str) -> set[str]:
    """``pkg:name/interface@1.0.0#f`` without its version, without its package, without its interface."""
    interface, hash_, function = name.partition("#")
    if not hash_:
        return set()
    plain = interface.partition("@")[0]
    return {f"{plain}#{function}", f"{plain.rpartition('/')[2]}#{function}", function}


def _arguments(signature: values.Function, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    types = dict(signature.parameters)
    if named:
        spelled = {name if name in types else name.replace("_", "-"): value for name, value in named.items()}
        unknown = spelled.keys() - types.keys()
        if unknown:
            raise TypeError(f"{signature.name} has no parameter {sorted(unknown)[0]!r}; it has {', '.join(types)}")
        return {name: _argument(signature, name, value, types[name]) for name, value in spelled.items()}
    if len(given) != len(types):
        raise TypeError(f"{signature.name} takes {len(types)} arguments ({', '.join(types)}), not {len(given)}")
    pairs = zip(signature.parameters, given, strict=True)
    return [_argument(signature, name, value, wit) for (name, wit), value in pairs]


def _argument(signature: values.Function, name: str, value: Any, wit: values.WitType) -> Any:
    try:
        return values.to_json(value, wit)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{signature.name}, parameter {name}: {error}") from None


def _results(reply: dict[str, Any], signature: values.Function | None) -> list[Any]:
    returns = reply.get("returns")
    if not isinstance(returns, list) or not all(isinstance(x, dict) and "value" in x for x in returns):
        raise ProtocolError("the peer answered a call without results")
    if signature is None:
        return [result["value"] for result in returns]
    if len(returns) != len(signature.results):
        raise ProtocolError(f"the peer answered {signature.name} with {len(returns)} results")
    return [values.from_json(x["value"], wit) for x, wit in zip(returns, signature.results, strict=True)]
