"""What was deployed before, and what of it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.revisions import NoRevision, Revision, chosen, differences, restored

NIGHT = {"slug": "night", "cron": {"expression": "0 2 * * *"}}
DAY = {"slug": "day", "interval": {"seconds": 86400}}
HELD = {"slug": "night", "suspend": True}  # what is left of a suspended schedule that is gone


def revision(number: int, **spec: Any) -> Revision:
    return Revision(number, {"flowRef": {"name": "etl"}, **spec}, "2026-01-01T00:00:00Z", {})


# The spec now and at that time, and what it is made.
RESTORED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "what was said": ({"tags": ["b"]}, {"tags": ["a"]}, {"tags": ["a"]}),
    "what was not said goes": ({"tags": ["b"], "queue": "q"}, {"tags": ["a"]}, {"tags": ["a"]}),
    "what is suspended stays so": ({"suspend": True}, {"tags": ["a"]}, {"tags": ["a"], "suspend": True}),
    "and what is not does too": ({}, {"tags": ["a"], "suspend": True}, {"tags": ["a"]}),
    "so do schedules": (
        {"schedules": [{**NIGHT, "suspend": True}]},
        {"schedules": [{**NIGHT, "timezone": "UTC"}]},
        {"schedules": [{**NIGHT, "timezone": "UTC", "suspend": True}]},
    ),
    "a schedule that is no longer there comes as it was": (
        {},
        {"schedules": [{**NIGHT, "suspend": True}]},
        {"schedules": [{**NIGHT, "suspend": True}]},
    ),
    "one that was not there yet leaves that it is suspended": (
        {"schedules": [DAY, {**NIGHT, "suspend": True}]},
        {"schedules": [DAY]},
        {"schedules": [DAY, HELD]},
    ),
    "also where there was none": ({"schedules": [{**NIGHT, "suspend": True}]}, {}, {"schedules": [HELD]}),
    "also of one that a deploy had taken away": ({"schedules": [DAY, HELD]}, {}, {"schedules": [HELD]}),
    "of one that runs nothing is left": ({"schedules": [{**NIGHT, "suspend": False}]}, {}, {}),
    "what was left then of all that run now is none": (
        {"schedules": [NIGHT]},
        {"schedules": [HELD]},
        {"schedules": []},
    ),
    "what was left then of one that runs now is no schedule": (
        {"schedules": [DAY, NIGHT]},
        {"schedules": [DAY, HELD]},
        {"schedules": [DAY]},
    ),
}


@pytest.mark.parametrize(("now", "then", "wanted"), RESTORED.values(), ids=RESTORED)
def test_what_comes_back(now: dict[str, Any], then: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert restored(now, then) == wanted


def test_the_one_before_is_the_newest_that_differs() -> None:
    """A revision that only suspended is none to go back to."""
    kept = [revision(1, tags=["a"]), revision(2, tags=["b"]), revision(3, tags=["b"], suspend=True)]
    assert chosen(kept, kept[2].spec, None).number == 1
    assert chosen(kept, kept[2].spec, 2).number == 2


@pytest.mark.parametrize("left", [{"slug": "gone", "suspend": True}, {"slug": "gone", "suspend": False}])
@pytest.mark.parametrize("first", [True, False])
def test_what_is_left_of_a_schedule_that_is_gone_makes_no_difference(left: dict[str, Any], first: bool) -> None:
    schedules = [left, DAY] if first else [DAY, left]
    kept = [revision(1, tags=["good"], schedules=[DAY]), revision(2, tags=["bad"], schedules=schedules)]
    assert chosen(kept, kept[1].spec, None).number == 1


@pytest.mark.parametrize(
    ("kept", "number", "said"),
    [
        ([], None, "no other revision is kept"),
        ([revision(1)], None, "no other revision is kept"),
        ([revision(1), revision(2, suspend=True)], None, r"no other revision is kept \(1, 2 are the same\)"),
        ([revision(1), revision(3)], 2, "there is no revision 2; there are 1, 3"),
        ([], 2, "no revision is kept yet"),
    ],
)
def test_where_there_is_none_it_is_told(kept: list[Revision], number: int | None, said: str) -> None:
    with pytest.raises(NoRevision, match=said):
        chosen(kept, revision(1).spec, number)


def test_differences_are_told_by_field() -> None:
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == ["a", "b", "c"]
    assert differences(None, {"a": 1}) == ["a"]
