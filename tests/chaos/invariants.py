"""What must hold when everything has calmed down: checked from the objects and from what user code wrote outside.

Pure: `test_invariants` shows of each violation that it is found.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock.api import labels
from penstock.api.states import TERMINAL, StateType, is_legal

Json = dict[str, Any]

GONE = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Mark:
    """A line that user code wrote: of which run and attempt, in which pod, when by the clocks of the node."""

    run: str
    attempt: int
    pod: str
    what: str  # start, beat or end
    boot: float
    wall: float

    @staticmethod
    def read(text: str) -> list[Mark]:
        """All marks of a file; a last line that a kill has cut is none."""
        found = []
        for line in text.splitlines():
            words = line.split()
            if len(words) == 6:
                run, attempt, pod, what, boot, wall = words
                found.append(Mark(run, int(attempt), pod, what, float(boot), float(wall)))
        return found


@dataclass(frozen=True)
class Wanted:
    """A run that was submitted: which ends are right for it, and how many attempts may follow the first.

    `stops`: how often it is suspended, each of which costs an attempt and no retry.
    """

    ends: frozenset[StateType]
    retries: int
    stops: int = 0


def violations(
    wanted: Mapping[str, Wanted], runs: Sequence[Json], pods: Sequence[Json], marks: Sequence[Mark]
) -> list[str]:
    """Every way in which they do not hold, in words; empty where all is well."""
    bodies = {body["metadata"]["name"]: body for body in runs}
    found = [f"{name}: lost, there is no such run" for name in wanted if name not in bodies]
    by_run: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_run[mark.run].append(mark)
    found += [f"{name}: executed, and nobody submitted it" for name in by_run if name not in bodies]
    for name, body in bodies.items():
        mine = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(labels.RUN) == name]
        checks = (_ended(body), _history(body), _live(body, mine), _marks(body, by_run[name]))
        found += [f"{name}: {what}" for check in checks for what in check]
        if name in wanted:
            found += [f"{name}: {what}" for what in _as_wanted(body, wanted[name], by_run[name])]
    return found


def _state(body: Json) -> StateType | None:
    state = (body.get("status") or {}).get("state")
    return StateType(state["type"]) if state else None


def _ended(body: Json) -> Iterator[str]:
    if _state(body) not in TERMINAL:
        yield f"stuck, it is {_state(body)}"
    elif not body["status"].get("settled"):
        yield "stuck, it is not settled"


def _history(body: Json) -> Iterator[str]:
    status = body.get("status") or {}
    history = status.get("history") or []
    if not history:
        yield "there is no history"
        return
    seqs = [entry["seq"] for entry in history]
    if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        yield f"history has gaps: {seqs}"
    if seqs[-1] != status["state"]["seq"] or history[-1]["type"] != status["state"]["type"]:
        yield "history does not end with the state"
    if seqs[0] == 1 and not is_legal(None, StateType(history[0]["type"])):
        yield f"a run cannot begin as {history[0]['type']}"
    for before, after in itertools.pairwise(history):
        if not is_legal(StateType(before["type"]), StateType(after["type"])):
            yield f"{before['type']} cannot become {after['type']}"
        if after["attempt"] < before["attempt"]:
            yield f"attempt {after['attempt']} follows {before['attempt']}"
    launched = [entry["attempt"] for entry in history if entry["type"] == "Pending"]
    if launched != sorted(set(launched)):
        yield f"attempts were launched more than once: {launched}"
    if launched and launched[-1] != status.get("attempt"):
        yield f"attempt {launched[-1]} was launched last, and it says {status.get('attempt')}"


def _live(body: Json, pods: Iterable[Json]) -> Iterator[str]:
    if _state(body) in TERMINAL:
        for pod in pods:
            if (pod.get("status") or {}).get("phase") not in GONE:
                yield f"{_state(body)}, and pod {pod['metadata']['name']} is {pod['status'].get('phase')}"


def _marks(body: Json, marks: Sequence[Mark]) -> Iterator[str]:
    """What user code did: never in two processes at once, only in those that claimed the run, and not after its end.

    A process is an attempt in a pod: a warm worker's may have several attempts of one run, one after the other.
    """
    status = body.get("status") or {}
    lives: dict[tuple[str, int], list[Mark]] = defaultdict(list)
    for mark in marks:
        lives[mark.pod, mark.attempt].append(mark)
    spans = sorted((min(m.boot for m in own), max(m.boot for m in own), *who) for who, own in lives.items())
    for (_, end, *first), (start, _, *second) in itertools.pairwise(spans):
        if start <= end:
            yield f"executed twice at the same time, by {_who(*first)} and {_who(*second)} for {end - start:.3f} s"
    claimed = {(e["writer"], e["attempt"]) for e in status.get("history") or [] if e["type"] == "Running"}
    for who in lives.keys() - claimed:
        yield f"executed by {_who(*who)}, which never claimed it"
    if _state(body) in TERMINAL and status.get("endTime") and marks:
        late = max(mark.wall for mark in marks) - datetime.fromisoformat(status["endTime"]).timestamp()
        if late > 0:
            yield f"executed for {late:.3f} s after its end"


def _who(pod: str, attempt: int) -> str:
    return f"attempt {attempt} in {pod}"


def _as_wanted(body: Json, wanted: Wanted, marks: Sequence[Mark]) -> Iterator[str]:
    status, state = body.get("status") or {}, _state(body)
    if state in TERMINAL and state not in wanted.ends:
        reason = status["state"].get("reason")
        yield f"ended {state} ({reason}), which should have been {' or '.join(sorted(wanted.ends))}"
    if status.get("attempt", 0) > 1 + wanted.retries + wanted.stops:
        yield f"{status['attempt']} attempts, with {wanted.retries} retries and {wanted.stops} stops allowed"
    if status.get("infraRetries", 0) > wanted.retries:
        yield f"{status['infraRetries']} retries were spent of {wanted.retries}"
    if state is StateType.COMPLETED:
        last = [(e["writer"], e["attempt"]) for e in status.get("history") or [] if e["type"] == "Running"][-1:]
        if not any(mark.what == "end" and (mark.pod, mark.attempt) in last for mark in marks):
            yield "Completed, and its code never came to its end"
