"""Writes of the API server per run, as its own audit log counts them: operator at most 4, runner at most 3."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from installation import ROOT, Penstock

API = "penstock.dev/v1alpha1"
COUNT = 20
AUDIT = ROOT / ".cluster" / "audit.log"
CODE = """
from penstock import flow, task


@task
def square(n):
    return n * n


@flow
def squares():
    return sum(f.result() for f in square.map(range(5)))
"""
WRITERS = {"operator": "system:serviceaccount:penstock-system:", "runner": "system:serviceaccount:"}


def writes_since(offset: int, namespace: str) -> dict[str, Counter[str]]:
    """Accepted writes in a namespace by writer, each counted as `verb resource/subresource`; Events are left out."""
    found: dict[str, Counter[str]] = {writer: Counter() for writer in WRITERS}
    with AUDIT.open() as log:
        log.seek(offset)
        for line in log:
            entry = json.loads(line)
            what = entry.get("objectRef") or {}
            if what.get("namespace") != namespace or what.get("resource") == "events":
                continue
            if (entry.get("responseStatus") or {}).get("code", 0) >= 300:
                continue
            user = entry["user"]["username"]
            writer = next((name for name, prefix in WRITERS.items() if user.startswith(prefix)), None)
            if user.startswith("system:serviceaccount:kube-system:") or writer is None:
                continue
            path = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
            found[writer][f"{entry['verb']} {path}"] += 1
    return found


@pytest.mark.parametrize("pool", ["default", "jobs"])
def bench_api_writes(penstock: Penstock, pool: str) -> None:
    """Mean of 20 runs with five tasks, by writer and kind of write."""
    meta = {"name": "squares"}
    penstock.apply(
        {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "jobs"}, "spec": {"type": "Job"}},
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": meta,
            "spec": {"code": {"source": {"text": CODE}}, "entrypoint": "f:squares"},
        },
    )
    # The first run keeps the pool's revision and the code, which later ones share.
    names = [f"writes-{pool}-{n}" for n in range(COUNT + 1)]
    runs = [
        {"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": {"flowRef": meta, "workPool": pool}}
        for name in names
    ]
    penstock.apply(runs[0])
    penstock.settled(names[0])
    offset = Path(AUDIT).stat().st_size
    penstock.apply(*runs[1:])
    for name in names[1:]:
        penstock.settled(name)
    for writer, counted in writes_since(offset, penstock.namespace).items():
        each = ", ".join(f"{count / COUNT:.2f} {what}" for what, count in counted.most_common())
        target = {"operator": 4, "runner": 3}[writer]
        print(f"\n{pool}: {writer} {counted.total() / COUNT:.2f} writes a run (target {target}): {each}", end="")
    print()
