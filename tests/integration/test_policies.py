"""The chart's admission policies on a real API server: a pod's token writes the run that the pod was made for only."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from api_client import Refused
from builders import changed, good
from cells import CLAIMED, NOT_ITS_POD, SYSTEM, Cell, lease, page, rendered

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
            {"retryOf": {"name": "other", "uid": "u"}, "infrastructure": "Pool"},
            "a run retries no other runs|its own subflows",
        ),
    ],
    ids=[
        "another flow in a pod of its own",
        "another pool",
        "a Secret in its environment",
        "an image of its own",
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
