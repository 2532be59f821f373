"""What becomes of runs when the run that made them ends: decisions on subflows, and on runs that are waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import flow_run
from penstock_operator.core import children, runs
from penstock_operator.core.attempts import Attempt
from penstock_operator.core.children import Family
from penstock_operator.core.policy import Policy
from penstock_operator.core.resolve import Resolution
from penstock_operator.core.views import RunView

Json = dict[str, Any]
NOW = datetime(2026, 1, 1, 7, tzinfo=UTC)
POD = {"name": "etl-1-1", "uid": "pod-uid"}
PARENT = {"name": "etl-1", "uid": "run-uid", "awaited": True}


def parent(state: str | None = "Running", **status: Any) -> RunView:
    return RunView(flow_run(state, **{"pod": POD, **status}))


def child(state: str | None = "Running", **more: Any) -> RunView:
    spec = {"parent": PARENT, "infrastructure": "Parent", **more.pop("spec", {})}
    body = flow_run(state, spec=spec, **more)
    body["metadata"] |= {"name": "sub-1", "uid": "child-uid", "labels": {"penstock.dev/attempt": "1"}}
    return RunView(body)


def decide(run: RunView, family: Family, **more: Any) -> runs.Decision:
    return runs.decide(run, Attempt(), more.pop("outcome", None), Policy(), NOW, confirmed=True, family=family)


# What is seen of the parent, and how a subflow of its attempt 1 ends; None: it goes on.
PARENTS: dict[str, tuple[RunView | None, str | None]] = {
    "its parent runs": (parent(), None),
    "its parent is being cancelled": (parent("Cancelling"), None),
    "its parent waits for a person in its process": (parent("Paused"), None),
    "the operator has not heard of its parent's claim yet": (parent("Pending", pod=None), None),
    "its parent's attempt was lost": (parent("Scheduled", attempt=1, pod=None), "Crashed"),
    "its parent is launched again": (parent("Pending", attempt=2, pod=None), "Crashed"),
    "its parent's next attempt runs": (parent("Running", attempt=2), "Crashed"),
    "its parent is suspended, its process gone": (parent("Paused", pod=None), "Crashed"),
    "its parent has completed without it": (parent("Completed"), "Crashed"),
    "its parent crashed": (parent("Crashed"), "Crashed"),
    "its parent was cancelled": (parent("Cancelled"), "Cancelled"),
    "its parent was deleted": (None, "Crashed"),
    "its parent's name is another run's": (RunView({"metadata": {"uid": "new", "name": "etl-1"}}), "Crashed"),
}


@pytest.mark.parametrize(("above", "end"), PARENTS.values(), ids=PARENTS.keys())
@pytest.mark.parametrize("state", ["Running", None])
def test_a_subflow_ends_with_its_parents_attempt(above: RunView | None, end: str | None, state: str | None) -> None:
    """Whether it had begun or was only created."""
    decision = decide(child(state), Family(above))
    assert not decision.create
    assert [str(entry.type) for entry in decision.change.entries][-1:] == ([end] if end else [])
    if end:
        assert "endTime" in decision.change.fields
        assert decision.change.entries[-1].reason == ("ParentEnded" if end == "Crashed" else "CancelRequested")


@pytest.mark.parametrize("state", [None, "Scheduled", "Running"])
def test_a_subflow_is_never_resolved_or_launched(state: str | None) -> None:
    run = child(state)
    assert not runs.needs_resolution(run)
    assert decide(run, Family(parent())) == runs.Decision()


def test_a_subflow_that_has_ended_is_settled_without_looking_for_a_pod() -> None:
    decision = runs.decide(
        child("Completed", pod=POD), Attempt(), None, Policy(), NOW, confirmed=False, family=Family(parent())
    )
    assert decision.settles


def test_a_subflow_is_cancelled_with_its_parent_only() -> None:
    asked = child(spec={"cancel": True})
    assert decide(asked, Family(parent())) == runs.Decision()
    assert [str(e.type) for e in decide(asked, Family(parent("Cancelled"))).change.entries] == [
        "Cancelling",
        "Cancelled",
    ]


def test_a_parent_is_not_launched_again_before_its_unfinished_subflows_have_ended() -> None:
    outcome = Resolution({}, {"spec": {}}, None, (), {})
    run = RunView(flow_run("Scheduled", attempt=1))
    waits = decide(run, Family(unfinished=True), outcome=outcome)
    assert not waits.create
    assert waits.due is not None
    assert decide(run, Family(unfinished=False), outcome=outcome).create


@pytest.mark.parametrize(
    ("above", "over"),
    [(parent(), False), (parent("Pending", attempt=2, pod=None), False), (parent("Failed"), True), (None, True)],
    ids=["it runs", "it is launched again", "it has failed", "it was deleted"],
)
def test_a_run_of_its_own_that_a_parent_awaits_outlives_attempts_but_not_the_parent(
    above: RunView | None, over: bool
) -> None:
    spec = {"infrastructure": "Pool"}
    assert children.outlived(child(spec=spec), above) is over
    entries = decide(child(spec=spec), Family(above)).change.entries
    assert over == ("Cancelling" in [str(entry.type) for entry in entries])


def test_a_run_that_nobody_awaits_goes_its_own_way() -> None:
    spec = {"infrastructure": "Pool", "parent": {**PARENT, "awaited": False}}
    assert not children.outlived(child(spec=spec), None)
