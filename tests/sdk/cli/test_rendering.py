"""How objects look to people and to programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
import yaml

import builders
from penstock.api.states import StateType
from penstock.cli.kinds import DEPLOYMENT, RUN
from penstock.cli.rendering import (
    COLOURS,
    age,
    at,
    cells,
    instant,
    show,
    show_all,
    state_of,
    table,
    table_of,
    terminal,
    unmet,
    untold,
)

NOW = datetime(2026, 1, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (-5, "0s"),
    ],
)
def test_ages_are_kubectls(seconds: int, text: str) -> None:
    """A clock that is behind the server's makes no negative age."""
    assert age((NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"), NOW) == text


def test_what_has_not_happened_has_no_age() -> None:
    assert age(None, NOW) == ""
    assert age("", NOW) == ""


def test_times_with_and_without_fractions_are_read() -> None:
    assert instant("2026-01-01T06:00:00Z") == datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert instant("2026-01-01T06:00:00.250000Z").microsecond == 250_000


def test_every_state_has_a_colour() -> None:
    assert set(COLOURS) == {state.value for state in StateType}


@pytest.mark.parametrize("state", StateType)
def test_terminal_is_what_the_table_of_states_says(state: StateType) -> None:
    assert terminal(builders.flow_run(state.value)) is state.terminal


def test_a_run_that_nobody_has_looked_at_has_no_state() -> None:
    run = builders.flow_run()
    assert state_of(run) == {}
    assert not terminal(run)
    assert unmet(run) == []


def test_unmet_conditions_are_those_that_are_false() -> None:
    bad = builders.held("Resolved", False, "FlowNotFound")
    run = builders.flow_run("Scheduled", conditions=[builders.held("PodReady", True, "Ready"), bad])
    assert unmet(run) == [bad]


def test_of_a_run_that_has_ended_no_condition_is_left_to_meet() -> None:
    assert unmet(builders.flow_run("Cancelled", conditions=[builders.held("Resolved", False, "FlowNotFound")])) == []


def test_what_the_state_says_itself_is_told() -> None:
    conditions = [builders.held("Resolved", False, "A", "same"), builders.held("PodReady", False, "B", "more")]
    run = builders.flow_run("Scheduled", conditions=conditions)
    run["status"]["state"]["message"] = "same"
    assert [condition["reason"] for condition in untold(run)] == ["B"]


class TestTable:
    """Columns as kubectl aligns them."""

    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        rows = [{"NAME": "a", "STATE": "Running", "AGE": "2s"}, {"NAME": "longer", "STATE": "", "AGE": "10m"}]
        assert table(rows).splitlines() == [
            "NAME     STATE     AGE",
            "a        Running   2s",
            "longer             10m",
        ]

    def test_colour_does_not_move_columns(self) -> None:
        rows = [{"NAME": "a", "STATE": "Failed", "AGE": "2s"}, {"NAME": "b", "STATE": "Completed", "AGE": "3s"}]
        coloured = table(rows, [{"STATE": "red"}, {"STATE": "green"}])
        assert click.style("Failed", fg="red") + "   " in coloured
        assert click.unstyle(coloured) == table(rows)

    def test_nothing_is_no_table(self) -> None:
        assert table([]) == ""

    def test_the_colour_is_that_of_the_type(self) -> None:
        """Whatever refines it: a TimedOut run is red."""
        run = builders.flow_run("Failed")
        run["status"]["state"]["name"] = "TimedOut"
        assert click.style("TimedOut", fg="red") in table_of(RUN, [run], NOW)


class TestCells:
    """The columns of a run are those of `kubectl get flowruns`."""

    def test_of_a_run_under_way(self) -> None:
        run = builders.flow_run(
            "Running",
            startTime="2026-01-01T06:58:30Z",
            tasks={"total": 20, "summary": "12/20"},
            pod={"name": "etl-1-1"},
        )
        assert cells(RUN, run, NOW) == {
            "NAME": "etl-1",
            "DEPLOYMENT": "etl",
            "STATE": "Running",
            "REASON": "",
            "TASKS": "12/20",
            "POOL": "default",
            "ATTEMPT": "1",
            "STARTED": "90s",
            "DURATION": "",
            "AGE": "2h",
        }

    def test_of_a_run_that_nobody_has_looked_at(self) -> None:
        seen = cells(RUN, builders.flow_run(), NOW, wide=True)
        assert {name for name, text in seen.items() if text} == {"NAME", "DEPLOYMENT", "AGE"}

    def test_of_a_run_of_a_flow(self) -> None:
        run = builders.flow_run("Running")
        run["spec"] = {"flowRef": {"name": "etl"}}
        assert cells(RUN, run, NOW)["DEPLOYMENT"] == ""

    def test_wide_adds_the_pod_and_the_message_in_one_line(self) -> None:
        run = builders.flow_run("Failed", pod={"name": "etl-1-1"})
        run["status"]["state"]["message"] = "ValueError: two\n  lines"
        found = cells(RUN, run, NOW, wide=True)
        assert cells(RUN, run, NOW).items() < found.items()
        assert (found["POD"], found["MESSAGE"]) == ("etl-1-1", "ValueError: two lines")


class TestAt:
    """Where a printer column leads."""

    BODY = {"a": {"b": [1, 2]}, "conditions": [{"type": "Other"}, {"type": "Ready", "status": "True"}]}

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (".a.b[1]", 2),
            (".a.b[2]", None),
            (".a.c.d", None),
            (".a.b.c", None),
            (".conditions[?(@.type=='Ready')].status", "True"),
            (".conditions[?(@.type=='None')].status", None),
        ],
    )
    def test_of_a_path(self, path: str, value: object) -> None:
        assert at(self.BODY, path) == value


