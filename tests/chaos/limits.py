"""How many held the slots of a limit at the same time, by what user code wrote while it had them.

Pure: `test_limits` shows that what is too much is found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chaos.invariants import Mark

Json = dict[str, Any]
Span = tuple[float, float]


def exceeded(what: str, slots: int, spans: Iterable[Span]) -> list[str]:
    """In words, where more held slots at the same time than there are."""
    changes = sorted(change for start, end in spans for change in ((start, 1), (end, -1)))  # an end comes first
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return [f"{what}: {most} at the same time, {slots} allowed"] if most > slots else []


def executing(marks: Sequence[Mark], runs: Collection[str]) -> list[Span]:
    """From the first to the last that each attempt of these runs wrote."""
    return [(own[0].boot, own[-1].boot) for own in _attempts(marks) if own[0].run in runs]


def holding(marks: Sequence[Mark]) -> Iterator[Span]:
    """From `held` to `freed` in each attempt, or to the last it wrote."""
    for own in _attempts(marks):
        start: float | None = None
        for mark in own:
            if mark.what == "held":
                start = mark.boot
            elif mark.what == "freed" and start is not None:
                yield start, mark.boot
                start = None
        if start is not None:
            yield start, own[-1].boot


def uncounted(objects: Iterable[Json]) -> list[str]:
    """Pools and limits that say somebody holds or awaits slots, when nobody is left."""
    found = []
    for body in objects:
        status = body.get("status") or {}
        for count in ("active", "queued"):
            if status.get(count):
                found.append(f"{body['kind']} {body['metadata']['name']}: {status[count]} {count}, and all is over")
    return found


def _attempts(marks: Sequence[Mark]) -> Iterable[list[Mark]]:
    by_attempt: dict[tuple[str, int, str], list[Mark]] = defaultdict(list)
    for mark in sorted(marks, key=lambda mark: mark.boot):
        by_attempt[mark.run, mark.attempt, mark.pod].append(mark)
    return by_attempt.values()


def over_limits(marks: Sequence[Mark], by_limit: Mapping[str, tuple[int, Collection[str]]], in_code: int) -> list[str]:
    """All limits: those of runs by name, with slots and whom they are for, and the one that code takes slots of."""
    found = [what for name, (slots, runs) in by_limit.items() for what in exceeded(name, slots, executing(marks, runs))]
    return [*found, *exceeded("in code", in_code, holding(marks))]
