"""Processes in the containers of the cluster of this checkout, as its node sees them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from penstock_cluster import processes, traces
from penstock_cluster.layout import Layout


def running(layout: Layout, module: str) -> list[int]:
    """Those that run a Python module, by pid."""
    contained: set[int] = set()
    for root in traces.hierarchies():
        for folder, _, _ in os.walk(root / layout.cgroup):  # which passes over groups that vanish meanwhile
            with contextlib.suppress(OSError):
                contained |= {int(word) for word in (Path(folder) / "cgroup.procs").read_text().split()}
    return sorted(pid for pid in contained if module in processes.command(pid))


def executors(layout: Layout, *, forked: bool) -> list[int]:
    """The executors of workers, or what they have forked for runs, which has the same command."""
    found = running(layout, "penstock.worker.executor")
    return [pid for pid in found if (parent(pid) in found) is forked]


def in_pod(pid: int, uid: str) -> bool:
    """Whether it is one of the pod with that uid."""
    try:
        group = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
    return uid.replace("-", "_") in group.replace("-", "_")


def parent(pid: int) -> int | None:
    """Its parent; None where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")), None)


def environment(pid: int) -> dict[str, str]:
    """What it was started with; nothing where it is gone."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)
