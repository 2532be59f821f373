"""Why a pod does not start, and how it ended: facts of the kubelet and scheduler turned into a reason and a remedy."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.api import labels, reasons

from .views import Body, JobView, PodView

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
START_REASONS = frozenset({"RunContainerError", "StartError", "ContainerCannotRun", "CreateContainerError"})
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "PreCreateHookError", "PostStartHookError"})
PROCESS_REASONS = frozenset({reasons.START_FAILED, reasons.INVALID_CODE, reasons.WORKER_STOPPED, reasons.WORKER_LOST})
"""What a worker may say of a process that ended, beside that memory ran out."""
_KUEUE_STOPS = "TerminationTarget"  # Kueue's condition of a pod that it is about to delete
_KUEUE_TAKES = frozenset(  # and its reasons where it takes the place; there are others, by which the pod is given up
    f"WorkloadEvictedDueTo{why}"
    for why in ("Preempted", "AdmissionCheck", "ClusterQueueStopped", "LocalQueueStopped", "NodeFailures")
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause: machine-readable, for people, and the exit code where there is one."""

    reason: str
    message: str
    exit_code: int | None = None


def starting(pod: PodView) -> Diagnosis | None:
    """Why a pod that is not running yet is not; None while nothing is wrong."""
    if pod.phase not in ("Pending", "Unknown"):
        return None
    statuses: list[Body] = [
        *(pod.status.get("initContainerStatuses") or []),
        *(pod.status.get("containerStatuses") or []),
    ]
    for status in statuses:
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, said = waiting.get("reason") or "", _sentence(waiting.get("message"))
        if reason in PULL_REASONS:
            return Diagnosis(
                reasons.IMAGE_PULL_FAILED,
                f"image {status.get('image')} cannot be pulled ({reason}): {said} Check its name and tag, that the "
                "registry can be reached from the node, and the pool's imagePullSecrets.",
            )
        if reason in START_REASONS:
            return Diagnosis(
                reasons.START_FAILED,
                f"container {status['name']} cannot be started ({reason}): {said} Check the command in the pool's "
                "template and that the image has it.",
            )
        if reason in CONFIG_REASONS:
            return Diagnosis(
                reasons.CONTAINER_CONFIG_ERROR,
                f"container {status['name']} cannot be created ({reason}): {said} Check the Secrets and ConfigMaps "
                "that its environment and volumes name.",
            )
    for condition in pod.status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and not pod.gates:
            return Diagnosis(
                reasons.UNSCHEDULABLE,
                f"no node can take the pod: {_sentence(condition.get('message') or condition.get('reason'))} "
                "Lower its requests, correct nodeSelector or tolerations, or add nodes.",
            )
    return None


def restarting(pod: PodView) -> Diagnosis | None:
    """The container of a pod that goes on whose process ends again and again; None where all of them run."""
    statuses: list[Body] = pod.status.get("containerStatuses") or []
    for status in statuses:
        waiting = (status.get("state") or {}).get("waiting") or {}
        last = (status.get("lastState") or {}).get("terminated") or {}
        if waiting and last:
            said = _tail((last.get("message") or "").strip())
            message = (
                f"container {status['name']} ended with {_exit(last.get('exitCode') or 0)} and is started again.{said}"
            )
            return Diagnosis(reasons.EXITED, message, last.get("exitCode"))
    return None


def withheld(pods: Iterable[PodView], job: JobView | None) -> Diagnosis | None:
    """Who decides when the attempt may start, where it is not the scheduler; None where nobody keeps it back."""
    if job is not None and job.suspended:
        if job.kueue:
            message = f"Job {job.name} is suspended until Kueue admits it (LocalQueue {job.kueue})"
            return Diagnosis(reasons.AWAITING_KUEUE, message)
        return Diagnosis(
            reasons.JOB_SUSPENDED, f"Job {job.name} is suspended; it starts when its spec.suspend is unset"
        )
    for pod in pods:
        if pod.gates and not pod.node:
            gates = ", ".join(pod.gates)
            if any(gate.startswith(labels.KUEUE) for gate in pod.gates):
                message = f"Pod {pod.name} is gated until Kueue admits it (LocalQueue {pod.kueue})"
                return Diagnosis(reasons.AWAITING_KUEUE, message)
            message = f"Pod {pod.name} has scheduling gates ({gates}); it starts when whoever set them takes them away"
            return Diagnosis(reasons.SCHEDULING_GATED, message)
    return None


def _sentence(said: object) -> str:
    """Kubernetes' own words, so that a remedy can follow them."""
    text = str(said or "").strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def ended(pod: PodView) -> Diagnosis:
    """How a pod that is over ended, for a run that did not report its own end."""
    status = pod.container()
    terminated = (status.get("state") or {}).get("terminated") or {}
    code, why = terminated.get("exitCode"), terminated.get("reason") or ""
    said = (terminated.get("message") or "").strip()
    disruption = disrupted(pod)
    if disruption is not None:
        return _disrupted(disruption, pod)
    if pod.status.get("reason") == "Evicted":
        return Diagnosis(
            reasons.EVICTED,
            f"the kubelet evicted the pod: {_sentence(pod.status.get('message'))} Raise its requests for what ran out.",
        )
    if pod.status.get("reason") == "NodeLost":
        return Diagnosis(reasons.NODE_LOST, f"node {pod.node} was lost")
    if why == "OOMKilled":
        limit = _limit(pod)
        return Diagnosis(
            reasons.OOM_KILLED,
            f"the container used more memory than its limit{f' of {limit}' if limit else ''} and was killed. "
            "Raise pod.resources.limits.memory of the deployment, or use less.",
            code,
        )
    if why in START_REASONS:
        return Diagnosis(
            reasons.START_FAILED,
            f"the container cannot be started ({why}): {said} Check the command in the pool's template and that the "
            "image has it.",
            code,
        )
    if code is None:
        init = _init_failure(pod)
        if init is not None:
            return init
        return Diagnosis(
            reasons.POD_FAILED, f"the pod ended: {pod.status.get('message') or pod.status.get('reason') or pod.phase}"
        )
    return Diagnosis(
        reasons.EXITED, f"the container ended with {_exit(code)} before the run had an end.{_tail(said)}", code
    )


