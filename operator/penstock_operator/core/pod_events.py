"""What Kubernetes says of an attempt in Events only: a volume that cannot be mounted, a pod that a Job may not create.

The controller keeps the last such Event of each object; `core.runs` asks for the cause while nothing better is known.
Events are best effort: without them a run ends at its pending deadline all the same, only with less to tell.
"""

from __future__ import annotations

from penstock.api import reasons

from .diagnosis import Diagnosis
from .views import Body, JobView, PodView

MOUNT_REASONS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
SELECTOR = "type=Warning"


def cause(event: Body) -> Diagnosis | None:
    """The cause that an Event tells of; None for all that an object's own status says as well."""
    kind, reason, said = event["regarding"].get("kind"), event.get("reason"), event.get("note") or ""
    if kind == "Pod" and reason in MOUNT_REASONS:
        return Diagnosis(
            reasons.MOUNT_FAILED,
            f"a volume of the pod cannot be mounted ({reason}): {said} Check that the Secrets, ConfigMaps and claims "
            "that its volumes name are there.",
        )
    if kind == "Pod" and reason == "FailedCreatePodSandBox":
        return Diagnosis(reasons.SANDBOX_FAILED, f"the node cannot set the pod up: {said}")
    if kind == "Job" and reason == "FailedCreate":
        return Diagnosis(reasons.POD_CREATE_FORBIDDEN, f"the Job's pod cannot be created: {said}")
    return None


def waits(pod: PodView) -> bool:
    """Whether a pod is where its Events may say why it does not start: on a node, and not set up there."""
    if pod.phase != "Pending" or pod.node is None:
        return False
    conditions = pod.status.get("conditions") or []
    return not any(c["type"] == "PodReadyToStartContainers" and c["status"] == "True" for c in conditions)


def subjects(pods: tuple[PodView, ...], job: JobView | None) -> tuple[str, ...]:
    """uids of the objects whose Events may tell why the attempt does not start."""
    if pods or job is None:
        return tuple(pod.uid for pod in pods if not pod.deleting and waits(pod))
    return () if job.finished else (job.uid,)
