"""An operator may be killed at any write: the one that is started next brings every run to the same end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from crash_points import WRITE_FAULTS, Acts, Fault, Killed, same_at_any_write
from memory_cluster import Write
from penstock_operator.cluster import ApiError, Forbidden, Invalid
from run_stage import Stage

Json = dict[str, Any]
Act = Callable[[Stage], bool]

STEPS = 60


def kubelet(stage: Stage, *, code: int = 0, reason: str = "", attempts: int = 99) -> bool:
    """Pods start, claim their run, and end; of the first `attempts` with that code, of the others as they should."""
    for pod in stage.cluster.kinds("Pod"):
        name, phase = pod["metadata"]["name"], pod["status"]["phase"]
        status, attempt = stage.run(), int(pod["metadata"]["labels"]["penstock.dev/attempt"])
        if phase == "Pending":
            stage.start_pod(name)
            return True
        if phase == "Running" and pod["metadata"].get("deletionTimestamp"):
            stage.remove("Pod", name)
            return True
        if phase == "Running" and status["state"]["type"] == "Pending":
            stage.claim(name)
            return True
        if phase == "Running" and status["state"]["type"] == "Running":
            failing = code if attempt <= attempts else 0
            if not failing:
                stage.enter("Completed", "Completed", result={"inline": 1})
            stage.end_pod(name, failing, reason if failing else "")
            return True
    return False


def job_controller(stage: Stage) -> bool:
    """Jobs make one pod, and end when it has."""
    pods = {pod["metadata"]["ownerReferences"][0]["uid"]: pod for pod in stage.cluster.kinds("Pod")}
    for job in stage.cluster.kinds("Job"):
        name, pod = job["metadata"]["name"], pods.get(job["metadata"]["uid"])
        if pod is None:
            stage.make_pod_of_job(name)
            return True
        if pod["status"]["phase"] in ("Succeeded", "Failed") and not job.get("status"):
            failed = pod["status"]["phase"] == "Failed"
            stage.end_job(name, "Failed" if failed else "Complete", reason="BackoffLimitExceeded" if failed else "")
            return True
    return False


def jobs(stage: Stage) -> bool:
    return job_controller(stage) or kubelet(stage)


def cancelled_while_running(stage: Stage) -> bool:
    """The user cancels what runs."""
    spec = (stage.get("FlowRun", "run") or {})["spec"]
    if stage.run()["state"]["type"] == "Running" and not spec.get("cancel"):
        stage.edit("FlowRun", "run", cancel=True)
        return True
    return job_controller(stage) or kubelet(stage)


def no_image(stage: Stage) -> bool:
    """The image cannot be pulled."""
    for pod in stage.cluster.kinds("Pod"):
        if not pod["status"].get("containerStatuses"):
            stage.hold_pod(pod["metadata"]["name"])
            return True
    return False


def vanishing_pod(stage: Stage) -> bool:
    """Somebody deletes the pod of a run under way."""
    if stage.run()["state"]["type"] == "Running" and stage.names("Pod"):
        stage.remove("Pod", "run-1")
        return True
    return kubelet(stage)


def beside_a_proxy(claims: bool, code: int = 137, reason: str = "OOMKilled") -> Act:
    """User code ends, and a second container of its first pod goes on until that is deleted."""

    def act(stage: Stage) -> bool:
        if stage.names("Job"):
            jobs_ = [job for job in stage.cluster.kinds("Job") if not job["metadata"].get("deletionTimestamp")]
            made = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in stage.cluster.kinds("Pod")}
            if any(job["metadata"]["uid"] not in made for job in jobs_):
                return job_controller(stage)
        for pod in stage.cluster.kinds("Pod"):
            meta, status = pod["metadata"], pod["status"]
            if meta.get("deletionTimestamp"):
                stage.remove("Pod", meta["name"])
                return True
            if meta["labels"]["penstock.dev/attempt"] != "1" or status["phase"] == "Pending":
                continue
            if claims and stage.run()["state"]["type"] == "Pending":
                stage.claim(meta["name"])
                return True
            if len(status["containerStatuses"]) == 1:
                stage.end_flow(meta["name"], code, reason)
                return True
            return False
        return kubelet(stage)

    return act


def lingering_pod(stage: Stage) -> bool:
    """The runner has reported its end, and the process stays until it is deleted."""
    status, pod = stage.run(), stage.get("Pod", "run-1")
    if pod and status["state"]["type"] == "Running":
        stage.enter("Completed", "Completed")
        return True
    if status["state"]["type"] == "Completed" and not (pod and pod["metadata"].get("deletionTimestamp")):
        return False
    return kubelet(stage)


def hanging(stage: Stage) -> bool:
    """User code never returns, but to a signal."""
    pod = stage.get("Pod", "run-1")
    ending = pod and pod["metadata"].get("deletionTimestamp")
    return kubelet(stage) if ending or stage.run()["state"]["type"] != "Running" else False


def lost_node(stage: Stage) -> bool:
    """The Node of the first attempt is deleted, and its pod with it a little later."""
    pod = stage.get("Pod", "run-1")
    if pod and stage.run()["state"]["type"] == "Running" and stage.run()["attempt"] == 1:
        if stage.lost_nodes:
            return False
        stage.lost_nodes.add("node-1")
        return True
    if pod and stage.lost_nodes:
        stage.remove("Pod", "run-1")
        stage.lost_nodes.clear()
        stage.cache.put("Node", {"metadata": {"name": "node-1", "resourceVersion": "1"}})
        return True
    return kubelet(stage)


def late_deployment(stage: Stage) -> bool:
    """The deployment is applied after its run."""
    if stage.run()["state"]["type"] == "Scheduled" and not stage.names("FlowDeployment"):
        stage.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}, "parameters": {"n": 1}})
        return True
    return kubelet(stage)


def quota(stage: Stage) -> Callable[[Write], None]:
    """No pod for the first 25 seconds."""
    start = stage.clock()

    def before(write: Write) -> None:
        if write.kind == "Pod" and write.verb == "create" and (stage.clock() - start).total_seconds() < 25:
            raise Forbidden(403, "Forbidden", "exceeded quota")

    return before


def invalid_pods(_: Stage) -> Callable[[Write], None]:
    def before(write: Write) -> None:
        if write.kind == "Pod" and write.verb == "create":
            raise Invalid(422, "Invalid", "spec.containers: Required value")

    return before


@dataclass(frozen=True)
class Life:
    """A run, what everyone else does while it lasts, and how it ends."""

    end: tuple[str, str]
    act: Act = kubelet
    attempts: int = 1
    stage: Json = field(default_factory=dict)
    run: Json = field(default_factory=dict)
    without: str | None = None
    server: Callable[[Stage], Callable[[Write], None]] = lambda _: lambda _: None


RETRIED = {"deployment": {"infraRetries": {"limit": 1, "backoffSeconds": 20}}}

LIVES = {
    "it completes in a Pod": Life(("Completed", "Completed")),
    "it completes in a Job": Life(("Completed", "Completed"), jobs, stage={"pool_type": "Job"}),
    "its first attempt is OOM-killed, its second completes": Life(
        ("Completed", "Completed"),
        lambda stage: kubelet(stage, code=137, reason="OOMKilled", attempts=1),
        attempts=2,
        stage=RETRIED,
    ),
    "its retries are spent": Life(
        ("Crashed", "ContainerExited"), lambda stage: kubelet(stage, code=1), attempts=2, stage=RETRIED
    ),
    "its first Job fails": Life(
        ("Completed", "Completed"),
        lambda stage: job_controller(stage) or kubelet(stage, code=1, attempts=1),
        attempts=2,
        stage={"pool_type": "Job", **RETRIED},
    ),
    "it is cancelled while it runs in a Pod": Life(("Cancelled", "CancelRequested"), cancelled_while_running),
    "it is cancelled while it runs in a Job": Life(
        ("Cancelled", "CancelRequested"), cancelled_while_running, stage={"pool_type": "Job"}
    ),
    "it is cancelled before anybody looked": Life(("Cancelled", "CancelRequested"), attempts=0, run={"cancel": True}),
    "its image cannot be pulled": Life(("Crashed", "ImagePullFailed"), no_image),
    "its pod is deleted": Life(("Crashed", "PodDeleted"), vanishing_pod),
    "its container is killed beside another": Life(("Crashed", "OOMKilled"), beside_a_proxy(True)),
    "its container ends beside another before it claimed": Life(
        ("Crashed", "NeverClaimed"), beside_a_proxy(False, 3, "Error")
    ),
    "the container of its Job's pod is killed beside another": Life(
        ("Crashed", "OOMKilled"), beside_a_proxy(True), stage={"pool_type": "Job"}
    ),
    "its container is killed beside another, and another attempt completes": Life(
        ("Completed", "Completed"), beside_a_proxy(True), attempts=2, stage=RETRIED
    ),
    "its pod lingers": Life(("Completed", "Completed"), lingering_pod),
    "its deployment comes late": Life(("Completed", "Completed"), late_deployment, without="FlowDeployment"),
    "its parameters do not fit": Life(("Failed", "InvalidParameters"), attempts=0, run={"parameters": {"n": "x"}}),
    "its pod is over quota for a while": Life(("Completed", "Completed"), server=quota),
    "its pod is invalid": Life(("Crashed", "PodInvalid"), server=invalid_pods),
    "it is active for too long": Life(
        ("Failed", "ActiveDeadlineExceeded"), hanging, stage={"deployment": {"activeDeadlineSeconds": 60}}
    ),
    "its node is lost": Life(("Crashed", "NodeLost"), lost_node),
    "its node is lost, and another takes it": Life(("Completed", "Completed"), lost_node, attempts=2, stage=RETRIED),
    "the run that waits for it is gone": Life(
        ("Cancelled", "CancelRequested"), attempts=0, run={"parent": {"name": "gone", "uid": "0b8c", "awaited": True}}
    ),
    "it was in the process of a run that is gone": Life(
        ("Crashed", "ParentEnded"),
        attempts=0,
        run={"parent": {"name": "gone", "uid": "0b8c"}, "infrastructure": "Parent"},
    ),
    "it is due later": Life(("Completed", "Completed"), run={"scheduledTime": "2026-01-01T06:10:00Z"}),
}


def play(life: Life, disturb: Callable[[Acts], None] = lambda _: None) -> Stage:
    """Have a run live until it is settled."""
    stage = Stage(**life.stage)
    if life.without:
        stage.remove(life.without, "etl")
    stage.submit(**life.run)
    stage.before = life.server(stage)
    disturb(stage)
    for _ in range(STEPS):
        known = len(stage.writes)
        try:
            again = stage.reconcile()
        except Killed:
            stage.restart()
            continue
        except ApiError:
            continue
        if stage.run().get("settled"):
            return stage
        if len(stage.writes) > known or life.act(stage):
            continue
        assert again is not None, f"nobody looks at the run again: {stage.run()}"
        assert again.at is not None, f"the run waits for {again.waits_for}"
        stage.clock.now = max(stage.clock(), again.at)
    raise AssertionError(f"the run is not settled after {STEPS} steps: {stage.run()}")


def left(stage: Stage) -> list[Json]:
    """All that a life leaves behind: every object but for its version, and every Event."""
    objects = [
        {**body, "metadata": {**body["metadata"], "resourceVersion": ""}} for body in stage.cluster.objects.values()
    ]
    return [*objects, {"events": stage.events.posted}]


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_life_ends_as_it_should(life: Life) -> None:
    stage = play(life)
    assert stage.state() == life.end
    assert stage.run()["attempt"] == life.attempts
    history = stage.run()["history"]
    assert [entry["seq"] for entry in history] == list(range(1, len(history) + 1))
    assert [seq for _, seq in stage.events.posted] == [entry["seq"] for entry in history]
    alive = [pod for pod in stage.cluster.kinds("Pod") if pod["status"]["phase"] not in ("Succeeded", "Failed")]
    assert [pod for pod in alive if pod["spec"]["nodeName"] not in stage.lost_nodes] == []


def test_every_kind_of_write_is_among_those_that_are_disturbed() -> None:
    """What the reconciler of runs writes at all, by the verbs of its module."""
    written = {(write.verb, write.kind) for life in LIVES.values() for write in play(life).writes}
    assert written == {
        ("create", "ConfigMap"),
        ("create", "ControllerRevision"),
        ("create", "Pod"),
        ("create", "Job"),
        ("patch", "FlowRun"),
        ("delete", "Pod"),
        ("delete", "Job"),
    }


@pytest.mark.parametrize("fault", WRITE_FAULTS)
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_fault_at_any_write_leaves_the_same_behind(life: Life, fault: Fault) -> None:
    def live(disturb: Callable[[Acts], None]) -> tuple[list[Json], list[Write]]:
        stage = play(life, disturb)
        return left(stage), stage.writes

    same_at_any_write(live, fault)
