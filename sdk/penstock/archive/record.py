"""The archive's record of one run: JSON lines, compressed with gzip, under a name that only this run has. Pure.

Written twice it is the same object, byte for byte. Each line says of which run it is, so that lines of many runs can be
read as one table.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..api import taskrecords

Body = dict[str, Any]

SCHEMA = 1
ROOT = "runs"
SUFFIX = ".jsonl.gz"
MAX_HEAD = 8 * 2**20  # bytes of the first line, which holds an object of the API: etcd takes far smaller ones
_FILE = re.compile(r"(?P<run>[a-z0-9]([-a-z0-9]*[a-z0-9])?)-(?P<uid>[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})")


class Address(NamedTuple):
    """Where the record of a run stands."""

    date: str
    """UTC day of its end, YYYY-MM-DD."""
    namespace: str
    run: str
    uid: str

    @property
    def path(self) -> str:
        """The path below the archive's URL."""
        return f"{ROOT}/date={self.date}/{self.namespace}/{self.run}-{self.uid}{SUFFIX}"


def address(run: Body) -> Address:
    """Where a run is written; its end decides, so that no later look at it makes another place."""
    meta, status = run["metadata"], run.get("status") or {}
    ended = status.get("endTime") or (status.get("state") or {}).get("time") or meta["creationTimestamp"]
    day = datetime.fromisoformat(ended.upper()).astimezone(UTC).date().isoformat()
    return Address(day, meta["namespace"], meta["name"], meta["uid"])


def parse_file(date: str, namespace: str, file: str) -> Address | None:
    """The address of a file found in an archive; None when it is no record."""
    found = _FILE.fullmatch(file.removesuffix(SUFFIX)) if file.endswith(SUFFIX) else None
    return Address(date, namespace, found["run"], found["uid"]) if found else None


def lines(run: Body, pages: Iterable[Body], events: Iterable[Body]) -> Iterator[Body]:
    """The run, then its pages of task records, each followed by its rows, then its Events."""
    meta = run["metadata"]
    of = {"schema": SCHEMA, "namespace": meta["namespace"], "run": meta["name"], "run_uid": meta["uid"]}
    yield {"kind": "FlowRun", **of, **_summary(run), "object": _slim(run)}
    for page in pages:
        yield from _page(page, of)
    for event in events:
        yield {"kind": "Event", **of, "object": _slim(event)}


def _page(page: Body, of: Body) -> Iterator[Body]:
    try:
        rows = [_row(row, page) for row in taskrecords.decode(page["data"])] if page.get("data") else []
    except (ArithmeticError, OSError, TypeError, ValueError):  # nothing is lost: the page goes with its data as it is
        yield {"kind": "TaskRunPage", **of, "object": _slim(page)}
        return
    yield {"kind": "TaskRunPage", **of, "object": {k: v for k, v in _slim(page).items() if k != "data"}}
    for row in rows:
        yield {"kind": "TaskRun", **of, "object": row}


def _row(row: Body, page: Body) -> Body:
    times = {name: _time(row[name]) for name in ("created", "started", "ended")}
    return {**row, **times, "attempt": page["attempt"]}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _summary(run: Body) -> Body:
    """What is asked for most, as columns."""
    spec, status = run.get("spec") or {}, run.get("status") or {}
    state, resolved = status.get("state") or {}, status.get("resolved") or {}
    flow = resolved.get("flow") or spec.get("flowRef") or {}
    return {
        "deployment": (spec.get("deploymentRef") or {}).get("name"),
        "flow": flow.get("name"),
        "pool": (resolved.get("pool") or {}).get("name"),
        "state": state.get("type"),
        "state_name": state.get("name"),
        "reason": state.get("reason"),
        "attempts": status.get("attempt"),
        "created": run["metadata"].get("creationTimestamp"),
        "started": status.get("startTime"),
        "ended": status.get("endTime"),
    }


def _slim(body: Body) -> Body:
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": meta}


def pack(records: Iterable[Body]) -> bytes:
    """Lines as they stand in the archive, the same bytes for the same lines."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        for record in records:
            file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
    return packed.getvalue()


def unpack(data: bytes) -> Iterator[Body]:
    """The lines of a record. Raises ValueError on damaged data."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            for line in file:
                yield json.loads(line)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"a damaged record: {error}") from error


def head(data: bytes) -> Body | None:
    """The first line, which is of the run, from the record's first bytes; None when they are too few.

    Raises ValueError on damaged data.
    """
    try:
        text = zlib.decompressobj(wbits=31).decompress(data, MAX_HEAD)
    except zlib.error as error:
        raise ValueError(f"a damaged record: {error}") from error
    line, end, _ = text.partition(b"\n")
    found: Body | None = json.loads(line) if end else None
    return found
