"""How an attempt of a run ended, by all that is left of it: pod, Job, what was told before. Called by `watching`.

`diagnosis` reads one pod or Job; here it is weighed against what the run's conditions say.
"""

from __future__ import annotations

from penstock.api import reasons

from . import diagnosis
from .attempts import Attempt
from .diagnosis import Diagnosis
from .views import PodView, RunView

ENDED_BY_ITSELF = (reasons.EXITED, reasons.OOM_KILLED, reasons.POD_FAILED, reasons.NEVER_CLAIMED)


def told_before(run: RunView, pod: PodView | None = None) -> Diagnosis | None:
    """How user code ended, where that was told before its pod was deleted."""
    known = run.condition(reasons.POD_READY)
    if known is None or known["status"] != "False" or known["reason"] not in ENDED_BY_ITSELF:
        return None
    return Diagnosis(known["reason"], known.get("message") or "", diagnosis.ended(pod).exit_code if pod else None)


def how_it_vanished(run: RunView, attempt: Attempt) -> Diagnosis:
    """Of a claimed pod that is no more: by its last words, where somebody has heard them."""
    admission = run.condition(reasons.ADMITTED)
    if admission and (admission["status"], admission["reason"]) == ("False", reasons.PREEMPTED):
        return Diagnosis(reasons.PREEMPTED, admission["message"])
    pod = attempt.departed
    told = told_before(run, pod)
    if told is not None:
        return told
    if pod is not None and (pod.gone or diagnosis.disrupted(pod)):
        return _of_pod(run, attempt, pod)
    name = (run.status.get("pod") or {}).get("name")
    message = f"pod {name} was deleted while the run was going on; nothing of it is left to tell why"
    return _deleted(run, attempt, message)


def _deleted(run: RunView, attempt: Attempt, message: str, exit_code: int | None = None) -> Diagnosis:
    """Somebody has deleted the pod, or the Job with it."""
    if run.resolved.get("poolType") == "Job" and (attempt.job is None or attempt.job.deleting):
        return Diagnosis(reasons.JOB_DELETED, f"its Job was deleted: {message}", exit_code)
    return Diagnosis(reasons.POD_DELETED, message, exit_code)


def how_it_ended(run: RunView, attempt: Attempt, *, claimed: bool) -> Diagnosis:
    """Of an attempt that is over, and of which a pod or at least its Job is there."""
    if not attempt.pods:
        assert attempt.job is not None
        return diagnosis.job_ended(attempt.job)
    how = _of_pod(run, attempt, max(attempt.pods, key=lambda p: str(p.metadata.get("creationTimestamp") or "")))
    return how if claimed else diagnosis.never_claimed(how)


def _of_pod(run: RunView, attempt: Attempt, pod: PodView) -> Diagnosis:
    if pod.node in attempt.lost_nodes and not pod.gone:
        return Diagnosis(reasons.NODE_LOST, f"node {pod.node} was deleted or taken out of service")
    how = diagnosis.ended(pod)
    told = told_before(run, pod)
    if told is not None:
        return told
    if pod.deleting and how.reason in (reasons.EXITED, reasons.POD_FAILED):
        message = f"pod {pod.name} was deleted while the run was going on ({how.message})"
        return _deleted(run, attempt, message, how.exit_code)
    return how
