"""The logs of runs in warm workers: lines of a worker's log that say they are the run's. Used by `penstock logs`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..api import labels
from ..client import Client
from ..worker.output import END
from .rendering import Body


def worker_uid(run: Body, attempt: int | None) -> str | None:
    """The uid of the worker that has, or had, the attempt; the last one when it is None."""
    status = run.get("status") or {}
    worker = status.get("worker")
    if worker is None:
        return None
    if attempt is None or attempt == worker["attempt"]:
        return str(worker["uid"])
    writers = (e["writer"] for e in status.get("history") or [] if e.get("attempt") == attempt)
    return next((writer for writer in writers if writer != "operator"), None)


def pod_of_worker(client: Client, uid: str) -> Body | None:
    """The pod that is the worker; None where it is gone, or is no pod."""
    pods = client.list("pods", label_selector=f"{labels.COMPONENT}={labels.WORKER}")
    return next((pod for pod in pods if pod["metadata"]["uid"] == uid), None)


def of_run(lines: Iterable[str], run: Body, attempt: int | None) -> Iterator[str]:
    """The lines of one attempt of the run, the last one when it is None, until its process has ended."""
    wanted = attempt or run["status"]["worker"]["attempt"]
    uid = run["metadata"]["uid"]
    for line in lines:
        record = _record(line)
        if record.get("runUid") != uid or record.get("attempt") != wanted:
            continue
        if END in record:
            return
        yield line


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:  # of the executor itself
        return {}
    return record if isinstance(record, dict) else {}
