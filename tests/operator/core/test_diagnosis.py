"""Each way in which a pod does not start or ends becomes one reason, and a message that helps."""

from __future__ import annotations

from typing import Any

import pytest

from builders import held, run_job, run_pod
from penstock.api import labels, reasons
from penstock_operator.core import diagnosis
from penstock_operator.core.diagnosis import Diagnosis
from penstock_operator.core.views import JobView, PodView

Json = dict[str, Any]


def waiting(reason: str, message: str = "said so") -> Json:
    return run_pod("Pending", container={"waiting": {"reason": reason, "message": message}})


def terminated(code: int, reason: str = "Error", message: str = "", **more: Any) -> Json:
    return run_pod("Failed", container={"terminated": {"exitCode": code, "reason": reason, "message": message}}, **more)


def scheduled(status: bool, message: str = "0/3 nodes are available: 3 Insufficient cpu.") -> Json:
    return held("PodScheduled", status, "Unschedulable", message)


def disrupted(reason: str, status: bool = True) -> Json:
    return held("DisruptionTarget", status, reason, "said so")


def stopped(why: str = "WorkloadEvictedDueToPreempted", *, by_kueue: bool = True) -> Json:
    """A pod that Kueue has marked before it deleted it; or whose condition of that name is of somebody unknown."""
    told = held("TerminationTarget", True, why, "said so")
    pod = terminated(143, conditions=[told])
    if by_kueue:
        pod["metadata"]["labels"][labels.KUEUE_QUEUE] = "team-a"
    return pod


STARTING = [
    *(
        pytest.param(waiting(word), reasons.IMAGE_PULL_FAILED, ("registry.example/flows:1", word, "said so"), id=word)
        for word in sorted(diagnosis.PULL_REASONS)
    ),
    *(
        pytest.param(waiting(word), reasons.START_FAILED, (word, "said so. Check", "command"), id=word)
        for word in sorted(diagnosis.START_REASONS)
    ),
    *(
        pytest.param(waiting(word), reasons.CONTAINER_CONFIG_ERROR, (word, "said so", "Secrets"), id=word)
        for word in sorted(diagnosis.CONFIG_REASONS)
    ),
    pytest.param(
        run_pod("Pending", conditions=[scheduled(False)]),
        reasons.UNSCHEDULABLE,
        ("Insufficient cpu", "nodeSelector"),
        id="no node takes it",
    ),
    pytest.param(
        run_pod("Pending", conditions=[scheduled(False, "")]),
        reasons.UNSCHEDULABLE,
        ("no node can take the pod: Unschedulable",),
        id="no node takes it, and the scheduler says nothing of why",
    ),
    pytest.param(
        run_pod(
            "Pending",
            initContainerStatuses=[{"name": "prepare", "image": "x", "state": {"waiting": {"reason": "ErrImagePull"}}}],
            container={"waiting": {"reason": "PodInitializing"}},
        ),
        reasons.IMAGE_PULL_FAILED,
        ("image x cannot be pulled (ErrImagePull):",),
        id="an init container of the template",
    ),
    pytest.param(
        run_pod("Unknown", container={"waiting": {"reason": "ErrImagePull"}}),
        reasons.IMAGE_PULL_FAILED,
        (),
        id="phase Unknown",
    ),
]


def test_an_init_container_that_failed_is_named() -> None:
    ended = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no such bucket"}}
    statuses = [{"name": "ok", "state": {"terminated": {"exitCode": 0}}}, {"name": "fetch", "state": ended}]
    found = diagnosis.ended(PodView(run_pod("Failed", container={"waiting": {}}, initContainerStatuses=statuses)))
    assert (found.reason, found.exit_code) == (reasons.INIT_FAILED, 3)
    assert "init container fetch" in found.message
    assert "no such bucket" in found.message


@pytest.mark.parametrize(("pod", "reason", "said"), STARTING)
def test_why_a_pod_does_not_start(pod: Json, reason: str, said: tuple[str, ...]) -> None:
    found = diagnosis.starting(PodView(pod))
    assert found is not None
    assert found.reason == reason
    for part in said:
        assert part in found.message


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(run_pod("Pending"), id="the kubelet has said nothing"),
        pytest.param(run_pod("Pending", conditions=[scheduled(True)]), id="scheduled"),
        pytest.param(waiting("ContainerCreating"), id="container creating"),
        pytest.param(waiting("PodInitializing"), id="init containers run"),
        pytest.param(run_pod("Pending", container={"running": {}}), id="container started"),
        pytest.param(run_pod("Pending", container={}), id="container without a state"),
        pytest.param(run_pod("Running", container={"waiting": {"reason": "ImagePullBackOff"}}), id="running"),
        pytest.param(run_pod("Failed", container={"waiting": {"reason": "ImagePullBackOff"}}), id="over"),
    ],
)
def test_nothing_is_said_while_nothing_is_wrong(pod: Json) -> None:
    assert diagnosis.starting(PodView(pod)) is None


