"""The chart's admission policies on a real API server: a pod's token writes the run that the pod was made for only."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from api_client import Refused
from builders import changed, good
from cells import CLAIMED, NOT_ITS_POD, SYSTEM, Cell, Pod, lease, page, rendered
from penstock.api import labels

Json = dict[str, Any]


def child(parent: str, uid: str, namespace: str, name: str = "child", **spec: Any) -> Json:
    """A subflow of `parent`, as its runner makes it."""
    owner = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "controller": True, "name": parent, "uid": uid}
    wanted = {
        "flowRef": {"name": "sub"},
        "parent": {"name": parent, "uid": uid, "awaited": True},
        "infrastructure": "Parent",
    }
    return {
        "apiVersion": builders.API_VERSION,
        "kind": "FlowRun",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
        "spec": {**wanted, **spec},
    }


@pytest.mark.parametrize("name", ["run-1", "run-1-x7k2m"], ids=["a bare pod", "a Job's pod"])
def test_the_pod_of_the_attempt_claims_its_run_and_finishes_it(name: str, cell: Cell) -> None:
    cell.run()
    pod = cell.pod(name)
    assert cell.claim(pod)["status"]["pod"] == pod.identity
    cell.write(pod, {"tasks": {"total": 2, "summary": "1/2"}})
    done = cell.write(pod, {"state": builders.run_state("Completed", 4), "result": {"inline": 42}})
    assert done["status"]["state"]["type"] == "Completed"


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("other-1", 1),
        ("run-2", 1),
        ("run-1", 2),
        ("run-11", 1),
        ("run-1-x7k2m-1", 1),
        ("my-run-1", 1),
        ("run-1-toolong", 1),
    ],
)
def test_no_other_pod_claims_it(name: str, attempt: int, cell: Cell) -> None:
    """Not that of another run, of another attempt, or one whose name only looks alike."""
    cell.run(attempt=attempt)
    with pytest.raises(Refused, match=NOT_ITS_POD) as refusal:
        cell.claim(cell.pod(name), attempt=attempt)
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")


def test_the_second_pod_of_a_job_is_refused_once_the_first_has_claimed(cell: Cell) -> None:
    cell.run()
    first, second = cell.pod("run-1-aaaaa"), cell.pod("run-1-bbbbb")
    cell.claim(first)
    with pytest.raises(Refused, match=CLAIMED) as refusal:
        cell.write(second, {"runCount": 2})
    assert refusal.value.code == 403


def test_a_namesake_of_the_claimed_pod_is_refused(cell: Cell) -> None:
    """A pod deleted and made again has the name and another uid."""
    cell.run()
    cell.claim(cell.pod("run-1"))
    cell.admin.delete("Pod", cell.namespace, "run-1")
    with pytest.raises(Refused, match=CLAIMED):
        cell.write(cell.pod("run-1"), {"runCount": 2})


def test_the_next_attempt_claims_after_the_operator_has_freed_the_run(cell: Cell) -> None:
    cell.run()
    old, new = cell.pod("run-1"), cell.pod("run-2")
    cell.claim(old)
    relaunched = {"state": builders.run_state("Pending", 5), "attempt": 2}
    cell.status("run", relaunched)
    with pytest.raises(Refused, match=CLAIMED):
        cell.claim(new, attempt=2, seq=5)
    cell.status("run", {"pod": None})
    with pytest.raises(Refused, match=NOT_ITS_POD):
        cell.write(old, {"pod": old.identity, "state": builders.run_state("Running", 6)})
    assert cell.claim(new, attempt=2, seq=5)["status"]["pod"] == new.identity
    with pytest.raises(Refused, match=CLAIMED):
        cell.write(old, {"runCount": 9})


def test_a_run_that_nobody_launched_is_claimed_by_none(cell: Cell) -> None:
    cell.admin.create(good("FlowRun", "run", cell.namespace))
    pod = cell.pod("run-1")
    with pytest.raises(Refused, match=NOT_ITS_POD):
        cell.write(pod, {"state": builders.run_state(), "pod": pod.identity})


@pytest.mark.parametrize("claim", [None, {"name": "run-1", "uid": "another"}, {"name": "run-9", "uid": "another"}])
def test_a_pod_claims_for_itself_and_keeps_the_claim(claim: Json | None, cell: Cell) -> None:
    cell.run()
    pod = cell.pod("run-1")
    with pytest.raises(Refused, match="a pod claims a run for itself") as refusal:
        cell.write(pod, {"state": builders.run_state("Running", 3), "pod": claim})
    assert refusal.value.code == 403
    cell.claim(pod)
    with pytest.raises(Refused, match=r"an attempt stays with the pod|a claim cannot be taken"):
        cell.write(pod, {"pod": claim})


@pytest.mark.parametrize(
    "status",
    [
        {"attempt": 2, "state": builders.run_state("Pending", 5)},
        {"settled": True, "state": builders.run_state("Completed", 4)},
        {"observedSeq": 3},
        {"grants": {"attempt": 1, "number": 1, "grants": []}},
        {"admitted": {"queue": "other"}},
        {"observedGeneration": 2},
        {"infraRetries": 0},
        {"acceptedTime": "2026-01-01T00:00:00Z"},
        {
            "resolved": {
                "flow": {"name": "f", "uid": "u", "generation": 1},
                "pool": {"name": "free", "uid": "u", "generation": 1},
                "poolType": "Pod",
                "entrypoint": "flow:etl",
                "code": {"kind": "image"},
            }
        },
    ],
    ids=lambda status: next(iter(status)),
)
def test_what_is_the_operators_a_pod_does_not_write(status: Json, cell: Cell) -> None:
    cell.run()
    pod = cell.pod("run-1")
    cell.claim(pod)
    with pytest.raises(Refused, match="are the operator's to write") as refusal:
        cell.write(pod, status)
    assert refusal.value.code == 403
    cell.status("run", status)


def test_a_pod_gives_its_run_no_attempts(cell: Cell) -> None:
    cell.run()
    pod = cell.pod("run-1")
    cell.claim(pod)
    with pytest.raises(Refused, match="Scheduled and Pending are the operator's to write") as refusal:
        cell.write(pod, {"state": builders.run_state("Scheduled", 4)})
    assert refusal.value.code == 403


def test_a_pod_tells_of_an_answer_and_leaves_other_conditions_alone(cell: Cell) -> None:
    cell.run()
    pod, told = cell.pod("run-1"), {"status": "False", "reason": "Said", "lastTransitionTime": "2026-01-01T06:00:00Z"}
    cell.claim(pod)
    cell.status("run", {"conditions": [{"type": "NodeLost", **told}]})
    answered = {"type": "Answered", **told}
    cell.write(pod, {"conditions": [{"type": "NodeLost", **told}, answered]})
    for conditions in ([answered], [{"type": "NodeLost", **told, "status": "True"}, answered]):
        with pytest.raises(Refused, match="all but Answered are the operator's to write"):
            cell.write(pod, {"conditions": conditions})


def test_the_operators_own_pod_writes_every_run(cell: Cell) -> None:
    cell.run()
    operator = cell.pod(f"operator-of-{cell.namespace}", "penstock-operator", SYSTEM)
    written = cell.write(operator, {"attempt": 2, "state": builders.run_state("Pending", 3)})
    assert written["status"]["attempt"] == 2


def test_a_pod_of_another_namespace_claims_nothing_by_its_name(cell: Cell) -> None:
    """Even where somebody gave its account the rights."""
    cell.run()
    away = f"away-{cell.namespace}"
    cell.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": away}})
    for body in rendered("runs.yaml", f"runs.namespaces={{{away}}}"):
        cell.admin.apply(body)
    binding = cell.admin.get("RoleBinding", cell.namespace, "penstock-run")
    subjects = [*binding["subjects"], {**binding["subjects"][0], "namespace": away}]
    cell.admin.merge("RoleBinding", cell.namespace, "penstock-run", {"subjects": subjects})
    with pytest.raises(Refused, match=NOT_ITS_POD):
        cell.claim(cell.pod("run-1", namespace=away))


def test_a_runs_account_writes_no_specs(cell: Cell) -> None:
    cell.run()
    pod = cell.pod("run-1")
    with pytest.raises(Refused) as refusal:
        pod.client.merge("FlowRun", cell.namespace, "run", {"spec": {"cancel": True}})
    assert refusal.value.code == 403


def test_a_pod_writes_the_pages_of_its_run(cell: Cell) -> None:
    pod, run = cell.pod("run-1"), cell.run()
    written = pod.client.create(page(run, cell.namespace))
    name = written["metadata"]["name"]
    assert pod.client.merge("TaskRunPage", cell.namespace, name, {"records": 3})["records"] == 3


def test_a_pod_writes_no_pages_of_another_run_or_attempt(cell: Cell) -> None:
    cell.run()
    other, again = cell.run("other"), cell.run("again", attempt=2)
    pod, old = cell.pod("run-1"), cell.pod("again-1")
    for writer, run in ((pod, other), (old, again)):
        with pytest.raises(Refused, match="cannot write pages") as refusal:
            writer.client.create(page(run, cell.namespace))
        assert refusal.value.code == 403
    written = cell.pod("other-1").client.create(page(other, cell.namespace))
    with pytest.raises(Refused, match="cannot write pages"):
        pod.client.merge("TaskRunPage", cell.namespace, written["metadata"]["name"], {"records": 0})


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata.ownerReferences": []},
        {"metadata.ownerReferences.0.uid": "another"},
        {"metadata.ownerReferences.0.kind": "Flow"},
        {"metadata.name": "other-abcde-1-0"},
    ],
    ids=["no owner", "an owner of another uid", "an owner of another kind", "another run's name"],
)
def test_a_page_is_named_for_its_run_and_owned_by_it(changes: Json, cell: Cell) -> None:
    pod, run = cell.pod("run-1"), cell.run()
    with pytest.raises(Refused, match="a page is named <run>-… and owned by its run alone") as refusal:
        pod.client.create(changed(page(run, cell.namespace), changes))
    assert refusal.value.code == 403


def test_a_pod_makes_children_of_its_run_and_writes_them(cell: Cell) -> None:
    """From nothing to their end, without the operator: they live in its process."""
    run, pod = cell.run(), cell.pod("run-1")
    pod.client.create(child("run", run["metadata"]["uid"], cell.namespace))
    begun = {"attempt": 1, "pod": pod.identity, "state": builders.run_state("Running", 1)}
    cell.write(pod, begun, "child")
    done = cell.write(pod, {"state": builders.run_state("Completed", 2), "result": {"inline": 1}}, "child")
    assert done["status"]["state"]["type"] == "Completed"
    task = {"entrypoint": "flow:load"}
    mine = child("run", run["metadata"]["uid"], cell.namespace, "other", infrastructure="Pool", task=task)
    assert pod.client.create(mine)["spec"]["infrastructure"] == "Pool"


@pytest.mark.parametrize("name", ["other-1", "run-1-x7k2m-1", "my-run-1"])
def test_no_other_pod_makes_children_of_a_run_or_writes_them(name: str, cell: Cell) -> None:
    run, own, other = cell.run(), cell.pod("run-1"), cell.pod(name)
    body = child("run", run["metadata"]["uid"], cell.namespace)
    with pytest.raises(Refused, match="cannot make this run") as refusal:
        other.client.create(body)
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")
    own.client.create(body)
    with pytest.raises(Refused, match=NOT_ITS_POD):
        cell.write(other, {"attempt": 1, "pod": other.identity, "state": builders.run_state()}, "child")
    cell.write(own, {"attempt": 1, "pod": own.identity, "state": builders.run_state()}, "child")
    with pytest.raises(Refused, match=CLAIMED):
        cell.write(other, {"pod": other.identity, "runCount": 2}, "child")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec.parent": builders.GONE, "spec.infrastructure": builders.GONE}, "cannot make this run"),
        ({"spec.parent.name": "another"}, "cannot make this run"),
        ({"metadata.ownerReferences.0.uid": "another"}, "owned by its parent or by nobody"),
        ({"metadata.ownerReferences.0.kind": "Flow"}, "owned by its parent or by nobody"),
    ],
    ids=["no parent", "another parent", "an owner of another uid", "an owner of another kind"],
)
def test_a_child_names_its_maker_as_parent_and_owner(changes: Json, message: str, cell: Cell) -> None:
    run, pod = cell.run(), cell.pod("run-1")
    with pytest.raises(Refused, match=message) as refusal:
        pod.client.create(changed(child("run", run["metadata"]["uid"], cell.namespace), changes))
    assert refusal.value.code == 403


def test_a_pod_does_not_begin_a_child_that_is_launched_by_the_operator(cell: Cell) -> None:
    run, pod = cell.run(), cell.pod("run-1")
    task = {"entrypoint": "flow:load"}
    pod.client.create(child("run", run["metadata"]["uid"], cell.namespace, infrastructure="Pool", task=task))
    with pytest.raises(Refused, match=NOT_ITS_POD):
        cell.write(pod, {"attempt": 1, "pod": pod.identity, "state": builders.run_state()}, "child")


def test_the_next_attempt_does_not_write_what_an_earlier_one_has_begun(cell: Cell) -> None:
    run, old, new = cell.run(), cell.pod("run-1"), cell.pod("run-2")
    old.client.create(child("run", run["metadata"]["uid"], cell.namespace))
    cell.write(old, {"attempt": 1, "pod": old.identity, "state": builders.run_state()}, "child")
    with pytest.raises(Refused, match=CLAIMED):
        cell.write(new, {"pod": new.identity, "state": builders.run_state("Completed", 2)}, "child")


@pytest.mark.parametrize("kind", ["FlowRun", "Backfill"])
def test_a_parameter_cannot_be_renamed(kind: str, cell: Cell) -> None:
    """The CRD's own rule misses this one change: the same number of keys, and no value that differs."""
    cell.admin.create(changed(good(kind, namespace=cell.namespace), {"spec.parameters": {"n": 1}}))
    with pytest.raises(Refused, match=r"spec\.parameters: parameters is immutable") as refusal:
        cell.admin.merge(kind, cell.namespace, "sample", {"spec": {"parameters": {"n": None, "m": 1}}})
    assert (refusal.value.code, refusal.value.reason) == (422, "Invalid")
    cell.admin.merge(kind, cell.namespace, "sample", {"spec": {"cancel": True}})


