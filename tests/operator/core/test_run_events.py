"""Which states of a run become Events: what lasts, what ends, what is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.api.states import TERMINAL, StateType
from penstock_operator.core.run_events import telling

Json = dict[str, Any]


def history(*steps: tuple[str, float]) -> list[Json]:
    """A history of states, by their names, and the seconds at which each was entered."""
    types = {"AwaitingRetry": "Scheduled", "AwaitingConcurrencySlot": "Scheduled", "Retrying": "Running"}
    return [
        {"type": types.get(name, name), "name": name, "seq": seq, "time": f"2026-01-01T06:00:{second:09.6f}Z"}
        for seq, (name, second) in enumerate(steps, 1)
    ]


def told(entries: list[Json], after: int = 0) -> tuple[list[str], str | None]:
    """What is told of it, and what is held back."""
    tell, held = telling(entries, after)
    return [entry["name"] for entry in tell], held["name"] if held else None


CASES: dict[str, tuple[list[tuple[str, float]], tuple[list[str], str | None]]] = {
    "nothing has happened": ([], ([], None)),
    "what a run is in now may not last": ([("Scheduled", 0)], ([], "Scheduled")),
    "a run that is through at once": (
        [("Scheduled", 0), ("Pending", 0), ("Running", 0.4), ("Completed", 0.9)],
        (["Completed"], None),
    ),
    "what has lasted": (
        [("AwaitingConcurrencySlot", 0), ("Pending", 8), ("Running", 8.999), ("Completed", 10)],
        (["AwaitingConcurrencySlot", "Running", "Completed"], None),
    ),
    "a second is enough, and less is not": (
        [("Scheduled", 0), ("Pending", 1), ("Running", 1.999999)],
        (["Scheduled"], "Running"),
    ),
    "a retry is told however short it is": (
        [("Running", 0), ("AwaitingRetry", 0.1), ("Retrying", 0.2), ("Running", 0.3)],
        (["AwaitingRetry", "Retrying"], "Running"),
    ),
    "an attempt that was taken back is told": (
        [("Scheduled", 0), ("Pending", 0), ("Scheduled", 0.1), ("Pending", 0.2)],
        (["Scheduled"], "Pending"),
    ),
    "another reason to wait is no attempt that was taken back": (
        [("Scheduled", 0), ("AwaitingConcurrencySlot", 0.1), ("Pending", 0.2)],
        ([], "Pending"),
    ),
    "a clock that went back": ([("Pending", 5), ("Running", 3)], ([], "Running")),
}


@pytest.mark.parametrize(("steps", "expected"), CASES.values(), ids=CASES)
def test_what_is_told(steps: list[tuple[str, float]], expected: tuple[list[str], str | None]) -> None:
    assert told(history(*steps)) == expected


@pytest.mark.parametrize("state", StateType)
def test_ends_are_told_at_once_and_nothing_else_is(state: StateType) -> None:
    entries = history(("Scheduled", 0), ("Pending", 0), (state, 0))
    again = state is StateType.SCHEDULED
    assert (told(entries)[0] == [state]) == (state in TERMINAL or again)


def test_what_was_decided_is_not_told_again_and_counts_for_what_follows() -> None:
    entries = history(("Running", 0), ("AwaitingRetry", 2), ("Scheduled", 2.1), ("Running", 9))
    assert told(entries, 2) == (["Scheduled"], "Running")
    assert told(history(("Running", 0), ("Scheduled", 0.1)), 1) == (["Scheduled"], None)
    assert told(entries, 4) == ([], None)
