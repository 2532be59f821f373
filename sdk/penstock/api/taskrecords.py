"""The format of task records in a TaskRunPage: columns of JSON, compressed; standard library only.

The runner encodes, the command line and the archive decode. Names and states are numbered by a table of the page, so
that a record costs little more than its id and its times.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

ENCODING = "columns+json+zlib+base64/1"
MAX_DECODED = 4 * 2**20  # bytes of JSON; a page that is sealed in time unpacks to a tenth of it
FIELDS = ("id", "task", "key", "name", "state", "state_name", "attempts", "created", "started", "ended", "upstream")
_TABLED = frozenset(("task", "key", "state", "state_name"))
_TIMES = ("created", "started", "ended")


def encode(records: Iterable[Any]) -> str:
    """Records (objects with the attributes of `engine.records.TaskRecord`) as the `data` of a page.

    Times are kept to the millisecond.
    """
    rows = list(records)
    table: dict[str, int] = {}

    def number(text: str) -> int:
        return table.setdefault(text, len(table))

    numbers = {row.id: index for index, row in enumerate(rows)}
    origin = round(min((row.created for row in rows), default=0.0) * 1000)

    def milliseconds(time: float | None) -> int | None:
        return None if time is None else round(time * 1000) - origin

    columns: dict[str, list[Any]] = {
        "id": _shared([row.id for row in rows]),
        **{name: [number(getattr(row, name)) for row in rows] for name in sorted(_TABLED)},
        "name": [_short(row.name, row.task) for row in rows],
        "attempts": [row.attempts for row in rows],
        **{name: [milliseconds(getattr(row, name)) for row in rows] for name in _TIMES},
        "upstream": [[numbers.get(up, up) for up in row.upstream] for row in rows],
    }
    sparse = {
        name: {str(index): value for index, row in enumerate(rows) if (value := getattr(row, name)) is not None}
        for name in ("cache_key", "message")
    }
    body = {"table": list(table), "origin": origin, "columns": columns, **sparse}
    packed = zlib.compress(json.dumps(body, separators=(",", ":")).encode(), 6)
    return base64.b64encode(packed).decode()


def decode(data: str) -> list[dict[str, Any]]:
    """The records of a page, as dictionaries with the fields of a task record. Raises ValueError on damaged data."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(data, validate=True), MAX_DECODED)
        if not unpacker.eof:
            raise ValueError(f"incomplete, or larger than {MAX_DECODED} bytes")
        body = json.loads(text)
        table, columns, origin = body["table"], body["columns"], body["origin"]
        ids = [columns["id"][0] + rest for rest in columns["id"][1:]]
        rows: list[dict[str, Any]] = []
        for index, identity in enumerate(ids):
            row = {name: columns[name][index] for name in FIELDS if name != "id"}
            row |= {name: table[row[name]] for name in _TABLED}
            row["name"] = _whole(row["name"], row["task"])
            row |= {name: None if row[name] is None else (row[name] + origin) / 1000 for name in _TIMES}
            row["upstream"] = [ids[up] if isinstance(up, int) else up for up in row["upstream"]]
            row["cache_key"] = body["cache_key"].get(str(index))
            row["message"] = body["message"].get(str(index))
            rows.append({"id": identity, **row})
        return rows
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"damaged page of task records: {error}") from error


def _short(name: str, task: str) -> str:
    """Most task runs are called `<task>-<n>`, of which `-<n>` is kept; any other name is kept whole, behind a `=`."""
    return name[len(task) :] if name.startswith(f"{task}-") else f"={name}"


def _whole(short: str, task: str) -> str:
    return short[1:] if short[0] == "=" else task + short


def _shared(ids: list[str]) -> list[str]:
    """The prefix all ids share, then the rest of each."""
    if not ids:
        return [""]
    first, last = min(ids), max(ids)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return [first[:length], *(identity[length:] for identity in ids)]