def test_a_run_holds_locks_and_leaves_other_leases_alone(cell: Cell) -> None:
    """Whoever could write any Lease could take another program's leadership."""
    pod = cell.pod("run-1")
    cell.admin.create(lease("leader", cell.namespace))
    pod.client.create(lease("penstock-lock-a", cell.namespace))
    pod.client.merge("Lease", cell.namespace, "penstock-lock-a", {"spec": {"holderIdentity": "me"}})
    pod.client.delete("Lease", cell.namespace, "penstock-lock-a")
    for write in (
        lambda: pod.client.create(lease("mine", cell.namespace)),
        lambda: pod.client.merge("Lease", cell.namespace, "leader", {"spec": {"holderIdentity": "me"}}),
        lambda: pod.client.delete("Lease", cell.namespace, "leader"),
    ):
        with pytest.raises(Refused, match="Leases of locks only") as refusal:
            write()
        assert refusal.value.code == 403


SECRET = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"infrastructure": "Pool"}, "its own subflows"),
        ({"workPool": "privileged"}, "does not choose the pool"),
        ({"task": {"entrypoint": "flow:load"}, "pod": {"env": SECRET}}, "no references to Secrets"),
        ({"pod": {"image": "registry.example/own:1"}}, "image of its own tasks only"),
        (
            {"task": {"entrypoint": "flow:load"}, "scheduledTime": "2026-01-01T00:00:00Z"},
            "own task has the code of the run, and starts at once",
        ),
        (
            {"retryOf": {"name": "other", "uid": "u"}, "infrastructure": "Pool"},
            "a run retries no other runs|its own subflows",
        ),
    ],
    ids=[
        "another flow in a pod of its own",
        "another pool",
        "a Secret in its environment",
        "an image of its own",
        "a task for when its parent is gone",
        "the results of another run",
    ],
)
def test_a_child_has_no_rights_that_its_parent_lacks(spec: Json, message: str, cell: Cell) -> None:
    """Or a run could read the Secrets of its namespace by what its children are given."""
    run, pod = cell.run(), cell.pod("run-1")
    with pytest.raises(Refused, match=message) as refusal:
        pod.client.create(child("run", run["metadata"]["uid"], cell.namespace, **spec))
    assert refusal.value.code == 403