def worker_pod_ended(pod: PodView) -> Diagnosis:
    """Why a worker is lost whose pod is over, or is deleted and was last seen so."""
    how = ended(pod) if pod.gone or disrupted(pod) is not None else None
    if how is not None and how.reason in (reasons.EVICTED, reasons.PREEMPTED, reasons.NODE_LOST):
        return how
    what = how.message if how else "its pod was deleted"
    return Diagnosis(reasons.WORKER_LOST, f"worker {pod.name} is gone: {what}")


def process_ended(worker: str, exited: Body, *, claimed: bool) -> Diagnosis:
    """How a process in a warm worker ended, as the worker says, for a run that did not report its own end."""
    code, reason = exited.get("exitCode"), exited.get("reason") or ""
    said = _sentence(exited.get("message"))
    how = f"with {_exit(code)}" if code is not None else "before it could be started"
    if reason == reasons.OOM_KILLED:
        message = f"the process in worker {worker} ended {how}, since memory ran out. {said}"
        remedy = " Raise resources.limits.memory in the pool's template, lower worker.concurrency, or use less."
        return Diagnosis(reason, message.rstrip() + remedy, code)
    if reason in PROCESS_REASONS:
        return Diagnosis(reason, f"the process in worker {worker} ended {how}. {said}".rstrip(), code)
    if not claimed:
        message = f"the process in worker {worker} ended {how}, and did not claim the run. {said}"
        return Diagnosis(reasons.NEVER_CLAIMED, message.rstrip(), code)
    message = f"the process in worker {worker} ended {how}, before the run had an end. {said}"
    return Diagnosis(reasons.EXITED, message.rstrip() + " See the run's logs.", code)


def disrupted(pod: PodView) -> Body | None:
    """The condition that says that the cluster, or Kueue, took the pod's place, before it was deleted for that."""
    conditions = [c for c in pod.status.get("conditions") or [] if c["status"] == "True"]
    taken = (c for c in conditions if pod.kueue and c["type"] == _KUEUE_STOPS and c.get("reason") in _KUEUE_TAKES)
    return next(taken, None) or next((c for c in conditions if c["type"] == "DisruptionTarget"), None)


def _init_failure(pod: PodView) -> Diagnosis | None:
    """The init container that kept the others from starting."""
    for status in pod.status.get("initContainerStatuses") or []:
        terminated = (status.get("state") or {}).get("terminated") or {}
        code = terminated.get("exitCode")
        if code:
            said = _tail((terminated.get("message") or "").strip())
            message = f"init container {status['name']} of the pool's template ended with {_exit(code)}.{said}"
            return Diagnosis(reasons.INIT_FAILED, message, code)
    return None


def job_ended(job: JobView) -> Diagnosis:
    """How a Job ended that has no pod left to tell."""
    failure = job.failure
    if failure is None:
        return Diagnosis(reasons.JOB_FAILED, f"Job {job.name} ended before the run had an end, and its pod is deleted")
    return Diagnosis(
        reasons.JOB_FAILED, f"Job {job.name} failed ({failure.get('reason')}): {failure.get('message') or 'no message'}"
    )


def never_claimed(diagnosis: Diagnosis) -> Diagnosis:
    """What to say of a pod that ended without ever having claimed the run."""
    if diagnosis.reason != reasons.EXITED:
        return diagnosis
    return Diagnosis(
        reasons.NEVER_CLAIMED,
        f"the pod ended ({_exit(diagnosis.exit_code or 0)}) without having claimed the run: the image needs the "
        f"penstock package and the command `python3 -m penstock.runner`, and the pod access to the API server. "
        f"{diagnosis.message}",
        diagnosis.exit_code,
    )


def _disrupted(condition: Body, pod: PodView) -> Diagnosis:
    reason, said = condition.get("reason") or "", condition.get("message") or ""
    if condition["type"] == _KUEUE_STOPS:
        return Diagnosis(reasons.PREEMPTED, f"Kueue (LocalQueue {pod.kueue}) ended the pod ({reason}): {said}")
    if "Preempt" in reason:
        return Diagnosis(reasons.PREEMPTED, f"a pod of higher priority took the place: {said}")
    if reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        return Diagnosis(reasons.NODE_LOST, f"node {pod.node} was lost or tainted ({reason}): {said}")
    return Diagnosis(reasons.EVICTED, f"the pod was evicted ({reason}): {said}")


def _exit(code: int) -> str:
    if code > 128:
        try:
            return f"exit code {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"exit code {code}"


def _tail(said: str) -> str:
    return f" It said last: {said[-400:]}" if said else " See the run's logs."


def _limit(pod: PodView) -> str | None:
    containers: list[Body] = (pod.body.get("spec") or {}).get("containers") or []
    for container in containers:
        if container["name"] == labels.CONTAINER:
            limit: str | None = ((container.get("resources") or {}).get("limits") or {}).get("memory")
            return limit
    return None