class TestDeployments:
    """The columns of another kind come from its model as well."""

    BODY = {
        "metadata": {"name": "etl", "creationTimestamp": "2026-01-01T06:00:00Z"},
        "spec": {"flowRef": {"name": "etl"}, "workPool": "default", "suspend": False},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "FlowNotFound"}], "active": 0},
    }

    def test_each_column_has_its_form(self) -> None:
        found = cells(DEPLOYMENT, self.BODY, NOW)
        assert found["READY"] == "False"
        assert found["SUSPEND"] == "false"
        assert found["ACTIVE"] == "0"
        assert "REASON" not in found
        assert cells(DEPLOYMENT, self.BODY, NOW, wide=True)["REASON"] == "FlowNotFound"

    def test_what_is_not_ready_stands_out(self) -> None:
        assert click.style("False", fg="yellow") in table_of(DEPLOYMENT, [self.BODY], NOW)


class TestForPrograms:
    """json, yaml and name; nothing that only the server's bookkeeping needs."""

    def body(self, name: str = "r") -> dict[str, Any]:
        about = {"name": name, "managedFields": [{"manager": "penstock"}]}
        return {"apiVersion": "penstock.dev/v1alpha1", "kind": "FlowRun", "metadata": about, "spec": {"tags": ["no"]}}

    def trimmed(self, name: str = "r") -> dict[str, Any]:
        return {**self.body(name), "metadata": {"name": name}}

    def test_one_object(self) -> None:
        assert json.loads(show(self.body(), "json")) == self.trimmed()
        assert yaml.safe_load(show(self.body(), "yaml")) == self.trimmed()
        assert show(self.body(), "name") == "flowrun.penstock.dev/r"

    @pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]], ids=len)
    def test_a_list_is_a_list_however_long_it_is(self, names: list[str]) -> None:
        """A program that reads `.items` must not meet a bare object when there is one run."""
        told = json.loads(show_all([self.body(name) for name in names], "json"))
        assert told == {"apiVersion": "v1", "kind": "List", "items": [self.trimmed(name) for name in names]}

    def test_yaml_is_a_document_each(self) -> None:
        text = show_all([self.body("a"), self.body("b")], "yaml")
        assert list(yaml.safe_load_all(text)) == [self.trimmed("a"), self.trimmed("b")]

    def test_names_are_a_line_each(self) -> None:
        assert show_all([self.body("a"), self.body("b")], "name") == "flowrun.penstock.dev/a\nflowrun.penstock.dev/b"
