"""Which settled runs are deleted now, and when to look again. Called by `reconcile.retention`, a namespace at a time.

A run goes when its time to live has passed, when its deployment keeps no more of its kind, or when the namespace keeps
no more at all; the oldest goes first. Runs under way are not among those that are decided on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from penstock.api import labels
from penstock.api.states import StateType

from .views import Body, RunView, parse_time


@dataclass(frozen=True, slots=True)
class Settled:
    """What is remembered of a settled run; ten thousand of them are, so words that many share are interned."""

    namespace: str
    name: str
    uid: str
    deployment: str
    """Name of its FlowDeployment; empty for none."""
    finished: float
    """Unix time of its end, no later than when it was first seen to be settled."""
    successful: bool
    ttl: int | None
    """Its own ttlSecondsAfterFinished."""
    parent: tuple[str, str] | None
    """Name and uid of the run that made it."""
    awaited: bool
    """Whether it is owned by its parent, and so goes when that does."""
    references: tuple[str, ...]
    """Names of the ControllerRevisions and ConfigMaps it was launched from."""
    slot: tuple[str, float] | None = None
    """Slug of the schedule that made it, and the Unix time at which it was due."""
    backfill: str = ""
    """Name of the Backfill that made it."""


def settled(body: Body, now: datetime) -> Settled:
    """What is remembered of a run. Its end is its pod's word, which may lie; it is not believed to lie ahead."""
    run = RunView(body)
    end = parse_time(run.status.get("endTime")) or run.entered or parse_time(run.metadata.get("creationTimestamp"))
    parent = run.parent
    return Settled(
        namespace=sys.intern(run.namespace),
        name=run.name,
        uid=run.uid,
        deployment=sys.intern((run.spec.get("deploymentRef") or {}).get("name") or ""),
        finished=min(end, now).timestamp() if end else now.timestamp(),
        successful=run.type is StateType.COMPLETED,
        ttl=run.spec.get("ttlSecondsAfterFinished"),
        parent=(str(parent["name"]), str(parent["uid"])) if parent else None,
        awaited=owned(run),
        references=references(run),
        slot=None if run.backfill else _slot(run),
        backfill=sys.intern(run.backfill),
    )


def _slot(run: RunView) -> tuple[str, float] | None:
    slug, due = (run.metadata.get("labels") or {}).get(labels.SCHEDULE), parse_time(run.spec.get("scheduledTime"))
    return (sys.intern(str(slug)), due.timestamp()) if slug and due else None


def owned(run: RunView) -> bool:
    """Whether the run that made it owns it: it waits for it, or runs it in its own process."""
    return bool(run.parent) and (run.in_parent or bool(run.parent.get("awaited")) or "task" in run.spec)


def references(run: RunView) -> tuple[str, ...]:
    """Names of the copies that a run was launched from: ControllerRevisions, and ConfigMaps of its code."""
    resolved = run.resolved
    found = [(resolved.get(what) or {}).get("revision") for what in ("deployment", "pool")]
    found += [block.get("revision") for block in resolved.get("blocks") or ()]
    found += [(resolved.get(what) or {}).get("configMap") for what in ("code", "requirements")]
    return tuple(sys.intern(str(name)) for name in found if name)


@dataclass(frozen=True, slots=True)
class History:
    """What a deployment says of its ended runs; None: nothing."""

    successful: int | None = None
    failed: int | None = None
    ttl: int | None = None


def history(deployment: Body) -> History:
    """What a FlowDeployment's spec says."""
    limits = deployment.get("historyLimits") or {}
    return History(limits.get("successful"), limits.get("failed"), deployment.get("ttlSecondsAfterFinished"))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a namespace keeps at most, whatever its deployments say; None: no bound."""

    runs: int | None = 1000
    seconds: int | None = 30 * 86_400


DEFAULT_CEILING = Ceiling()


class Cause(StrEnum):
    """Why a run is deleted; also the label of the metric."""

    TTL = "TTL"  # its own, or its deployment's
    HISTORY_LIMIT = "HistoryLimit"
    AGE = "Age"
    CEILING = "Ceiling"
    PARENT = "Parent"  # it goes with the run that waited for it


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in order, and when to look again (Unix time; None: when something changes)."""

    delete: tuple[tuple[Settled, Cause], ...] = ()
    next: float | None = None
    more: bool = False
    """Whether more is to go, once what is deleted now has gone: parents follow the children they own."""


def decide(
    runs: Iterable[Settled],
    histories: Mapping[str, History],
    ceiling: Ceiling,
    now: float,
    held: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for the settled runs of one namespace.

    `held` are uids of runs that must stay: those whose parent is under way, which would run them again if it were
    restarted, and those that own a run under way. They count, as the newer and older ones that they are.
    """
    ordered = sorted(runs, key=lambda run: (run.finished, run.uid), reverse=True)
    held = _with_owners(ordered, held)
    doomed: dict[str, Cause] = {}
    ends: list[float] = []
    free = [run for run in ordered if run.uid not in held]
    for run in free:
        own = run.ttl if run.ttl is not None else histories.get(run.deployment, History()).ttl
        due = [(run.finished + own, Cause.TTL)] if own is not None else []
        due += [(run.finished + ceiling.seconds, Cause.AGE)] if ceiling.seconds is not None else []
        if due:
            time, cause = min(due)
            if time <= now:
                doomed[run.uid] = cause
            else:
                ends.append(time)
    kept: Counter[tuple[str, bool]] = Counter()
    for run in ordered:
        if run.uid in doomed or run.deployment not in histories:
            continue
        limits = histories[run.deployment]
        limit = limits.successful if run.successful else limits.failed
        kept[run.deployment, run.successful] += 1
        if limit is not None and kept[run.deployment, run.successful] > limit and run.uid not in held:
            doomed[run.uid] = Cause.HISTORY_LIMIT
    if ceiling.runs is not None:
        staying = [run for run in ordered if run.uid not in doomed]
        doomed |= {run.uid: Cause.CEILING for run in staying[ceiling.runs :] if run.uid not in held}
    doomed = _with_children(ordered, doomed, held)
    owners = {run.parent[1] for run in ordered if run.parent and run.awaited}
    now_ = tuple((run, doomed[run.uid]) for run in reversed(ordered) if run.uid in doomed and run.uid not in owners)
    return Plan(now_, min(ends, default=None), more=len(now_) < len(doomed))


def _with_owners(runs: list[Settled], held: frozenset[str]) -> frozenset[str]:
    """The held and, since deleting an owner deletes what it owns, whatever owns one of them."""
    owner = {run.uid: run.parent[1] for run in runs if run.parent and run.awaited}
    found, fresh = set(held), set(held)
    while fresh:
        fresh = {owner[uid] for uid in fresh if uid in owner} - found
        found |= fresh
    return frozenset(found)


def _with_children(runs: list[Settled], doomed: dict[str, Cause], held: frozenset[str]) -> dict[str, Cause]:
    """The doomed and what they own. What is held is owned by none of them: its owners are held, too."""
    children: dict[str, list[str]] = {}
    for run in runs:
        if run.parent and run.awaited:
            children.setdefault(run.parent[1], []).append(run.uid)
    found, fresh = dict(doomed), list(doomed)
    while fresh:
        for child in children.get(fresh.pop(), ()):
            if child not in found and child not in held:
                found[child] = Cause.PARENT
                fresh.append(child)
    return found
