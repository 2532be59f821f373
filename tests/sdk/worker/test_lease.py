from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from penstock.api import labels
from penstock.api.workers import LEASE_SECONDS, DeletedRun, WorkerFacts, WorkerPod, deleted_runs, facts
from penstock.worker import lease
from penstock.worker.lease import OUT_OF_CONTACT, Worker

NOW, LATER = "2026-01-01T06:00:00.000000Z", "2026-01-01T06:00:10.000000Z"
FACTS = WorkerFacts(uid="me", slots=2)
WORKER = Worker("laptop", "team", "warm", FACTS)


def test_a_lease_says_what_the_worker_is() -> None:
    body: Any = lease.created(WORKER, NOW)
    assert body["metadata"]["name"] == "penstock-worker-laptop"
    assert body["metadata"]["labels"][labels.POOL] == "warm"
    assert body["metadata"]["labels"][labels.COMPONENT] == "worker"
    assert facts(body["metadata"]["annotations"][labels.WORKER_FACTS]) == FACTS
    assert body["spec"]["holderIdentity"] == "me"
    assert body["spec"]["leaseDurationSeconds"] == LEASE_SECONDS
    assert "ownerReferences" not in body["metadata"]


def test_the_lease_of_a_pod_goes_with_it() -> None:
    pod = WorkerFacts(uid="u", slots=1, pod=WorkerPod(name="warm-worker-x", uid="u"))
    (owner,) = lease.created(Worker("warm-worker-x", "team", "warm", pod), NOW)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", "warm-worker-x", "u")


def test_a_renewal_moves_the_time_of_its_own_lease_only() -> None:
    body = lease.created(WORKER, NOW)
    again = jsonpatch.apply_patch(body, lease.renewed(WORKER, LATER))
    assert again["spec"] == {**body["spec"], "renewTime": LATER}
    assert again["metadata"] == body["metadata"]
    other = {**body, "spec": {**body["spec"], "holderIdentity": "other"}}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(other, lease.renewed(WORKER, LATER))


def test_a_worker_that_ends_wants_no_more_runs() -> None:
    body = jsonpatch.apply_patch(lease.created(WORKER, NOW), lease.renewed(WORKER, LATER, drain=True))
    assert lease.draining(body)
    assert not lease.draining(lease.created(WORKER, NOW))


def test_a_renewal_says_which_deleted_runs_have_processes_still() -> None:
    run = DeletedRun(name="etl-1", uid="run-uid", admitted={})
    body = jsonpatch.apply_patch(lease.created(WORKER, NOW), lease.renewed(WORKER, LATER, deleted=[run]))
    assert deleted_runs(body["metadata"]["annotations"][labels.DELETED_RUNS]) == [run]
    again = jsonpatch.apply_patch(body, lease.renewed(WORKER, LATER, deleted=[]))
    assert deleted_runs(again["metadata"]["annotations"][labels.DELETED_RUNS]) == []


def test_a_lease_that_is_taken_over_drains_no_more() -> None:
    change = lease.taken_over(WORKER, "7", LATER)
    assert change["metadata"]["annotations"][labels.DELETED_RUNS] is None
    assert change["metadata"]["resourceVersion"] == "7"
    assert change["metadata"]["annotations"][labels.DRAIN] is None
    assert lease.holder(change) == "me"


def test_runs_are_over_before_the_operator_says_so() -> None:
    assert OUT_OF_CONTACT * 5 / 4 < LEASE_SECONDS, "with the time between SIGTERM and SIGKILL, a quarter of it"
