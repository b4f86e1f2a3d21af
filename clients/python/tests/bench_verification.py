"""What one verification costs: ``PYTHONPATH=src python -m tests.bench_verification``.

A whole verdict on a genuine quote of Intel's with its collateral, policy read once; no network, one thread.
"""

from __future__ import annotations

from time import perf_counter

from enclave_os import VerificationPolicy, judge_quote

from .test_quotes import COLLATERAL, NOW, QUOTE, policy

ROUNDS = 200


def main() -> None:
    """Prints the mean."""
    accepted = VerificationPolicy.from_toml(policy())
    assert judge_quote(accepted, QUOTE, COLLATERAL, NOW).accepted
    start = perf_counter()
    for _ in range(ROUNDS):
        judge_quote(accepted, QUOTE, COLLATERAL, NOW)
    print(f"{(perf_counter() - start) / ROUNDS * 1e6:.0f} µs per verification, {ROUNDS} rounds")


if __name__ == "__main__":
    main()
