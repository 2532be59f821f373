"""Time to import the SDK, and what it brings along."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

HEAVY = ("kopf", "kubernetes", "aiohttp", "httpx", "pydantic", "asyncio", "rich", "click")


def bench_import() -> None:
    """Median of ten cold interpreters, with and without the import."""

    def seconds(code: str) -> float:
        times = []
        for _ in range(10):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    bare, ours = seconds("pass"), seconds("from penstock import flow, task")
    code = f"import penstock, sys; from penstock import flow, task; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(f"\npython -c pass: {bare * 1000:.0f} ms; from penstock import flow, task: {ours * 1000:.0f} ms", end="; ")
    print(f"difference {(ours - bare) * 1000:.0f} ms (target: import under 150 ms); heavy modules loaded: {loaded}")
