"""`penstock schedules preview`, which needs no cluster for an expression; the rest is tested on a real API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import yaml

import builders
from command_line import CommandLine
from https_server import Cluster
from penstock.cli.schedules import Previewed

PREVIEW = ("schedules", "preview")


def test_a_preview_shows_local_times_and_instants(penstock: CommandLine) -> None:
    words = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-03-28T12:00", "--count", "2")
    lines = penstock.ok(*PREVIEW, *words).splitlines()
    assert lines[1].split("  ")[0] == "2026-03-29 03:30:00+02:00"
    assert lines[2].endswith("2026-03-30T00:30:00Z")


def test_other_forms(penstock: CommandLine) -> None:
    after = ("--after", "2026-01-01", "--count", "1", "-o", "json")
    for words, expected in (
        (("--interval", "3600", "--anchor", "2026-01-01T00:10"), "2026-01-01T00:10:00Z"),
        (("--rrule", "FREQ=MONTHLY;BYDAY=-1FR"), "2026-01-30T00:00:00Z"),
        (("--cron", "0 6 13 * 5", "--and"), "2026-02-13T06:00:00Z"),
    ):
        assert json.loads(penstock.ok(*PREVIEW, *words, *after)) == [
            {"schedule": words[0].removeprefix("--"), "time": expected}
        ]


def test_yaml_is_one_list_as_json_is(penstock: CommandLine) -> None:
    words = (*PREVIEW, "--interval", "60", "--anchor", "2026-01-01", "--after", "2026-01-01", "--count", "2")
    (document,) = yaml.safe_load_all(penstock.ok(*words, "-o", "yaml"))
    assert document == json.loads(penstock.ok(*words, "-o", "json"))
    assert len(document) == 2


def test_an_ended_schedule_says_so(penstock: CommandLine) -> None:
    said = penstock(*PREVIEW, "--rrule", "FREQ=DAILY;UNTIL=20210101T000000Z")
    assert (said.code, said.out, said.err) == (0, "", "It has ended: no slot follows.\n")


def test_the_zone_that_a_rule_names_is_that_of_its_local_times(penstock: CommandLine) -> None:
    rule = r"DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY"
    rows = penstock.ok(*PREVIEW, "--rrule", rule, "--after", "2026-01-02", "--count", "1").splitlines()
    assert rows[1].split("   ") == ["2026-01-02 09:00:00+01:00", "2026-01-02T08:00:00Z"]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOURLY = {"slug": "hourly", "cron": {"expression": "0 * * * *"}}

# The runs that are left, from when on, and which hours are shown of at most five.
LEFT: dict[str, tuple[int | None, int, list[int]]] = {
    "as many as it is due": (None, 12, [13, 14, 15, 16, 17]),
    "two": (2, 12, [13, 14]),
    "none": (0, 12, []),
    "two, of which the first is over by then": (2, 13, [14]),
    "two, which are over by then": (2, 20, []),
    "two, after those that were": (2, 9, [10, 11, 12, 13, 14]),
}


@pytest.mark.parametrize(("left", "start", "expected"), LEFT.values(), ids=LEFT)
def test_no_more_is_shown_than_the_runs_that_are_left(left: int | None, start: int, expected: list[int]) -> None:
    rows = list(Previewed(HOURLY, True, left).rows(NOON, NOON.replace(hour=start), 5, NOON))
    assert [row.slot.hour for row in rows] == expected
    assert all(row.suspended for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--cron", "0 0 30 2 *"), 1, "error: cron.expression: it never fires"),
        (("--cron", "@daily", "--timezone", "Mars"), 1, "error: timezone: 'Mars' is no time zone"),
        (("--cron", "@daily", "--interval", "5"), 2, "one of --cron, --interval and --rrule"),
        ((), 2, "give a DEPLOYMENT, or one of"),
        (("--cron", "@daily", "--after", "noon"), 2, "write it like 2026-01-31"),
    ],
)
def test_what_cannot_be_shown_is_told(penstock: CommandLine, words: tuple[str, ...], code: int, text: str) -> None:
    assert text in penstock.fails(*PREVIEW, *words, code=code)


def test_a_deployment_without_schedules_is_told_from_a_namespace_without(
    penstock: CommandLine, cluster: Cluster
) -> None:
    cluster.has("flowdeployments", builders.changed(builders.good("FlowDeployment", "etl"), {"spec.schedules": []}))
    said = penstock("schedules", "ls", "etl")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith(
        "No schedules in namespace team: flowdeployment.penstock.dev/etl has none; have some with"
    )
    assert "team: there are none; have some with" in penstock("schedules", "ls").err