def test_a_pod_does_not_take_over_the_results_of_another_run(cell: Cell) -> None:
    """Neither by a run that retries another, though of a deployment it may start, nor in its own status."""
    run, pod = cell.run(), cell.pod("run-1")
    body = child("run", run["metadata"]["uid"], cell.namespace, retryOf={"name": "other", "uid": "u"})
    del body["spec"]["flowRef"], body["spec"]["infrastructure"]
    body["spec"]["deploymentRef"] = {"name": "etl"}
    with pytest.raises(Refused, match="a run retries no other runs; a person does") as refusal:
        pod.client.create(body)
    assert refusal.value.code == 403
    cell.claim(pod)
    resolved = {**run["status"]["resolved"], "resultsOf": "other"} if "resolved" in run["status"] else None
    with pytest.raises(Refused, match="the operator's to write") as refusal:
        cell.write(pod, {"resolved": resolved or {**builders.resolved(), "resultsOf": "other"}})
    assert refusal.value.code == 403


def test_a_retry_is_of_a_whole_run_and_stays_it(cell: Cell) -> None:
    of = {"name": "other", "uid": "u"}
    body = child("run", "u", cell.namespace, retryOf=of)
    with pytest.raises(Refused, match="a whole run is retried, no task and no subflow"):
        cell.admin.create(body)
    del body["spec"]["infrastructure"], body["spec"]["parent"], body["metadata"]["ownerReferences"]
    cell.admin.create(body)
    with pytest.raises(Refused, match="retryOf is immutable"):
        cell.admin.merge("FlowRun", cell.namespace, "child", {"spec": {"retryOf": {"uid": "v"}}})


