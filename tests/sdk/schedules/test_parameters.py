"""Parameters of schedules are held to the flow's schema, with those of the deployment beneath."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schedules.parameters import misfits

Json = dict[str, Any]
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}, "of": {"type": "object"}}, "required": ["n"]}
DAILY: Json = {"slug": "daily", "cron": {"expression": "@daily"}}

TABLE: dict[str, tuple[Json, list[Json], list[str]]] = {
    "none": ({}, [], []),
    "those of the deployment are beneath": ({"n": 1}, [DAILY], []),
    "those of the schedule are enough": ({}, [{**DAILY, "parameters": {"n": 1}}], []),
    "each that is wrong, with slug and path": (
        {"n": 1},
        [{**DAILY, "parameters": {"n": "x", "zz": 1}}, {**DAILY, "slug": "other"}],
        [
            "schedules[daily].parameters.zz: there is no such name; there are n, of",
            "schedules[daily].parameters.n: 'x' is not of type 'integer'",
        ],
    ),
    "nobody gives what is missing": ({}, [DAILY], ["schedules[daily].parameters.n: it must be given"]),
    "what is left of a schedule that is gone makes no runs": ({}, [{"slug": "old", "suspend": True}], []),
}


@pytest.mark.parametrize(("own", "schedules", "expected"), TABLE.values(), ids=TABLE)
def test_what_does_not_fit(own: Json, schedules: list[Json], expected: list[str]) -> None:
    assert misfits(SCHEMA, own, schedules) == expected


def test_what_is_missing_may_be_given_yet_where_that_is_said() -> None:
    assert misfits(SCHEMA, None, [DAILY], partial=True) == []
    assert len(misfits(SCHEMA, None, [{**DAILY, "parameters": {"n": "x"}}], partial=True)) == 1


def test_a_schema_that_is_none_is_told_for_each() -> None:
    (found,) = misfits({"type": 5}, {}, [DAILY])
    assert found.startswith("schedules[daily].parameters: the schema of the parameters is no JSON Schema")