ENDED = [
    pytest.param(terminated(1), reasons.EXITED, 1, ("exit code 1 before", "logs"), id="exit code 1"),
    pytest.param(terminated(0, "Completed"), reasons.EXITED, 0, ("exit code 0",), id="exit code 0 without an end"),
    pytest.param(terminated(137), reasons.EXITED, 137, ("exit code 137 (SIGKILL)",), id="killed by a signal"),
    pytest.param(terminated(143), reasons.EXITED, 143, ("SIGTERM",), id="terminated by a signal"),
    pytest.param(terminated(128 + 100), reasons.EXITED, 228, ("exit code 228 before",), id="no such signal"),
    pytest.param(terminated(2, message="\nlast words\n"), reasons.EXITED, 2, ("It said last: last words",), id="words"),
    pytest.param(
        terminated(137, "OOMKilled"), reasons.OOM_KILLED, 137, ("than its limit and",), id="out of memory, no limit"
    ),
    pytest.param(
        terminated(137, "OOMKilled", spec={"resources": {"limits": {"memory": "1Gi"}}}),
        reasons.OOM_KILLED,
        137,
        ("limit of 1Gi", "pod.resources.limits.memory"),
        id="out of memory",
    ),
    *(
        pytest.param(
            terminated(128, word, "exec: no such file"), reasons.START_FAILED, 128, (word, "exec: no"), id=word
        )
        for word in sorted(diagnosis.START_REASONS)
    ),
    pytest.param(
        run_pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        reasons.EVICTED,
        None,
        ("low on resource: memory",),
        id="evicted by an older kubelet, which sets no condition",
    ),
    pytest.param(
        terminated(137, conditions=[disrupted("TerminationByKubelet")]),
        reasons.EVICTED,
        None,
        ("TerminationByKubelet", "said so"),
        id="evicted by the kubelet",
    ),
    pytest.param(
        terminated(143, conditions=[disrupted("EvictionByEvictionAPI")]),
        reasons.EVICTED,
        None,
        ("EvictionByEvictionAPI",),
        id="drained",
    ),
    pytest.param(
        terminated(143, conditions=[disrupted("PreemptionByScheduler")]),
        reasons.PREEMPTED,
        None,
        ("higher priority", "said so"),
        id="preempted",
    ),
    pytest.param(
        stopped(),
        reasons.PREEMPTED,
        None,
        ("Kueue (LocalQueue team-a) ended the pod", "WorkloadEvictedDueToPreempted", "said so"),
        id="stopped by Kueue",
    ),
    pytest.param(stopped(by_kueue=False), reasons.EXITED, 143, (), id="marked by whoever"),
    *(
        pytest.param(stopped(why), reasons.EXITED, 143, (), id=f"given up by Kueue: {why}")
        for why in ("WorkloadDeleted", "WorkloadEvictedDueToDeactivated", "WorkloadEvictedDueToPodsReadyTimeout")
    ),
    pytest.param(
        run_pod("Failed", conditions=[disrupted("DeletionByTaintManager")]),
        reasons.NODE_LOST,
        None,
        ("node-1", "DeletionByTaintManager"),
        id="node tainted",
    ),
    pytest.param(
        run_pod("Failed", conditions=[disrupted("DeletionByPodGC")]), reasons.NODE_LOST, None, ("node-1",), id="pod gc"
    ),
    pytest.param(run_pod("Failed", reason="NodeLost"), reasons.NODE_LOST, None, ("node node-1",), id="node lost"),
    pytest.param(
        terminated(1, conditions=[disrupted("EvictionByEvictionAPI", status=False)]),
        reasons.EXITED,
        1,
        (),
        id="a disruption that did not come",
    ),
    pytest.param(
        run_pod("Failed", reason="DeadlineExceeded", message="Pod was active for longer than the deadline"),
        reasons.POD_FAILED,
        None,
        ("active for longer",),
        id="a reason of which nothing is known",
    ),
    pytest.param(run_pod("Failed", reason="Shutdown"), reasons.POD_FAILED, None, ("Shutdown",), id="no message"),
    pytest.param(run_pod("Failed"), reasons.POD_FAILED, None, ("the pod ended: Failed",), id="nothing but a phase"),
]


@pytest.mark.parametrize(("pod", "reason", "code", "said"), ENDED)
def test_how_a_pod_ended(pod: Json, reason: str, code: int | None, said: tuple[str, ...]) -> None:
    found = diagnosis.ended(PodView(pod))
    assert (found.reason, found.exit_code) == (reason, code)
    for part in said:
        assert part in found.message


def test_last_words_are_cut_to_their_end() -> None:
    found = diagnosis.ended(PodView(terminated(1, message="x" * 1000 + "the end")))
    assert found.message.endswith("the end")
    assert len(found.message) < 500


def test_an_exit_without_a_claim_points_to_the_image_and_the_api_server() -> None:
    found = diagnosis.never_claimed(Diagnosis(reasons.EXITED, "It said last: no module.", 1))
    assert (found.reason, found.exit_code) == (reasons.NEVER_CLAIMED, 1)
    assert "python3 -m penstock.runner" in found.message
    assert found.message.endswith("It said last: no module.")


def test_any_other_end_without_a_claim_is_told_as_it_is() -> None:
    oom = Diagnosis(reasons.OOM_KILLED, "killed", 137)
    assert diagnosis.never_claimed(oom) is oom


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        pytest.param(
            held("Failed", True, "BackoffLimitExceeded", "Job has reached the specified backoff limit"),
            "Job etl-1-1 failed (BackoffLimitExceeded): Job has reached the specified backoff limit",
            id="failed",
        ),
        pytest.param(held("Failed", True, "X"), "Job etl-1-1 failed (X): no message", id="failed without a word"),
        pytest.param(
            held("Complete", True, ""),
            "Job etl-1-1 ended before the run had an end, and its pod is deleted",
            id="complete",
        ),
    ],
)
def test_a_job_without_a_pod_tells_what_it_knows(condition: Json, message: str) -> None:
    assert diagnosis.job_ended(JobView(run_job(condition))) == Diagnosis(reasons.JOB_FAILED, message)
