"""A FlowRun as SDK code sees it; waiting for it is tested on a real API server."""

from __future__ import annotations

import pytest

from builders import flow_run, run_state
from penstock.client import ApiError, ClusterUnavailable, NotFound
from penstock.cluster_runs import FlowRun, passing
from penstock.errors import FailedRun


def test_a_run_is_read_from_its_resource() -> None:
    body = flow_run(
        "Completed",
        spec={"parameters": {"n": 1}, "tags": ["a"]},
        state=run_state("Completed", 4, reason="Completed"),
        result={"inline": [1, 2]},
    )
    run = FlowRun.of(body)
    assert (run.id, run.name, run.namespace, run.deployment) == ("run-uid", "etl-1", "team", "etl")
    assert (run.parameters, run.tags) == ({"n": 1}, ("a",))
    assert run.state is not None
    assert (run.state.result(), run.state.reason, run.state.run_id) == ([1, 2], "Completed", "run-uid")
    assert run.state.timestamp.isoformat() == "2026-01-01T06:00:00+00:00"


def test_a_failed_run_raises_its_message() -> None:
    state = FlowRun.of(flow_run("Failed", state=run_state("Failed", 4, message="ValueError: no"))).state
    assert state is not None
    with pytest.raises(FailedRun, match="ValueError: no"):
        state.result()


def test_a_run_that_nobody_has_looked_at_has_no_state() -> None:
    assert FlowRun.of(flow_run()).state is None


def test_merged_parameters_stand_over_the_runs_own() -> None:
    run = FlowRun.of(flow_run("Running", spec={"parameters": {"n": 1}}, parameters={"n": 1, "m": 2}))
    assert run.parameters == {"n": 1, "m": 2}


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (ClusterUnavailable("away"), True),
        (ApiError(429, "busy"), True),
        (ApiError(503, "starting"), True),
        (ApiError(403, "no"), False),
        (NotFound(404, "none"), False),
        (ValueError("mine"), False),
    ],
)
def test_what_may_pass_by_itself_is_told_from_what_will_not(error: Exception, later: bool) -> None:
    assert passing(error) is later
