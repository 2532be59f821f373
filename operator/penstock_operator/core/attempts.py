"""What is seen of the current attempt of a run: whether anything of it runs or can still start, and how it is ended.

`reconcile.attempts` fills it in, `core.runs` decides upon it. An attempt is pods and perhaps a Job, or a process in a
warm worker, which others share: then what ends is the process and not the pod (docs/designs/009-warm-workers.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.api import reasons

from . import diagnosis
from .diagnosis import Diagnosis
from .nodes import Silence
from .views import Body, JobView, LeaseView, PodView, RunView


@dataclass(frozen=True, slots=True)
class Doomed:
    """A Pod or Job that must end, or the process of a run in a Worker."""

    kind: str
    name: str
    uid: str
    force: bool = False  # without grace: its kubelet does not answer


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is seen of the current attempt: its pods (a Job may have had two), its Job; lost and silent nodes."""

    pods: tuple[PodView, ...] = ()
    job: JobView | None = None
    lost_nodes: frozenset[str] = frozenset()
    silent_nodes: Mapping[str, Silence] = field(default_factory=dict)
    told: Diagnosis | None = None  # why it does not start, where only Events say that
    departed: PodView | None = None  # the pod that had claimed the run as it was last seen, once it is deleted

    @property
    def what(self) -> str:
        """What it is, for people."""
        return "pod"

    def gone(self, pod: PodView) -> bool:
        """Whether none of the pod's processes can run any more (ARCHITECTURE section 4.6)."""
        return pod.gone or pod.node in self.lost_nodes

    @property
    def live(self) -> tuple[PodView, ...]:
        return tuple(pod for pod in self.pods if not self.gone(pod))

    @property
    def over(self) -> bool:
        """Whether nothing of it runs or can start: no live pod, and no Job that could still make one."""
        return not self.live and (self.job is None or self.job.finished)

    @property
    def absent(self) -> bool:
        return not self.pods and self.job is None

    def doomed(self) -> tuple[Doomed, ...]:
        """What to delete so that it ends: the Job where there is one, its pods otherwise."""
        if self.job is not None and not self.job.deleting:
            return (Doomed("Job", self.job.name, self.job.uid),)
        return tuple(Doomed("Pod", pod.name, pod.uid) for pod in self.live if not pod.deleting)


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a worker is lost. `silent`: it was outside the cluster, and nobody knows more of it."""

    why: Diagnosis
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Assigned(Attempt):
    """An attempt that was given to a warm worker; `pods` is the worker's pod, where the operator has made it."""

    worker: str = ""
    uid: str = ""
    ending: bool = False  # the worker was asked to end it
    ended: bool = False  # the run has its end, by the engine's own last write
    exited: Body | None = None
    loss: Loss | None = None

    @property
    def what(self) -> str:
        return "process"

    @property
    def live(self) -> tuple[PodView, ...]:
        return () if self.over else self.pods

    @property
    def over(self) -> bool:
        return self.ended or self.exited is not None or self.loss is not None

    @property
    def absent(self) -> bool:
        return False

    def doomed(self) -> tuple[Doomed, ...]:
        return () if self.over or self.ending else (Doomed("Worker", self.worker, self.uid),)

    def how_it_ended(self, *, claimed: bool) -> Diagnosis:
        """Of one that is over without an end of its run."""
        if self.exited is None:
            assert self.loss is not None, "what neither ended nor was lost is not over"
            return self.loss.why
        return diagnosis.process_ended(self.worker, self.exited, claimed=claimed)


def in_worker(
    run: RunView,
    lease: LeaseView | None,
    pod: PodView | None,
    *,
    silent: bool,
    departed: PodView | None = None,
    lost_nodes: frozenset[str] = frozenset(),
    silent_nodes: Mapping[str, Silence] | None = None,
) -> Assigned:
    """The attempt of a run whose `status.worker` names its worker.

    `lease` and `pod` are those of the worker's name; `silent`: that Lease has not changed for as long as it says;
    `departed`: the pod with the worker's uid as it was last seen, once it is deleted.
    """
    at: Body = run.status["worker"]
    exited = at.get("exited")
    mine = pod if pod is not None and pod.uid == at["uid"] else None
    return Assigned(
        pods=() if mine is None else (mine,),
        lost_nodes=lost_nodes,
        silent_nodes=silent_nodes or {},
        departed=departed,
        worker=at["name"],
        uid=at["uid"],
        ending=bool(at.get("end")),
        ended=run.type is not None and run.type.terminal,
        exited=exited if exited and exited.get("attempt") == run.attempt else None,
        loss=loss(at, lease, pod, silent=silent, departed=departed, lost=lost_nodes),
    )


def loss(
    at: Body,
    lease: LeaseView | None,
    pod: PodView | None,
    *,
    silent: bool,
    departed: PodView | None,
    lost: frozenset[str],
) -> Loss | None:
    """Why the worker `at` (its name and uid) is lost; None while it lives. In the cluster its pod is the truth,
    elsewhere its Lease. `lease` and `pod` are those of its name."""
    name = at["name"]
    if pod is not None and pod.uid == at["uid"]:
        if pod.node in lost and not pod.gone:
            message = f"node {pod.node}, on which worker {name} ran, was deleted or taken out of service"
            return Loss(Diagnosis(reasons.NODE_LOST, message))
        return Loss(diagnosis.worker_pod_ended(pod)) if pod.gone else None
    if departed is not None:
        return Loss(diagnosis.worker_pod_ended(departed))
    if lease is None or lease.holder != at["uid"]:
        what = "is gone" if lease is None else "was started anew"
        return Loss(Diagnosis(reasons.WORKER_LOST, f"worker {name} {what}, and its process with it"))
    if lease.managed:
        return Loss(Diagnosis(reasons.WORKER_LOST, f"the pod of worker {name} was deleted"))
    if silent:
        message = f"worker {name} has fallen silent: its Lease was not renewed for {lease.seconds} s"
        return Loss(Diagnosis(reasons.WORKER_LOST, message), silent=True)
    return None
