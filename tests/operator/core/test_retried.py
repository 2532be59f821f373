"""A run that retries another: what it takes from it, and when it cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest

from builders import flow_run, resolved
from penstock.api import names, reasons
from penstock.api.resolved import Resolved
from penstock_operator.core import retried
from penstock_operator.core.resolve import Refused, Resolution
from penstock_operator.core.views import RunView

Json = dict[str, Any]
OLD = {"name": "etl-1", "uid": "run-uid"}
BUCKET: Json = {"results": {"url": "s3://bucket"}}


def old(state: str | None = "Failed", /, **changes: Any) -> RunView:
    return RunView(flow_run(state, **changes))


def new(**spec: Any) -> RunView:
    body = flow_run(spec={"retryOf": OLD, **spec})
    body["metadata"] |= {"name": "etl-2", "uid": "new-uid"}
    return RunView(body)


def outcome(run: RunView, of: RunView, pool: Json | None = None) -> Any:
    meta = {"name": "default", "uid": "p-uid", "generation": 9}
    now = {"metadata": meta, "spec": {"type": "Job", **(BUCKET if pool is None else pool)}}
    return retried.as_before(run, of, {"flowRef": {"name": "etl"}}, now)


@pytest.mark.parametrize("state", ["Completed", "Failed", "Crashed", "Cancelled"])
def test_whatever_has_ended_can_be_retried(state: str) -> None:
    assert retried.refused(new(), old(state)) is None


REFUSED: dict[str, tuple[RunView, RunView | None, str]] = {
    "it is not there": (new(), None, "there is no FlowRun etl-1 with uid run-uid"),
    "a namesake": (new(retryOf={**OLD, "uid": "other"}), old(), "there is no FlowRun etl-1 with uid other"),
    "it goes on": (new(), old("Running"), r"goes on \(Running\): wait for its end, or set its spec.cancel"),
    "it waits for its time": (new(), old("Scheduled"), r"goes on \(Scheduled\)"),
    "nobody has looked at it": (new(), old(None), "is new"),
    "another deployment": (new(deploymentRef={"name": "x"}), old(), "is not of the same deploymentRef"),
    "a subflow": (
        new(),
        old(spec={"infrastructure": "Parent", "parent": {"name": "p", "uid": "u"}}),
        "a subflow of p: retry that run",
    ),
    "a task": (new(), old(spec={"task": {}, "parent": {"name": "p", "uid": "u"}}), "a task of p: retry that run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_retried_is_refused_with_the_remedy(name: str) -> None:
    run, of, said = REFUSED[name]
    refused = retried.refused(run, of)
    assert isinstance(refused, Refused)
    assert refused.reason == reasons.NOT_RETRYABLE
    assert refused.message.startswith("spec.retryOf: ")
    assert re.search(said, refused.message), refused.message


def test_parameters_are_the_old_runs() -> None:
    of = old(spec={"parameters": {"n": 1}}, parameters={"n": 1, "m": 2})
    assert retried.refused(new(parameters={"n": 1}), of) is None
    assert retried.refused(new(parameters={"n": 1, "m": 2}), of) is None
    wrong = retried.refused(new(parameters={"n": 3}), of)
    assert wrong is not None
    assert (wrong.reason, wrong.message[:40]) == (
        reasons.INVALID_PARAMETERS,
        "spec.parameters: a retry takes those of ",
    )
    found = outcome(new(), of)
    assert found.parameters == {"n": 1, "m": 2}


def test_it_is_launched_with_what_the_old_one_was_in_the_pool_as_it_is() -> None:
    found = outcome(new(), old())
    assert isinstance(found, Resolution)
    pool = {
        "name": "default",
        "uid": "p-uid",
        "generation": 9,
        "revision": names.revision("WorkPool", "default", "p-uid", 9),
    }
    assert found.status == {**resolved(), "pool": pool, "poolType": "Job", "resultsOf": "run-uid"}
    assert (found.copies, found.deployment) == ((), None), "both are kept already"
    assert found.said == "retry of etl-1"
    Resolved.model_validate(found.status)


def test_a_row_of_retries_shares_the_results_of_the_first() -> None:
    assert outcome(new(), old(resolved=resolved(resultsOf="first"))).status["resultsOf"] == "first"


def test_where_pods_share_nothing_the_history_says_so() -> None:
    said = "retry of etl-1; WorkPool default has no result store that pods share: every task runs again"
    assert outcome(new(), old(), {"type": "Pod"}).said == said


def test_it_may_name_another_pool() -> None:
    assert retried.pool_name(new(), old()) == "default"
    assert retried.pool_name(new(workPool="big"), old()) == "big"


def test_what_the_pool_forbids_now_is_forbidden() -> None:
    found = outcome(new(pod={"affinity": {}}), old(), {"overrides": {"allow": ["image"]}})
    assert isinstance(found, Refused)
    assert found.reason == reasons.INVALID_OVERRIDES
    assert outcome(new(pod={"image": "other:1"}), old()).status["image"] == "other:1"


def test_an_old_run_that_was_never_resolved_lends_its_uid_only() -> None:
    """A run that was refused has nothing to take over; the new one is resolved by itself."""
    fresh = Resolution(resolved(), {"spec": BUCKET}, None, (), {})
    found = retried.with_results(fresh, old(resolved={}))
    assert isinstance(found, Resolution)
    assert found.status["resultsOf"] == "run-uid"
    refused = Refused(reasons.INVALID_CODE, "no")
    assert retried.with_results(refused, old()) is refused
