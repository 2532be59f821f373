"""How objects look on a terminal and to programs: colours of states, ages, tables, json, yaml, names. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..api import labels
from ..api.schema import Kind
from ..api.states import StateType
from ..yaml_text import dump

Body = dict[str, Any]

COLOURS = {
    "Completed": "green",
    "Failed": "red",
    "Crashed": "magenta",
    "Cancelled": "yellow",
    "Cancelling": "yellow",
    "Running": "cyan",
    "Pending": "blue",
    "Scheduled": "white",
    "Paused": "yellow",
}


def state_of(run: Body) -> Body:
    """The run's state; empty before it was accepted."""
    found: Body = (run.get("status") or {}).get("state") or {}
    return found


def terminal(run: Body) -> bool:
    """Whether the run has ended."""
    word = state_of(run).get("type")
    return word is not None and StateType(word).terminal


def age(time: str | None, now: datetime) -> str:
    """How long ago, as kubectl writes it."""
    if not time:
        return ""
    seconds = max(0, int((now - instant(time)).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172_800:
        return f"{seconds // 3600}h"
    return f"{seconds // 86_400}d"


def instant(time: str) -> datetime:
    """A time as it stands in an object."""
    return datetime.fromisoformat(time.replace("Z", "+00:00"))


def unmet(run: Body) -> list[Body]:
    """Conditions that say why a run does not go on; none of one that has ended."""
    if terminal(run):
        return []
    return [c for c in (run.get("status") or {}).get("conditions") or [] if c["status"] == "False"]


def untold(run: Body) -> list[Body]:
    """Those of them whose message the state's own does not say."""
    return [condition for condition in unmet(run) if condition["message"] not in (state_of(run).get("message") or "")]


def waits_for(run: Body) -> list[str]:
    """What a paused run waits for, and how to give it that."""
    status, state, name = run.get("status") or {}, state_of(run), run["metadata"]["name"]
    if state.get("type") != "Paused":
        return []
    pause = status.get("pause") or {}
    required = (pause.get("schema") or {}).get("required") or []
    fields = list((pause.get("schema") or {}).get("properties") or {})
    given = "".join(f" --input {field}=VALUE" for field in required)
    until = f" until {pause['deadline'][:19]}Z" if pause.get("deadline") else ""
    asked = f"{', '.join(fields)}{until}" if fields else f"somebody to resume it{until}"
    return [f"{asked}: penstock resume {name}{given}"]


_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[\?\(@\.(\w+)=='([^']*)'\)\]")


def at(body: Any, path: str) -> Any:
    """What stands at the JSONPath of a printer column; None for nothing. Fields, positions and `[?(@.k=='v')]`."""
    for field, position, key, value in _STEP.findall(path):
        if field:
            body = body.get(field) if isinstance(body, dict) else None
        else:
            items = body if isinstance(body, list) else []
            if key:
                items = [item for item in items if item.get(key) == value]
            body = items[int(position or 0)] if len(items) > int(position or 0) else None
    return body


def cells(kind: Kind, body: Body, now: datetime, *, wide: bool = False) -> dict[str, str]:
    """The columns of an object, those of `kubectl get`, each on one line."""
    row = {"NAME": body["metadata"]["name"]}
    for column in kind.columns:
        if wide or not column.priority:
            value = at(body, column.json_path)
            row[column.name.upper()] = _cell(column.type, value, now)
    return row


def _cell(type_: str, value: Any, now: datetime) -> str:
    if value is None:
        return ""
    if type_ == "date":
        return age(value, now)
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())


def table(rows: Sequence[dict[str, str]], colours: Sequence[Mapping[str, str]] = ()) -> str:
    """Rows as kubectl aligns them; `colours` are those of some of the cells, row by row."""
    if not rows:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = ["   ".join(name.ljust(width) for name, width in widths.items()).rstrip()]
    for number, row in enumerate(rows):
        painted = colours[number] if colours else {}
        parts = []
        for name, width in widths.items():
            text, blank = row[name], " " * (width - len(row[name]))
            parts.append((click.style(text, fg=painted[name]) if text and name in painted else text) + blank)
        lines.append("   ".join(parts).rstrip())
    return "\n".join(lines)


def table_of(kind: Kind, bodies: Sequence[Body], now: datetime, *, wide: bool = False) -> str:
    """Objects as a table: states in the colour of their type, what is not ready in yellow."""
    rows = [cells(kind, body, now, wide=wide) for body in bodies]
    return table(rows, [_colours(row, body) for row, body in zip(rows, bodies, strict=True)])


def _colours(row: dict[str, str], body: Body) -> dict[str, str]:
    if "STATE" in row:
        return {"STATE": COLOURS.get(state_of(body).get("type", ""), "white")}
    return {"READY": "green" if row["READY"] == "True" else "yellow"} if "READY" in row else {}


def show(body: Body, output: str) -> str:
    """One object for programs: json, yaml or name."""
    _trim(body)
    if output == "name":
        return _name(body)
    return dump([body]).rstrip() if output == "yaml" else json.dumps(body, indent=2)


def show_all(bodies: Iterable[Body], output: str) -> str:
    """Objects for programs: json (always a List, as kubectl's), yaml documents, or names."""
    items = list(bodies)
    for body in items:
        _trim(body)
    if output == "name":
        return "\n".join(map(_name, items))
    if output == "yaml":
        return dump(items).rstrip()
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def _trim(body: Body) -> None:
    body.get("metadata", {}).pop("managedFields", None)


def _name(body: Body) -> str:
    return f"{body['kind'].lower()}.{labels.GROUP}/{body['metadata']['name']}"


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