WORKER = "penstock-worker"
NOT_GIVEN = "it was not given to it"


def given(cell: Cell, worker: Pod, name: str = "run", **more: Any) -> Json:
    """A run that the operator has given to a worker, and that is not claimed."""
    cell.run(name)
    return cell.status(name, {"worker": {**worker.identity, "attempt": 1, **more}})


def stamped(body: Json, worker: Pod) -> Json:
    """What a worker's agent makes of an object that its run wants created."""
    return changed(body, {"metadata.annotations": {labels.WORKER_UID: worker.uid}})


def exited(**more: Any) -> Json:
    return {"worker": {"exited": {"attempt": 1, "exitCode": 1, "time": "2026-01-01T06:00:00Z", **more}}}


def test_a_worker_writes_the_run_that_was_given_to_it(cell: Cell) -> None:
    worker = cell.pod("pool-worker-abcde", WORKER)
    given(cell, worker)
    assert cell.claim(worker)["status"]["pod"] == worker.identity
    cell.write(worker, {"tasks": {"total": 1, "summary": "1/1"}})
    done = cell.write(worker, {"state": builders.run_state("Completed", 4), "result": {"inline": 42}})
    assert done["status"]["state"]["type"] == "Completed"


def test_no_worker_writes_the_run_of_another(cell: Cell) -> None:
    mine, other = cell.pod("pool-worker-aaaaa", WORKER), cell.pod("pool-worker-bbbbb", WORKER)
    given(cell, mine)
    for write in (lambda: cell.claim(other), lambda: cell.write(other, exited())):
        with pytest.raises(Refused, match=NOT_GIVEN) as refusal:
            write()
        assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")
    cell.claim(mine)
    with pytest.raises(Refused, match=NOT_GIVEN):
        cell.write(other, {"runCount": 2})


