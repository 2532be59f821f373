"""Pods and Jobs that nothing waits for any more: of attempts before the current one, or of a run that is settled.

A request to create one whose answer was lost may be carried out long after a new attempt has begun. What it starts can
claim nothing, for a claim tests the attempt; but without a node or an image it would be there as long as its run. Also
a node that was taken for lost may come back with such a pod.
"""

from __future__ import annotations

from collections.abc import Iterable

from .attempts import Doomed
from .owners import belongs, controller_uid
from .views import JobView, PodView, RunView


def strays(
    run: RunView, pods: Iterable[PodView], jobs: Iterable[JobView], lost_nodes: frozenset[str] = frozenset()
) -> tuple[Doomed, ...]:
    """What of `pods` and `jobs`, which carry the run's name, is to be deleted: a Job with its pods, other pods alone.

    Safe on an old view of the run, whose attempt only grows. Pods on nodes that are lost are gone.
    """

    def over(attempt: int) -> bool:
        return attempt < run.attempt or run.settled

    late = [job for job in jobs if over(job.attempt) and controller_uid(job.body) == run.uid and not job.finished]
    ended_with_it = {job.uid for job in late}
    there = (pod for pod in pods if not (pod.gone or pod.deleting or pod.node in lost_nodes))
    alone = [pod for pod in there if over(pod.attempt) and belongs(pod.body, run)]
    return (
        *(Doomed("Job", job.name, job.uid) for job in late if not job.deleting),
        *(Doomed("Pod", pod.name, pod.uid) for pod in alone if controller_uid(pod.body) not in ended_with_it),
    )
