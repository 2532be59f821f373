"""How objects look on a terminal and to programs: colours of states, ages, tables, json, yaml, names. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ..api import labels
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
    """Those of them whose message is not the state's own."""
    return [condition for condition in unmet(run) if condition["message"] != state_of(run).get("message")]


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


def cells(run: Body, now: datetime, *, wide: bool = False) -> dict[str, str]:
    """The columns of a run, those of `kubectl get flowruns`."""
    status, state = run.get("status") or {}, state_of(run)
    row = {
        "NAME": run["metadata"]["name"],
        "DEPLOYMENT": (run["spec"].get("deploymentRef") or {}).get("name", ""),
        "STATE": state.get("name", ""),
        "REASON": state.get("reason", ""),
        "TASKS": (status.get("tasks") or {}).get("summary", ""),
        "POOL": ((status.get("resolved") or {}).get("pool") or {}).get("name", ""),
        "ATTEMPT": str(status.get("attempt", "")),
        "STARTED": age(status.get("startTime"), now),
        "DURATION": status.get("duration", ""),
        "AGE": age(run["metadata"].get("creationTimestamp"), now),
    }
    if wide:
        row["POD"] = (status.get("pod") or {}).get("name", "")
        row["MESSAGE"] = " ".join(state.get("message", "").split())
    return row


def table(rows: Sequence[dict[str, str]], colours: Sequence[str] = ()) -> str:
    """Rows as kubectl aligns them; `colours` are those of the cells under STATE, row by row."""
    if not rows:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = ["   ".join(name.ljust(width) for name, width in widths.items()).rstrip()]
    for number, row in enumerate(rows):
        colour = colours[number] if colours else None
        parts = []
        for name, width in widths.items():
            text, blank = row[name], " " * (width - len(row[name]))
            parts.append((click.style(text, fg=colour) if name == "STATE" and text and colour else text) + blank)
        lines.append("   ".join(parts).rstrip())
    return "\n".join(lines)


def run_table(runs: Sequence[Body], now: datetime, *, wide: bool = False) -> str:
    """Runs as a table, each state in the colour of its type."""
    colours = [COLOURS.get(state_of(run).get("type", ""), "white") for run in runs]
    return table([cells(run, now, wide=wide) for run in runs], colours)


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
