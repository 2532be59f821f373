"""Nodes that are lost or silent, and what that means for the pods on them.

Called by `core.runs` for every run that has pods, and by the controller's cache for every Node it hears of. A node that
is gone takes its pods with it. One that is only silent takes nothing: its code may run on, so the run says that and
waits, unless its pool wants the pod given up by force, the one case in which code of two attempts may overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.api import reasons

from .changes import Condition
from .views import Body, PodView, RunView, format_time, parse_time

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
OVERDUE = 30  # seconds after its grace in which a kubelet that answers has long ended a pod


@dataclass(frozen=True, slots=True)
class Silence:
    """Since when nobody answers for a pod, and how that is known."""

    since: datetime
    message: str


def projection(node: Body) -> Body:
    """What is read of a Node: a real one has tens of kilobytes, most of them names of images."""
    meta = node["metadata"]
    ready = [c for c in (node.get("status") or {}).get("conditions") or [] if c["type"] == "Ready"]
    return {
        "metadata": {key: meta[key] for key in ("name", "uid", "resourceVersion", "creationTimestamp") if key in meta},
        "spec": {"taints": (node.get("spec") or {}).get("taints") or []},
        "status": {"conditions": ready},
    }


def out_of_service(node: Body) -> bool:
    """Whether an administrator vouches that nothing runs there any more."""
    return any(taint.get("key") == OUT_OF_SERVICE for taint in node["spec"]["taints"])


def silence(node: Body) -> Silence | None:
    """Since when a node is not ready; None for one that is, or that never said anything of it."""
    for condition in node["status"]["conditions"]:
        if condition["status"] != "True":
            since = parse_time(condition.get("lastTransitionTime"))
            if since is None:
                return None
            name, why = node["metadata"]["name"], condition.get("reason") or f"Ready is {condition['status']}"
            return Silence(since, f"node {name} is not ready since {format_time(since)[:19]}Z ({why})")
    return None


def stuck(pod: PodView, now: datetime) -> Silence | None:
    """The silence of a kubelet that ought to have ended the pod: seen of the pod alone, where Nodes cannot be read."""
    grace_over = parse_time(pod.metadata.get("deletionTimestamp"))
    if grace_over is None or now < grace_over + timedelta(seconds=OVERDUE):
        return None
    where = f"node {pod.node}" if pod.node else "nobody"
    return Silence(grace_over, f"{where} has not ended pod {pod.name}, whose grace was over {pod.deletion_time}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from the nodes of an attempt: the condition, pods to give up by force, when to look again."""

    conditions: tuple[Condition, ...] = ()
    forced: tuple[PodView, ...] = ()
    due: datetime | None = None


def judge(
    run: RunView,
    live: Iterable[PodView],
    silent: Mapping[str, Silence],
    force_after: int | None,
    now: datetime,
) -> Verdict:
    """The verdict on the live pods of an attempt; `force_after`: seconds of silence until they are given up, or None.

    The condition is told of the first silent pod, and taken back once there is none.
    """
    found: list[tuple[PodView, Silence]] = []
    dues: list[datetime] = []
    for pod in live:
        quiet = silent.get(pod.node or "") or stuck(pod, now)
        if quiet:
            found.append((pod, quiet))
        elif pod.deleting:
            grace_over = parse_time(pod.metadata["deletionTimestamp"])
            assert grace_over is not None
            dues.append(grace_over + timedelta(seconds=OVERDUE))
    if not found:
        return Verdict(_over(run), due=min(dues, default=None))
    message = f"{found[0][1].message}; its code may run on. "
    if force_after is None:
        message += "The run waits until it answers, is deleted or is tainted out-of-service."
        return Verdict((Condition(reasons.NODE_LOST, True, reasons.NODE_SILENT, message),), due=min(dues, default=None))
    message += f"The pod is deleted by force {force_after} s after that (onNodeLost)."
    ends = [(pod, quiet.since + timedelta(seconds=force_after)) for pod, quiet in found]
    dues += [end for _, end in ends if end > now]
    return Verdict(
        (Condition(reasons.NODE_LOST, True, reasons.NODE_SILENT, message),),
        tuple(pod for pod, end in ends if end <= now),
        min(dues, default=None),
    )


def told_lost(run: RunView) -> Body | None:
    """The condition of a run whose attempt is on a silent node, as far as it was last told."""
    known = run.condition(reasons.NODE_LOST)
    return known if known and known["status"] == "True" else None


def _over(run: RunView) -> tuple[Condition, ...]:
    if told_lost(run) is None:
        return ()
    return (Condition(reasons.NODE_LOST, False, reasons.NODE_READY, "no pod of the run is on a silent node"),)
