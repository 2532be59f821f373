"""Processes of deleted runs in warm workers: what they hold, and when they are over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import flow_run, resolved
from penstock.api import labels, names
from penstock.api.workers import DeletedRun, WorkerFacts, deleted_runs_annotation
from penstock_operator.core import orphans
from penstock_operator.core.admission import Limit
from penstock_operator.core.orphans import MARGIN, PATIENCE, Orphan
from penstock_operator.core.views import LeaseView, RunView

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
AT = {"name": "w", "uid": "w-uid", "attempt": 1}
WARM = (
    Limit("FlowDeployment", "team", "etl"),
    Limit("WorkPool", "team", "default"),
    Limit("workers", "team", "default"),
)
THERE = DeletedRun(name="etl-1", uid="run-uid", deployment="etl", admitted={})
ENDED = DeletedRun(name="etl-1", uid="run-uid", ended=True)
LATER, QUIET = SIX + PATIENCE, MARGIN.total_seconds()


def lease(*said: DeletedRun, holder: str = "w-uid") -> LeaseView:
    annotations = {
        labels.WORKER_FACTS: WorkerFacts(uid=holder, slots=1).annotation(),
        labels.DELETED_RUNS: deleted_runs_annotation(said),
    }
    meta = {"name": names.worker_lease("w"), "namespace": "team", "labels": {labels.POOL: "default"}}
    return LeaseView({"metadata": {**meta, "annotations": annotations}, "spec": {"holderIdentity": holder}})


def orphan(**run: Any) -> Orphan:
    return orphans.of_run(RunView(flow_run("Running", worker=AT, resolved=resolved("Process"), **run)), SIX)


@pytest.mark.parametrize(
    ("said", "now", "how", "wanted"),
    [
        pytest.param([], SIX, {}, False, id="it was deleted a moment ago"),
        pytest.param([], LATER, {}, True, id="it must have ended, of a worker that says nothing"),
        pytest.param([], LATER, {"quiet": QUIET}, False, id="its worker may not know yet that it is deleted"),
        pytest.param([], SIX, {"lost": True}, True, id="its worker is lost"),
        pytest.param([ENDED], SIX, {"quiet": QUIET}, True, id="its worker says that it has ended"),
        pytest.param([THERE], SIX, {}, False, id="its worker says that it is there"),
        pytest.param([ENDED.model_copy(update={"uid": "other"})], SIX, {}, False, id="a namesake's has ended"),
    ],
)
def test_when_one_is_over(said: list[DeletedRun], now: datetime, how: Json, wanted: bool) -> None:
    assert orphans.over(orphan(), lease(*said), now, **{"lost": False, "quiet": 1.0, **how}) is wanted


def test_what_another_worker_of_that_name_says_is_of_no_account() -> None:
    assert not orphans.over(orphan(), lease(ENDED, holder="another"), SIX, lost=False, quiet=1.0)
    assert not orphans.over(orphan(), None, SIX, lost=False, quiet=1.0)


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        pytest.param({}, WARM, id="its deployment's, its pool's and its workers'"),
        pytest.param(
            {"admitted": {"queue": "fast", "tags": ["gpu"]}},
            (WARM[0], Limit("WorkQueue", "team", "fast"), Limit("tag", "team", "gpu"), *WARM[1:]),
            id="those of its queue and its tags",
        ),
        pytest.param(
            {"spec": {"task": {"name": "t"}, "parent": {"name": "p", "uid": "p", "awaited": True}}},
            (),
            id="none, for its parent waits for it",
        ),
    ],
)
def test_it_holds_what_its_run_held(run: Json, wanted: tuple[Limit, ...]) -> None:
    found = orphan(**run)
    assert (found.held, found.deployment, found.until) == (wanted, "etl", SIX + PATIENCE)
    assert (found.worker, found.worker_uid, found.sure) == ("w", "w-uid", False)


def test_a_lease_says_what_whoever_knew_the_run_knew_of_it() -> None:
    known = orphan(admitted={"queue": "fast", "tags": ["gpu"]})
    there = DeletedRun(name="etl-1", uid="run-uid", deployment="etl", admitted={"queue": "fast", "tags": ["gpu"]})
    assert list(orphans.said(lease(there, ENDED), SIX)) == [known]


def test_of_one_whose_parent_waited_for_it_a_lease_says_that_it_holds_nothing() -> None:
    (found,) = orphans.said(lease(DeletedRun(name="etl-1", uid="run-uid", deployment="etl")), SIX)
    assert found.held == ()


def test_a_margin_is_longer_than_a_worker_takes_to_renew_and_to_hear() -> None:
    assert timedelta(seconds=20) + MARGIN / 2 < PATIENCE