def test_a_worker_writes_no_run_of_a_pod_and_a_pod_none_of_a_worker(cell: Cell) -> None:
    worker, pod = cell.pod("run-1", WORKER), cell.pod("given-1")
    cell.run()
    with pytest.raises(Refused, match=NOT_GIVEN):
        cell.claim(worker)
    given(cell, worker, "given")
    with pytest.raises(Refused, match=NOT_GIVEN):
        cell.claim(pod, "given")


def test_the_next_attempt_is_another_workers(cell: Cell) -> None:
    first, second = cell.pod("pool-worker-aaaaa", WORKER), cell.pod("pool-worker-bbbbb", WORKER)
    given(cell, first)
    cell.claim(first)
    again = {"state": builders.run_state("Pending", 5), "attempt": 2, "worker": {**second.identity, "attempt": 2}}
    cell.status("run", {**again, "pod": None})
    with pytest.raises(Refused, match=NOT_GIVEN):
        cell.write(first, {"pod": first.identity, "state": builders.run_state("Running", 6)})
    assert cell.claim(second, attempt=2, seq=5)["status"]["pod"] == second.identity


def test_a_worker_says_how_a_process_ended_whether_or_not_it_had_claimed_its_run(cell: Cell) -> None:
    worker = cell.pod("pool-worker-aaaaa", WORKER)
    given(cell, worker)
    assert cell.write(worker, exited())["status"]["worker"]["exited"]["exitCode"] == 1
    with pytest.raises(Refused, match="a pod claims a run for itself"):
        cell.write(worker, {"state": builders.run_state("Running", 3)})


@pytest.mark.parametrize(
    "change", [{"env": [{"name": "A", "value": "1"}]}, {"end": True}, {"name": "other"}], ids=lambda c: next(iter(c))
)
def test_what_it_was_given_a_worker_does_not_change(change: Json, cell: Cell) -> None:
    worker = cell.pod("pool-worker-aaaaa", WORKER)
    given(cell, worker)
    cell.claim(worker)
    with pytest.raises(Refused, match=r"a worker writes exited only|an attempt stays with its worker"):
        cell.write(worker, {"worker": change})
    with pytest.raises(Refused, match=r"a worker writes exited only"):
        cell.write(worker, {"worker": None})
    with pytest.raises(Refused, match="the operator's to write"):
        cell.write(worker, {"infraRetries": 1})


