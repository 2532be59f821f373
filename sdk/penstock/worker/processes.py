"""What a worker has of each attempt: its folder, its code and environment, and its socket. Called by the agent.

A folder is made before the process starts, and is gone when it has ended; it is what `/tmp` is in a pod.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api import labels, launches, names
from ..api.delivery import GivenFile
from .assignments import Identity
from .messages import process_id
from .permits import Holder
from .proxy import Proxy

Body = dict[str, Any]


@dataclass(slots=True)
class Process:
    """An attempt that has a process here, or is about to."""

    run: str
    uid: str
    attempt: int
    folder: Path
    proxy: Proxy | None = None
    ending: bool = False
    stopped: bool = False
    """Ended because the worker stops, and for no fault of the run."""

    @property
    def id(self) -> str:
        """What executor and agent call it."""
        return process_id(self.uid, self.attempt)

    def remove(self) -> None:
        """Leave nothing of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def folder_of(runs: Path, run_uid: str, attempt: int) -> Path:
    """The folder of an attempt; short, for the path of a socket has 107 bytes at most."""
    return runs / names.digest(run_uid, str(attempt))


def holder(run: Body, attempt: int, namespace: str, me: Identity) -> Holder:
    """Whom the socket of the attempt is for."""
    meta = run["metadata"]
    return Holder(namespace, meta["name"], meta["uid"], attempt, me.uid, me.pod)


Files = Mapping[GivenFile, bytes]


def prepare(process: Process, files: Files) -> None:
    """Make its folder, with the files that its run is given."""
    process.remove()  # of an agent before this one
    process.folder.mkdir(mode=0o700, parents=True)
    for file, content in files.items():
        (process.folder / file.key).write_bytes(content)


def environment(run: Body, process: Process, me: Identity, files: Files) -> Mapping[str, str]:
    """What the process is told; what flow, pool and deployment say of it goes first."""
    worker = run["status"]["worker"]
    told = {item["name"]: item.get("value", "") for item in worker.get("env") or ()}
    told |= launches.environment(run)
    told |= {
        labels.ENV_POD_NAME: me.pod,
        labels.ENV_POD_UID: me.uid,
        labels.ENV_API_SOCKET: str(process.folder / "api"),
        labels.ENV_RESULTS_FALLBACK: str(process.folder / "results"),
    }
    return told | {file.variable: str(process.folder / file.key) for file in files}
