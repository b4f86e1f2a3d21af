"""Judges the certificate of its input again and again, and prints the median in milliseconds."""

import base64
import json
import statistics
import sys
import time
from datetime import datetime, timezone

from enclave_os import Collateral, Presented, judge

given = json.load(sys.stdin)
chain = [base64.b64decode(der) for der in given["chain"]]
collateral = Collateral.from_json(given["collateral"])
times = []
for _ in range(given["rounds"]):
    begun = time.perf_counter()
    verdict = judge(given["policy"], Presented(chain, None), collateral, datetime.now(timezone.utc), None)
    times.append((time.perf_counter() - begun) * 1000)
    if not verdict.accepted:
        sys.exit("; ".join(f"{check.check}: {check.message}" for check in verdict.failed))
print(statistics.median(times))
