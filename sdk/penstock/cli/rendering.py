"""How runs look on a terminal: colours of states, ages, durations, tables. Pure but for the console itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

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
    seconds = max(0, int((now - datetime.fromisoformat(time.replace("Z", "+00:00"))).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172_800:
        return f"{seconds // 3600}h"
    return f"{seconds // 86_400}d"


def unmet(run: Body) -> list[Body]:
    """Conditions that say why a run does not go on."""
    return [c for c in (run.get("status") or {}).get("conditions") or [] if c["status"] == "False"]


def cells(run: Body, now: datetime) -> dict[str, str]:
    """The columns of a run."""
    status, state = run.get("status") or {}, state_of(run)
    return {
        "NAME": run["metadata"]["name"],
        "DEPLOYMENT": (run["spec"].get("deploymentRef") or {}).get("name", ""),
        "STATE": state.get("name", ""),
        "REASON": state.get("reason", ""),
        "TASKS": (status.get("tasks") or {}).get("summary", ""),
        "POOL": ((status.get("resolved") or {}).get("pool") or {}).get("name", ""),
        "STARTED": age(status.get("startTime"), now),
        "DURATION": status.get("duration", ""),
        "AGE": age(run["metadata"].get("creationTimestamp"), now),
    }


def table(rows: Sequence[dict[str, str]], colour: str | None = "STATE") -> str:
    """Rows as kubectl aligns them; the column `colour` in the colour of its state."""
    if not rows:
        return ""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = ["   ".join(name.ljust(width) for name, width in widths.items()).rstrip()]
    for row in rows:
        parts = []
        for name, width in widths.items():
            text = row[name].ljust(width)
            parts.append(click.style(text, fg=COLOURS.get(row[name])) if name == colour else text)
        lines.append("   ".join(parts).rstrip())
    return "\n".join(lines)


def show(bodies: Iterable[Body], output: str) -> str:
    """Objects for programs: json (a List), yaml documents, or name."""
    items = list(bodies)
    for body in items:
        body.get("metadata", {}).pop("managedFields", None)
    if output == "name":
        return "\n".join(f"{body['kind'].lower()}.penstock.dev/{body['metadata']['name']}" for body in items)
    if output == "yaml":
        return dump(items).rstrip()
    return json.dumps(items[0] if len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
