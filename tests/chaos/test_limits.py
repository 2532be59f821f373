"""That too many holders of a limit are found, and right ones are not."""

from __future__ import annotations

import pytest

from chaos.invariants import Mark
from chaos.limits import exceeded, executing, holding, over_limits, uncounted


def mark(run: str, what: str, at: float, attempt: int = 1) -> Mark:
    return Mark(run, attempt, f"{run}-{attempt}", what, at, at)


@pytest.mark.parametrize(
    ("spans", "slots", "said"),
    [
        ([], 1, []),
        ([(1, 2), (2, 3)], 1, []),
        ([(1, 3), (2, 4)], 1, ["db: 2 at the same time, 1 allowed"]),
        ([(1, 3), (2, 4)], 2, []),
        ([(1, 9), (2, 3), (4, 5), (4, 6)], 2, ["db: 3 at the same time, 2 allowed"]),
    ],
)
def test_the_most_at_the_same_time_counts(spans: list[tuple[float, float]], slots: int, said: list[str]) -> None:
    assert exceeded("db", slots, spans) == said


def test_an_attempt_lasts_from_its_first_to_its_last_mark() -> None:
    marks = [mark("a", "start", 1), mark("a", "beat", 3), mark("a", "start", 5, 2), mark("b", "start", 2)]
    assert executing(marks, {"a"}) == [(1, 3), (5, 5)]


def test_a_slot_is_held_until_it_is_freed_or_the_process_is_heard_no_more() -> None:
    marks = [mark("a", "held", 1), mark("a", "freed", 2), mark("a", "held", 3), mark("a", "beat", 4)]
    marks += [mark("b", "start", 1), mark("b", "held", 2), mark("b", "freed", 6), mark("b", "end", 7)]
    assert sorted(holding(marks)) == [(1, 2), (2, 6), (3, 4)]


def test_each_limit_is_looked_at() -> None:
    marks = [mark(name, what, at) for name in "ab" for what, at in (("held", 1), ("freed", 3))]
    assert over_limits(marks, {"pool x": (1, "ab"), "tag y": (1, "a")}, 2) == ["pool x: 2 at the same time, 1 allowed"]
    assert over_limits(marks, {}, 1) == ["in code: 2 at the same time, 1 allowed"]


def test_counts_that_stay_are_found() -> None:
    pool = {"kind": "WorkPool", "metadata": {"name": "p"}, "status": {"active": 1, "queued": 0}}
    assert uncounted([pool, {**pool, "status": {}}]) == ["WorkPool p: 1 active, and all is over"]