def test_what_a_worker_makes_for_its_runs_bears_its_uid_and_is_no_other_workers(cell: Cell) -> None:
    mine, other = cell.pod("pool-worker-aaaaa", WORKER), cell.pod("pool-worker-bbbbb", WORKER)
    run = given(cell, mine)
    uid = run["metadata"]["uid"]
    made = {
        "cannot write pages": page(run, cell.namespace),
        "cannot make this run": child("run", uid, cell.namespace),
        "spec.run must name": artifact(run, cell.namespace),
    }
    for message, body in made.items():
        for unfit in (body, stamped(body, other)):
            with pytest.raises(Refused, match=message) as refusal:
                mine.client.create(unfit)
            assert refusal.value.code == 403
        mine.client.create(stamped(body, mine))
    name = page(run, cell.namespace)["metadata"]["name"]
    mine.client.merge("TaskRunPage", cell.namespace, name, {"data": "eJwE"})
    with pytest.raises(Refused, match="cannot write pages"):
        other.client.merge("TaskRunPage", cell.namespace, name, {"data": "eJwF"})
    claim = {"attempt": 1, "state": builders.run_state("Running", 1), "history": []}
    with pytest.raises(Refused, match=NOT_GIVEN):
        cell.write(other, {**claim, "pod": other.identity}, "child")
    cell.write(mine, {**claim, "pod": mine.identity}, "child")
    cell.write(mine, {"state": builders.run_state("Completed", 2)}, "child")


def artifact(run: Json, namespace: str) -> Json:
    """An artifact without a key, as its runner makes it."""
    identity = {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
    owner = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", **identity}
    body = good("Artifact", f"{identity['name']}-abcde", namespace)
    return changed(body, {"spec.key": builders.GONE, "spec.run": identity, "metadata.ownerReferences": [owner]})


def test_a_worker_renews_its_own_lease_and_holds_locks(cell: Cell) -> None:
    worker, name = cell.pod("pool-worker-aaaaa", WORKER), "penstock-worker-pool-worker-aaaaa"
    cell.admin.create(lease("penstock-worker-pool-worker-bbbbb", cell.namespace))
    mine = changed(lease(name, cell.namespace), {"spec.holderIdentity": worker.uid})
    worker.client.create(mine)
    worker.client.merge("Lease", cell.namespace, name, {"metadata": {"annotations": {labels.DRAIN: "true"}}})
    worker.client.create(lease("penstock-lock-a", cell.namespace))
    theirs = {"spec": {"holderIdentity": worker.uid}}
    for write in (
        lambda: worker.client.merge("Lease", cell.namespace, name, {"spec": {"holderIdentity": "another"}}),
        lambda: worker.client.merge("Lease", cell.namespace, "penstock-worker-pool-worker-bbbbb", theirs),
        lambda: worker.client.create(lease("leader", cell.namespace)),
    ):
        with pytest.raises(Refused, match="Leases of locks only"):
            write()
    worker.client.delete("Lease", cell.namespace, name)


def test_a_runs_pod_makes_no_worker(cell: Cell) -> None:
    pod = cell.pod("run-1")
    with pytest.raises(Refused, match="Leases of locks only"):
        pod.client.create(changed(lease("penstock-worker-run-1", cell.namespace), {"spec.holderIdentity": pod.uid}))


def test_the_operator_writes_the_leases_of_workers_and_leaves_others_alone(cell: Cell) -> None:
    operator = cell.pod("another-operator", "penstock-operator", SYSTEM)
    for name in ("penstock-worker-w", "leader"):
        cell.admin.create(lease(name, cell.namespace))
    drain = {"metadata": {"annotations": {labels.DRAIN: "true"}}}
    operator.client.merge("Lease", cell.namespace, "penstock-worker-w", drain)
    operator.client.delete("Lease", cell.namespace, "penstock-worker-w")
    for write in (
        lambda: operator.client.merge("Lease", cell.namespace, "leader", drain),
        lambda: operator.client.delete("Lease", cell.namespace, "leader"),
    ):
        with pytest.raises(Refused, match="its own Lease and those of workers") as refusal:
            write()
        assert refusal.value.code == 403
