"""``python -m enclave_os``: verify an enclave, a document, or verify and call."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import (
    Client,
    EnclaveOsError,
    RefusedError,
    Tier,
    Verdict,
    VerificationError,
    VerificationPolicy,
    connect,
    judge_evidence,
)
from .encoding import printable

REFUSED = 1
"""Exit status: the policy does not hold, or the enclave refused the request."""
FAILED = 2
"""Exit status: a wrong argument, an unreadable file, no connection."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Gives the exit status: 0 only if the policy holds."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except VerificationError as error:
        _show(error.verdict, options.json)
        return REFUSED
    except EnclaveOsError as error:
        print(printable(str(error)), file=sys.stderr)
        return REFUSED if isinstance(error, RefusedError) else FAILED
    except (OSError, ValueError, TypeError) as error:
        print(printable(str(error)), file=sys.stderr)
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m enclave_os", description=__doc__)
    commands = parser.add_subparsers(required=True)

    verify = commands.add_parser("verify", help="verify the enclave at an address")
    _connection(verify)
    verify.set_defaults(command=_verify)

    evidence = commands.add_parser("evidence", help="verify an evidence document, offline")
    evidence.add_argument("file", type=Path)
    _common(evidence)
    evidence.set_defaults(command=_evidence)

    call = commands.add_parser("call", help="verify the enclave at an address, then call a function of an app")
    _connection(call)
    call.add_argument("app")
    call.add_argument("function")
    call.add_argument("argument", nargs="*", help="JSON, or text that is taken as a string")
    call.set_defaults(command=_call)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, required=True, help="the verification policy (TOML)")
    parser.add_argument("--json", action="store_true", help="print the verdict, or the result, as JSON")


def _connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="host:port")
    _common(parser)
    parser.add_argument("--server-name", help="the name the certificate has to be for, such as an app's hostname")
    parser.add_argument("--tier", choices=[tier.text for tier in Tier], help="the strongest there is by default")


def _connected(options: argparse.Namespace) -> Client:
    tier = Tier[options.tier.upper()] if options.tier else None
    return connect(options.address, options.policy, server_name=options.server_name, tier=tier)


def _verify(options: argparse.Namespace) -> int:
    with _connected(options) as client:
        if client.verdict is not None:
            _show(client.verdict, options.json)
    return 0


def _evidence(options: argparse.Namespace) -> int:
    policy = VerificationPolicy.from_file(options.policy)
    verdict = judge_evidence(policy, options.file.read_bytes(), datetime.now(UTC))
    _show(verdict, options.json)
    return 0 if verdict.accepted else REFUSED


def _call(options: argparse.Namespace) -> int:
    with _connected(options) as client:
        result = client.call(options.app, options.function, *map(_argument, options.argument))
    text = json.dumps(result, default=_plain, ensure_ascii=False) if options.json else str(result)
    print(printable(text, but="\t\n"))
    return 0


def _argument(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: object) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, frozenset):
        return sorted(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value).__name__.lower(): asdict(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _show(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(verdict.to_json(), indent=2))
        return
    for check in verdict.checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.check:<18}  {printable(check.found[:80])}")
        if check.message:
            print(f"      {'':<18}  {printable(check.message)}")
    if verdict.leaf is not None:
        for app in verdict.leaf.apps:
            print(f"      app {printable(app.name)}: code {app.code_hash.hex()}")
    at = f" at the tier {verdict.tier.text}" if verdict.tier is not None else ""
    print(f"{'accepted' if verdict.accepted else 'REFUSED'}{at}")


if __name__ == "__main__":
    sys.exit(main())
