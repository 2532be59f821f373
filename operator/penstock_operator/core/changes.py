"""A change of a run's status, and the one JSON patch that writes it (ARCHITECTURE section 4.1).

The patch tests attempt and seq, so that whoever wrote in between wins, and replaces the bounded history whole. It does
not test resourceVersion, which every report of progress would change; only the first write does, for there is nothing
else to test yet. Conditions are written each in its own place, for runners write some, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.api import conditions, states
from penstock.api.bounds import HISTORY_AT_LAUNCH, MAX_HISTORY, MAX_HISTORY_MESSAGE, cut
from penstock.api.durations import shown
from penstock.api.states import StateType

from .views import Body, RunView, format_time, parse_time

WRITER = "operator"


@dataclass(frozen=True, slots=True)
class Entry:
    """A state that is entered."""

    type: StateType
    reason: str
    message: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as it should be."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """States to enter in order, fields of status to set, such as `worker/end`, fields to remove, conditions to set."""

    entries: tuple[Entry, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries or self.fields or self.remove or self.conditions)


def conditions_changed(run: RunView, wanted: Sequence[Condition], now: datetime) -> list[Body]:
    """Those of `wanted` that say something else than the run's conditions do, as they are to be written."""
    changed: dict[str, Body] = {}
    for condition in wanted:
        status = "True" if condition.status else "False"
        old = changed.get(condition.type) or run.condition(condition.type)
        new: Body = {
            "type": condition.type,
            "status": status,
            "reason": condition.reason,
            "message": cut(condition.message),
            "observedGeneration": run.generation,
            "lastTransitionTime": format_time(now),
        }
        if old and (old["status"], old["reason"], old.get("message", "")) == (status, new["reason"], new["message"]):
            continue
        if old and (old["status"], old["reason"]) == (status, new["reason"]):
            new["lastTransitionTime"] = old["lastTransitionTime"]
        changed[condition.type] = new
    return list(changed.values())


def history_after(run: RunView, added: Sequence[Body], *, launching: bool = False) -> list[Body]:
    """History with `added`, within its bound; the oldest entries go first.

    A launch makes room for the runner: entries that were reported as Events go beyond `HISTORY_AT_LAUNCH`, and one
    place is always left, for a claim is appended without reading the list.
    """
    history = [*run.history, *added]
    if not launching:
        return history[-MAX_HISTORY:]
    excess = len(history) - HISTORY_AT_LAUNCH
    kept = [e for i, e in enumerate(history) if i >= excess or e["seq"] > run.observed_seq]
    return kept[-(MAX_HISTORY - 1) :]


def patch(run: RunView, change: Change, now: datetime) -> list[Body]:
    """The JSON patch that makes `change`; empty when it changes nothing. Raises `IllegalTransition`."""
    fields: dict[str, Any] = dict(change.fields)
    current, seq, attempt = run.type, run.seq, int(fields.get("attempt", run.attempt))
    added: list[Body] = []
    for entry in change.entries:
        states.check(current, entry.type)
        seq, current = seq + 1, entry.type
        state: Body = {
            "type": str(entry.type),
            "name": entry.name or str(entry.type),
            "reason": entry.reason,
            "message": cut(entry.message),
            "time": format_time(now),
            "seq": seq,
        }
        fields["state"] = state
        message = cut(entry.message, MAX_HISTORY_MESSAGE)
        added.append({**state, "message": message, "attempt": attempt, "writer": WRITER})
    if added:
        launching = change.entries[-1].type is StateType.PENDING
        fields["history"] = history_after(run, added, launching=launching)
    told = conditions_changed(run, change.conditions, now)
    removed = [name for name in change.remove if name in run.status]
    if not fields and not removed and not told:
        return []
    fields["observedGeneration"] = run.generation
    if "state" not in run.status:  # it may have a condition, of how it could not be reconciled
        kept = {name: value for name, value in run.status.items() if name not in removed}
        if told:
            types = {condition["type"] for condition in told}
            kept["conditions"] = [c for c in run.status.get("conditions") or () if c["type"] not in types] + told
        return [
            {"op": "test", "path": "/metadata/resourceVersion", "value": run.metadata["resourceVersion"]},
            {"op": "add", "path": "/status", "value": {"attempt": 0, **kept, **fields}},
        ]
    return [
        {"op": "test", "path": "/metadata/uid", "value": run.uid},
        {"op": "test", "path": "/status/attempt", "value": run.attempt},
        {"op": "test", "path": "/status/state/seq", "value": run.seq},
        *({"op": "remove", "path": f"/status/{name}"} for name in removed),
        *({"op": "add", "path": f"/status/{name}", "value": value} for name, value in fields.items()),
        *conditions.patch(run.status.get("conditions"), told),
    ]


def duration(run: RunView, end: datetime) -> str | None:
    """From the start of user code to `end`, such as 4s, 3m20s or 2h05m; None when it never started."""
    start = parse_time(run.status.get("startTime"))
    if start is None:
        return None
    return shown((end - start).total_seconds())
